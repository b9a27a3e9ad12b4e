"""Made-up images that can be learned: each class is a fixed pattern, each image that pattern under noise."""

from __future__ import annotations

import torch
from torch.nn import functional

from train import seeds
from train.data import Data, InMemory, Normalization


def load(
    classes: int = 10, channels: int = 3, size: int = 32, train_images: int = 2048, test_images: int = 512,
    noise: float = 1.0,
) -> Data:  # fmt: skip
    """Images of any shape in any number, held in memory: for timing, and for trying a set-up without data.

    Patterns and noise have mean 0; `noise` is the noise's standard deviation, the patterns' is about 1. The same
    keys give the same images.
    """
    generator = torch.Generator().manual_seed(seeds.mix(classes, channels, size))
    # Coarse, as what tells photographs apart is: a 4 x 4 grid enlarged.
    patterns = functional.interpolate(torch.randn(classes, channels, 4, 4, generator=generator), size, mode="bicubic")
    return Data(
        train=_images(patterns, train_images, noise, generator),
        test=_images(patterns, test_images, noise, generator),
        classes=tuple(str(index) for index in range(classes)),
        shape=(channels, size, size),
        normalization=Normalization((0.0,) * channels, (1.0,) * channels),
    )


def _images(patterns: torch.Tensor, count: int, noise: float, generator: torch.Generator) -> InMemory:
    labels = torch.arange(count) % len(patterns)
    images = torch.randn(count, *patterns.shape[1:], generator=generator).mul_(noise)
    for at in range(0, count, 1024):  # in parts: a copy of everything would double the memory
        images[at : at + 1024] += patterns[labels[at : at + 1024]]
    return InMemory(images, labels)
