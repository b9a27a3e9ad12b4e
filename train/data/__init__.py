"""What a data target returns, and the images of one that fits in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch

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

    def apply(self, images: torch.Tensor) -> torch.Tensor:
        shape = (len(self.mean), 1, 1)
        return (images - torch.tensor(self.mean).view(shape)) / torch.tensor(self.std).view(shape)


@dataclass(frozen=True, slots=True)
class Data:
    """Training and held-out samples, disjoint. `shape` is an image's (channels, height, width)."""

    train: Samples
    test: Samples
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    normalization: Normalization


@dataclass(frozen=True, slots=True)
class InMemory:
    """Normalised images (N, C, H, W) and their labels; `augment` changes a batch (B, C, H, W) when it is drawn."""

    images: torch.Tensor
    labels: torch.Tensor
    augment: Augment | None = field(default=None)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int, /) -> tuple[torch.Tensor, int]:
        images, labels = self.batch([index])
        return images[0], int(labels[0])

    def batch(self, indices: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        picked = torch.as_tensor(indices)
        images = self.images[picked]
        return (self.augment(images) if self.augment else images), self.labels[picked]
