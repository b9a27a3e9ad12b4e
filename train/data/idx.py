"""MNIST's file format: idx, gzipped or not, four files for images and labels, training and test."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from train.data import Data, InMemory, Normalization, Preprocessing
from train.data.augment import PerImage, Rows, augmentation
from train.data.download import Remote, cache_folder, fetch
from train.errors import TrainError

PARTS = ("train_images", "train_labels", "test_images", "test_labels")
# The third byte of the magic number: the only element type that images and labels come in.
UNSIGNED_BYTE = 8
DIMENSIONS = {"images": 3, "labels": 1}


def load(  # noqa: PLR0913 - a target's arguments are the keys of its YAML
    files: Mapping[str, Mapping[str, Any]],
    path: str | None = None,
    url: str | None = None,
    cache: str | None = None,
    classes: Sequence[str] | None = None,
    size: int = 28,
    channels: int = 1,
    normalization: Mapping[str, Sequence[float]] | None = None,
    augment: Rows | None = None,
) -> Data:
    """Grey images and their labels. Format: yann.lecun.com/exdb/mnist.

    `files` gives each of the four parts a `name` and a `checksum`; they lie in the folder `path` (gzipped or not,
    checksums unused), or are downloaded from below `url` once. `classes` are the names of the labels 0, 1, ...; without
    them the labels' own numbers. `size` scales the images, `channels` repeats the grey value. The default normalisation
    is the training images' own. Raises TrainError naming the file that is missing, malformed or not the one meant.
    """
    where = {part: _find(part, files[part], path, url, cache) for part in PARTS}
    train, test = _part(where, "train"), _part(where, "test")
    names = _names(classes, where, train[1], test[1])
    normal = Normalization.given(normalization, channels) or _own(train[0], channels)
    shape = (channels, size, size)
    change = augmentation(augment, shape)
    prepare = partial(prepared, size=size, channels=channels)
    return Data(
        train=InMemory(*train, PerImage(change) if change else None, normal, prepare),
        test=InMemory(*test, None, normal, prepare),
        classes=names,
        shape=shape,
        normalization=normal,
        preprocessing=Preprocessing(channels, size, size),
    )


def prepared(images: torch.Tensor, size: int, channels: int) -> torch.Tensor:
    """Bytes (B, 1, H, W) as (B, channels, size, size) between 0 and 1."""
    images = images.float().div_(255)
    if images.shape[-2:] != (size, size):
        images = functional.interpolate(images, (size, size), mode="bilinear", align_corners=False, antialias=True)
    return images.expand(-1, channels, -1, -1)


def read(path: Path, kind: str) -> torch.Tensor:
    """The bytes of one file: `kind` 'images' is (N, 1, H, W), 'labels' (N,). Raises TrainError if it is malformed."""
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise _malformed(path, f"cannot be read ({error})") from error
    dimensions = DIMENSIONS[kind]
    start = 4 + 4 * dimensions
    wanted = bytes([0, 0, UNSIGNED_BYTE, dimensions])
    if content[:4] != wanted:
        raise _malformed(path, f"starts with '{content[:4].hex()}' and idx {kind} with '{wanted.hex()}'")
    if len(content) < start:
        raise _malformed(path, f"has {len(content)} bytes, less than its header")
    sizes = struct.unpack(f">{dimensions}I", content[4:start])
    announced = start + torch.Size(sizes).numel()
    if len(content) != announced:
        text = " x ".join(str(number) for number in sizes)
        raise _malformed(path, f"has {len(content)} bytes and its header announces {text}, {announced} bytes")
    if not all(sizes):
        raise _malformed(path, f"holds no {kind}")
    values = torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=start)
    return values.view(sizes[0], 1, *sizes[1:]) if kind == "images" else values


def _find(part: str, file: Mapping[str, Any], path: str | None, url: str | None, cache: str | None) -> Path:
    name = str(file["name"])
    if path is not None:
        folder = Path(path).expanduser()
        plain = name.removesuffix(".gz")
        found = next((folder / one for one in (name, plain, f"{plain}.gz") if (folder / one).is_file()), None)
        if found is None:
            raise TrainError(
                f"data.path: '{folder / name}' is not there, nor '{plain}'; point data.path at the folder of the four "
                f"idx files, or correct data.files.{part}.name"
            )
        return found
    if url is None:
        raise TrainError("data.path: neither data.path nor data.url says where the files are; set one of them")
    return fetch(Remote(f"{url.rstrip('/')}/{name}", file.get("checksum")), cache_folder(cache))


def _part(where: Mapping[str, Path], part: str) -> tuple[torch.Tensor, torch.Tensor]:
    of_images, of_labels = where[f"{part}_images"], where[f"{part}_labels"]
    images, labels = read(of_images, "images"), read(of_labels, "labels").long()
    if len(images) != len(labels):
        raise _malformed(of_labels, f"has {len(labels)} labels and '{of_images.name}' has {len(images)} images")
    return images, labels


def _names(
    classes: Sequence[str] | None, where: Mapping[str, Path], train: torch.Tensor, test: torch.Tensor
) -> tuple[str, ...]:
    known = len(classes) if classes else int(train.max()) + 1
    for part, labels in (("train", train), ("test", test)):
        beyond = (labels >= known).nonzero()
        if len(beyond):
            at = int(beyond[0])
            raise _malformed(
                where[f"{part}_labels"],
                f"has label {labels[at]} at place {at}, and the {known} classes end at {known - 1}",
            )
    return tuple(classes) if classes else tuple(str(label) for label in range(known))


def _own(images: torch.Tensor, channels: int) -> Normalization:
    """Exact, in whole numbers: the same to the last bit on any machine."""
    count, total, squares = images.numel(), 0, 0
    for at in range(0, len(images), 4096):
        values = images[at : at + 4096].long()
        total, squares = total + int(values.sum()), squares + int((values * values).sum())
    mean = total / count
    std = (squares / count - mean * mean) ** 0.5 or 255.0
    return Normalization((mean / 255,) * channels, (std / 255,) * channels)


def _malformed(path: Path, what: str) -> TrainError:
    return TrainError(f"data: '{path}' {what}; get a whole copy of the right file")
