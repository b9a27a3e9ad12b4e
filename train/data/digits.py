"""1,797 real images of handwritten digits that come with scikit-learn (UCI, Alpaydin and Kaynak 1998)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import torch
from torch.nn import functional

from train.data import Data, InMemory, Normalization, Preprocessing
from train.data.augment import InTurn, PerImage, Rows, augmentation
from train.data.split import stratified
from train.errors import TrainError


def load(
    size: int = 8,
    channels: int = 1,
    test_fraction: float = 0.2,
    shift: int = 0,
    normalization: Mapping[str, Sequence[float]] | None = None,
    augment: Rows | None = None,
) -> Data:
    """Handwritten digits 0 to 9, 8 x 8 pixels of 17 grey levels.

    `size` scales the images up, `channels` repeats the grey value (torchvision's models take 3). Training images are
    moved by up to `shift` pixels at random, then `augment` changes them. The default normalisation is the training
    images' own. Which images are held out never changes.
    """
    pixels, labels = _pixels()
    names = [str(index) for index in range(len(labels))]
    train, test = stratified(labels.tolist(), names, test_fraction)
    images = torch.from_numpy(pixels).float().div_(16)[:, None]
    if size != images.shape[-1]:
        images = functional.interpolate(images, size=(size, size), mode="bilinear", align_corners=False)
    images = images.expand(-1, channels, -1, -1).contiguous()
    normal = Normalization.given(normalization, channels) or _own(images[train], channels)
    shape = (channels, size, size)
    change = augmentation(augment, shape)
    moved = partial(shifted, most=shift) if shift else None
    return Data(
        train=InMemory(images[train], labels[train], InTurn((moved, PerImage(change) if change else None)), normal),
        test=InMemory(images[test], labels[test], None, normal),
        classes=tuple("0123456789"),
        shape=shape,
        normalization=normal,
        preprocessing=Preprocessing(channels, size, size),
    )


def shifted(images: torch.Tensor, most: int) -> torch.Tensor:
    """Each image of the batch moved by its own random offset; what comes in from outside repeats the border."""
    count, _, height, width = images.shape
    padded = functional.pad(images, (most,) * 4, mode="replicate")
    down, right = torch.randint(0, 2 * most + 1, (2, count))
    rows = (down[:, None] + torch.arange(height))[:, None, :, None]
    columns = (right[:, None] + torch.arange(width))[:, None, None, :]
    batch = torch.arange(count)[:, None, None, None]
    channel = torch.arange(images.shape[1])[None, :, None, None]
    return padded[batch, channel, rows, columns]


def _own(images: torch.Tensor, channels: int) -> Normalization:
    # In float64: the same to the last bit however many threads add up.
    mean, std = images.double().mean().item(), images.double().std().item()
    return Normalization((mean,) * channels, (std,) * channels)


def _pixels() -> tuple[np.ndarray, torch.Tensor]:
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError as error:
        raise TrainError("data: digits come with scikit-learn, which is missing; pip install scikit-learn") from error
    digits = load_digits()
    return digits.images, torch.from_numpy(digits.target).long()
