"""Photographs in folders, one folder per class."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from train import vision
from train.data import Data, Normalization, Preprocessing
from train.data.augment import Change, Rows, augmentation
from train.data.download import Remote, cache_folder, fetch_unpacked
from train.data.pictures import read
from train.data.split import stratified
from train.errors import TrainError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"})

# The names that a held-out part goes by, in the order they are looked for.
TEST_FOLDERS = ("test", "val", "valid", "validation")

IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


def load(  # noqa: PLR0913 - a target's arguments are the keys of its YAML
    path: str | None = None,
    url: str | None = None,
    checksum: str | None = None,
    cache: str | None = None,
    size: int = 64,
    test_fraction: float = 0.2,
    crop: float = 0.6,
    flip: bool = True,
    normalization: Mapping[str, Sequence[float]] | None = None,
    augment: Rows | None = None,
) -> Data:
    """Images below `path`: `train/CLASS/*` with `test/CLASS/*` (or `val/`), or `CLASS/*` of which some are held out.

    Without a path, the archive (zip, tar) at `url` is downloaded and unpacked, once. A single folder around it all is
    entered. Training images are cropped at random to at least the share `crop` of their area (1: in the middle, as test
    images are), mirrored if `flip`, and changed by `augment`. All become `size` x `size`, three channels, normalised
    (default: ImageNet's mean and standard deviation). Raises TrainError for a folder that is missing, empty or has a
    single class, and what `fetch_unpacked` raises.
    """
    root = _root(path, url, checksum, cache)
    train, test, classes = _listing(root, test_fraction)
    normal = Normalization.given(normalization or IMAGENET, 3)
    assert normal is not None
    shape = (3, size, size)
    preprocessing = Preprocessing(3, size, round(size * 8 / 7))  # the usual 256 -> 224
    change = augmentation(augment, shape)
    return Data(
        train=Images(root, train, vision.Remade(_training, preprocessing, crop, flip, change, normal)),
        test=Images(root, test, vision.Remade(_testing, preprocessing, normal)),
        classes=classes,
        shape=shape,
        normalization=normal,
        preprocessing=preprocessing,
    )


@dataclass(frozen=True, slots=True)
class Images:
    """Image files, read when asked for. `files` are (path relative to `root`, label)."""

    root: Path
    files: Sequence[tuple[str, int]]
    transform: Callable[[Image.Image], torch.Tensor]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int, /) -> tuple[torch.Tensor, int]:
        name, label = self.files[index]
        return self.transform(read(self.root / name)), label


def _root(path: str | None, url: str | None, checksum: str | None, cache: str | None) -> Path:
    if path is not None:
        root = Path(path).expanduser()
    elif url is not None:
        root = fetch_unpacked(Remote(url, checksum), cache_folder(cache))
    else:
        raise TrainError("data.path: neither data.path nor data.url says where the images are; set one of them")
    if not root.is_dir():
        raise TrainError(f"data.path: '{root}' is not a folder; point data.path at the images")
    # An archive's single top folder, and such a folder by hand.
    while len(inside := _folders(root)) == 1 and inside[0] != "train" and _folders(root / inside[0]):
        root = root / inside[0]
    return root


def _listing(root: Path, fraction: float) -> tuple[list[tuple[str, int]], list[tuple[str, int]], tuple[str, ...]]:
    held_out = next((name for name in TEST_FOLDERS if (root / name).is_dir()), None)
    if (root / "train").is_dir() and held_out is not None:
        classes = _classes(root / "train")
        unknown = sorted(set(_folders(root / held_out)) - set(classes))
        if unknown:
            raise TrainError(
                f"data.path: class '{unknown[0]}' is in '{root / held_out}' only; the model cannot learn it: "
                f"add it to 'train' or remove it"
            )
        return _files(root, "train/", classes), _files(root, f"{held_out}/", classes), classes
    base = "train/" if (root / "train").is_dir() else ""
    classes = _classes(root / base)
    files = _files(root, base, classes)
    train, test = stratified([label for _, label in files], [name for name, _ in files], fraction)
    return [files[i] for i in train], [files[i] for i in test], classes


def _classes(folder: Path) -> tuple[str, ...]:
    classes = _folders(folder)
    if len(classes) < 2:
        raise TrainError(
            f"data.path: '{folder}' holds {len(classes)} class folder(s) and training needs two; "
            f"lay the images out as '{folder}/CLASS/IMAGE'"
        )
    return classes


def _folders(folder: Path) -> tuple[str, ...]:
    names = (entry.name for entry in folder.iterdir() if entry.is_dir())
    return tuple(sorted(name for name in names if name[0] != "." and name != "__MACOSX"))


def _files(root: Path, base: str, classes: Sequence[str]) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    for label, name in enumerate(classes):
        folder = root / base / name
        files = sorted(p.relative_to(root).as_posix() for p in folder.rglob("*") if _is_image(p))
        if not files and folder.is_dir():
            raise TrainError(f"data.path: '{folder}' holds no image; add some or remove the folder")
        found += [(file, label) for file in files]
    return found


def _is_image(path: Path) -> bool:
    # What a Mac adds to an archive, '._1.jpg', is none.
    return path.suffix.lower() in SUFFIXES and path.name[0] != "."


def _training(
    preprocessing: Preprocessing, crop: float, flip: bool, change: Change | None, normal: Normalization
) -> Callable[[Any], Any]:
    v2 = vision.transforms()
    steps = _middle(preprocessing)
    if crop < 1:
        steps = [v2.RandomResizedCrop(preprocessing.size, scale=(crop, 1.0), antialias=True)]
    if flip:
        steps.append(v2.RandomHorizontalFlip())
    return _to_tensor(steps, change, normal)


def _testing(preprocessing: Preprocessing, normal: Normalization) -> Callable[[Any], Any]:
    return _to_tensor(_middle(preprocessing), None, normal)


def _middle(preprocessing: Preprocessing) -> list[Any]:
    v2 = vision.transforms()
    return [v2.Resize(preprocessing.resize, antialias=True), v2.CenterCrop(preprocessing.size)]


def _to_tensor(steps: list[Any], change: Change | None, normal: Normalization) -> Callable[[Any], Any]:
    v2 = vision.transforms()
    steps += [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.ToPureTensor()]
    steps += [change] if change else []
    made: Callable[[Any], Any] = v2.Compose([*steps, v2.Normalize(normal.mean, normal.std)])
    return made
