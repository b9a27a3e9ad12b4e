"""What a data target returns, and the images of one that fits in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from train.errors import TrainError

Augment = Callable[[torch.Tensor], torch.Tensor]


class Samples(Protocol):
    """Any map-style data set of (image, label) works.

    One that also has `batch(indices) -> (images, labels)` is asked for whole batches instead of single samples.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[torch.Tensor, int]: ...


@dataclass(frozen=True, slots=True)
class Normalization:
    """Per channel, of pixels between 0 and 1."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def given(cls, spec: Mapping[str, Sequence[float]] | None, channels: int) -> Normalization | None:
        """That of a configuration, `{mean: [...], std: [...]}`. Raises TrainError if it is for other channels."""
        if not spec:
            return None
        for key in ("mean", "std"):
            if len(spec[key]) != channels:
                raise TrainError(
                    f"data.normalization.{key}: {len(spec[key])} number(s) for images of {channels} channel(s); "
                    f"give one for each channel"
                )
        return cls(tuple(spec["mean"]), tuple(spec["std"]))

    def apply(self, images: torch.Tensor) -> torch.Tensor:
        shape = (len(self.mean), 1, 1)
        return (images - torch.tensor(self.mean).view(shape)) / torch.tensor(self.std).view(shape)


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How an image file becomes what the model takes, before the normalisation.

    Converted to RGB (3 channels) or grey (1), its shorter side scaled to `resize` pixels, the middle `size` x `size`
    cut out, pixels between 0 and 1.
    """

    channels: int
    size: int
    resize: int
    resample: str = "bilinear"


@dataclass(frozen=True, slots=True)
class Data:
    """Training and held-out samples, disjoint. `shape` is an image's (channels, height, width).

    `preprocessing` is None where the samples are no image files, nor look like some.
    """

    train: Samples
    test: Samples
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    normalization: Normalization
    preprocessing: Preprocessing | None = None


@dataclass(frozen=True, slots=True)
class InMemory:
    """Images (N, C, H, W) and their labels.

    A batch (B, C, H, W) is made when it is drawn: `prepare` makes floats of what is kept, then come `augment` and
    `normalization`; None changes nothing.
    """

    images: torch.Tensor
    labels: torch.Tensor
    augment: Augment | None = None
    normalization: Normalization | None = None
    prepare: Augment | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int, /) -> tuple[torch.Tensor, int]:
        images, labels = self.batch([index])
        return images[0], int(labels[0])

    def batch(self, indices: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        picked = torch.as_tensor(indices)
        images = self.images[picked]
        for change in (self.prepare, self.augment, self.normalization and self.normalization.apply):
            images = change(images) if change else images
        return images, self.labels[picked]
