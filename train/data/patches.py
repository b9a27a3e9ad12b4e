"""Labelled patches of the photographs inside scikit-learn and scikit-image: real images, and nothing is downloaded.

The class of a patch is the photograph that it was cut from. Training patches come from the left part of a photograph,
held-out ones from the right part, with a gap between them that neither uses: no pixel is in both.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from train.data import Data, InMemory, Normalization, Preprocessing, pictures
from train.data.augment import PerImage, Rows, augmentation
from train.errors import TrainError

SCIKIT_LEARN, SCIKIT_IMAGE = "sklearn/datasets/images", "skimage/data"
PHOTOGRAPHS = {
    **{name: f"{SCIKIT_LEARN}/{name}.jpg" for name in ("china", "flower")},
    **{name: f"{SCIKIT_IMAGE}/{name}.jpg" for name in ("retina", "rocket")},
    **{
        name: f"{SCIKIT_IMAGE}/{name}.png"
        for name in ("astronaut", "brick", "camera", "chelsea", "coffee", "coins", "grass", "gravel", "ihc", "moon")
    },
    "motorcycle": f"{SCIKIT_IMAGE}/motorcycle_left.png",
    "stars": f"{SCIKIT_IMAGE}/hubble_deep_field.jpg",
}
CLASSES = tuple(sorted(PHOTOGRAPHS))

# Of a photograph's width: where the training patches end, and how many pixels from there to the first held-out one.
# The gap is two blocks of JPEG's, whose pixels are made together.
CUT, GAP = 0.45, 16

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

Box = tuple[int, int, int, int]


def load(
    size: int = 64,
    patch: int = 48,
    train_patches: int = 12,
    test_patches: int = 24,
    normalization: Mapping[str, Sequence[float]] | None = None,
    augment: Rows | None = None,
) -> Data:
    """Squares of `patch` pixels, scaled to `size`; so many of each photograph for training and for testing.

    Always the same ones. `normalization` is ImageNet's if none is given.
    """
    counts = (train_patches, test_patches)
    pieces = [_pieces(name, patch, counts) for name in CLASSES]
    train, test = ([piece[part] for piece in pieces] for part in (0, 1))
    normal = Normalization.given(normalization, 3) or Normalization(MEAN, STD)
    shape = (3, size, size)
    change = augmentation(augment, shape)
    return Data(
        train=_samples(train, size, normal, PerImage(change) if change else None),
        test=_samples(test, size, normal, None),
        classes=CLASSES,
        shape=shape,
        normalization=normal,
        preprocessing=Preprocessing(3, size, size),
    )


def boxes(width: int, height: int, patch: int) -> tuple[list[Box], list[Box]]:
    """(left, upper, right, lower) of every training and every held-out patch that a photograph has room for."""
    end = round(width * CUT)
    return list(_grid(0, end, height, patch)), list(_grid(end + GAP, width, height, patch))


def _grid(start: int, end: int, height: int, patch: int) -> Iterator[Box]:
    for upper in range(0, height - patch + 1, patch):
        for left in range(start, end - patch + 1, patch):
            yield left, upper, left + patch, upper + patch


def _pieces(name: str, patch: int, counts: tuple[int, int]) -> list[list[Image.Image]]:
    photograph = pictures.read(_find(name))
    room = boxes(*photograph.size, patch)
    for key, wanted, found in zip(("train_patches", "test_patches"), counts, room, strict=True):
        if wanted > len(found):
            raise TrainError(
                f"data.{key}: photograph '{name}' has room for {len(found)} patches of {patch} pixels and not for "
                f"{wanted}; use fewer, or a smaller data.patch"
            )
    return [
        [photograph.crop(found[index * len(found) // wanted]) for index in range(wanted)]
        for wanted, found in zip(counts, room, strict=True)
    ]


def _find(name: str) -> Path:
    """The package is looked for, and not imported."""
    package, _, place = PHOTOGRAPHS[name].partition("/")
    found = importlib.util.find_spec(package)
    path = Path(found.origin).parent / place if found is not None and found.origin else None
    if path is None or not path.is_file():
        raise TrainError(f"data: photograph '{name}' is not here; pip install 'amlrun[pretrained]'")
    return path


def _samples(
    pieces: list[list[Image.Image]], size: int, normalization: Normalization, augment: PerImage | None
) -> InMemory:
    scaled = [image.resize((size, size), Image.Resampling.BILINEAR) for images in pieces for image in images]
    pixels = torch.from_numpy(np.stack([np.asarray(image) for image in scaled])).permute(0, 3, 1, 2)
    labels = torch.tensor([label for label, images in enumerate(pieces) for _ in images])
    return InMemory(pixels.float().div_(255).contiguous(), labels, augment, normalization)
