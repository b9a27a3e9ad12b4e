"""Made-up images that can be learned: each class is a fixed pattern, each image that pattern under noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch.nn import functional

from train import seeds
from train.data import Data, InMemory, Normalization
from train.data.augment import PerImage, Rows, augmentation


def load(  # noqa: PLR0913 - a target's arguments are the keys of its YAML
    classes: int = 10, channels: int = 3, size: int = 32, train_images: int = 2048, test_images: int = 512,
    noise: float = 1.0, normalization: Mapping[str, Sequence[float]] | None = None, augment: Rows | None = None,
) -> Data:  # fmt: skip
    """Images of any shape in any number, held in memory: for timing, and for trying a set-up without data.

    Patterns and noise have mean 0; `noise` is the noise's standard deviation, the patterns' is about 1. The same
    keys give the same images. They are normal as they are: `normalization` is for a model that brings its own.
    """
    generator = torch.Generator().manual_seed(seeds.mix(classes, channels, size))
    # Coarse, as what tells photographs apart is: a 4 x 4 grid enlarged.
    patterns = functional.interpolate(torch.randn(classes, channels, 4, 4, generator=generator), size, mode="bicubic")
    normal, shape = Normalization.given(normalization, channels), (channels, size, size)
    change = augmentation(augment, shape)
    train = _images(patterns, train_images, noise, generator)
    test = _images(patterns, test_images, noise, generator)
    return Data(
        train=InMemory(*train, PerImage(change) if change else None, normal),
        test=InMemory(*test, None, normal),
        classes=tuple(str(index) for index in range(classes)),
        shape=shape,
        normalization=normal or Normalization((0.0,) * channels, (1.0,) * channels),
    )


def _images(
    patterns: torch.Tensor, count: int, noise: float, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    labels = torch.arange(count) % len(patterns)
    images = torch.randn(count, *patterns.shape[1:], generator=generator).mul_(noise)
    for at in range(0, count, 1024):  # in parts: a copy of everything would double the memory
        images[at : at + 1024] += patterns[labels[at : at + 1024]]
    return images, labels
