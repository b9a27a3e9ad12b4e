"""Random changes of training images, as rows of YAML: `{kind: RandomRotation, degrees: 10}`.

A kind is a class of torchvision.transforms.v2 with its arguments. Every data set applies the rows, top to bottom, to
one image at a time: (channels, height, width), pixels between 0 and 1, before the normalisation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from train import seeds, vision
from train.build import build
from train.errors import TrainError

Rows = Sequence[Mapping[str, Any]]
Change = Callable[[torch.Tensor], torch.Tensor]

# schemas/data.schema.json has the arguments of each. They keep an image's shape.
KINDS = frozenset(
    {
        *("RandomHorizontalFlip", "RandomVerticalFlip", "RandomRotation", "RandomAffine", "RandomPerspective"),
        *("RandomCrop", "RandomResizedCrop", "RandomErasing", "ElasticTransform"),
        *("ColorJitter", "RandomGrayscale", "RandomAutocontrast", "RandomAdjustSharpness", "GaussianBlur"),
        *("GaussianNoise", "RandAugment", "TrivialAugmentWide"),
    }
)

# Draws of each row on a blank image when it is built: some change one in two.
TRIALS = 4


def augmentation(rows: Rows | None, shape: tuple[int, int, int]) -> Change | None:
    """What the rows do to one image of `shape`; None without rows. Raises TrainError naming the row that is wrong."""
    if not rows:
        return None
    with seeds.drawn_for(0):
        for index, row in enumerate(rows):
            _try(f"data.augment.{index}", _transform(index, row), shape)
    return vision.Remade(_chain, [dict(row) for row in rows])


@dataclass(frozen=True, slots=True)
class PerImage:
    """A batch (B, C, H, W) of which each image is changed by its own draw."""

    change: Change

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        return torch.stack([self.change(image) for image in images])


@dataclass(frozen=True, slots=True)
class InTurn:
    """One change after the other; None is none."""

    changes: tuple[Change | None, ...]

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        for change in self.changes:
            images = images if change is None else change(images)
        return images


def _chain(rows: Rows) -> Callable[[Any], Any]:
    made: Callable[[Any], Any] = vision.transforms().Compose([_transform(index, row) for index, row in enumerate(rows)])
    return made


def _transform(index: int, row: Mapping[str, Any]) -> Callable[[Any], Any]:
    place = f"data.augment.{index}"
    if "_target_" in row:
        made: Callable[[Any], Any] = build(place, row, Path())
        return made
    kind = row.get("kind")
    if kind not in KINDS:
        raise TrainError(f"{place}.kind: '{kind}' is not one of {', '.join(sorted(KINDS))}; use one, or a _target_")
    arguments = {key: value for key, value in row.items() if key != "kind"}
    try:
        made = getattr(vision.transforms(), kind)(**arguments)
    except (TypeError, ValueError) as error:
        raise TrainError(f"{place}: {kind}: {error}; see torchvision.transforms.v2.{kind}") from error
    return made


def _try(place: str, change: Callable[[Any], Any], shape: tuple[int, int, int]) -> None:
    for _ in range(TRIALS):
        try:
            changed = change(torch.full(shape, 0.5))
        except (TypeError, ValueError, RuntimeError, NotImplementedError) as error:
            raise TrainError(
                f"{place}: cannot change images of {_times(shape)} ({error}); mend or remove it"
            ) from error
        found = tuple(changed.shape) if isinstance(changed, torch.Tensor) else type(changed).__name__
        if found != shape:
            got = _times(found) if isinstance(found, tuple) else found
            raise TrainError(
                f"{place}: makes {got} of images of {_times(shape)}; the shape must stay: mend or remove it"
            )


def _times(shape: tuple[int, ...]) -> str:
    return "x".join(str(number) for number in shape)
