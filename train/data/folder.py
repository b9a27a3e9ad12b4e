"""Photographs in folders, one folder per class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from train import vision
from train.data import Data, Normalization
from train.data.split import stratified
from train.errors import TrainError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"})

# The names that a held-out part goes by, in the order they are looked for.
TEST_FOLDERS = ("test", "val", "valid", "validation")


def load(
    path: str,
    size: int = 64,
    test_fraction: float = 0.2,
    crop: float = 0.6,
    flip: bool = True,
    normalization: dict[str, list[float]] | None = None,
) -> Data:
    """Images below `path`: `train/CLASS/*` with `test/CLASS/*` (or `val/`), or `CLASS/*` of which some are held out.

    Training images are cropped at random to at least the share `crop` of their area and mirrored if `flip`; test
    images are cropped in the middle. All become `size` x `size`, three channels, normalised (default: ImageNet's
    mean and standard deviation). Raises TrainError for a folder that is missing, empty or has a single class.
    """
    root = Path(path).expanduser()
    train, test, classes = _listing(root, test_fraction)
    given = normalization or {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    normal = Normalization(tuple(given["mean"]), tuple(given["std"]))
    training, testing = _transforms(size, crop, flip, normal)
    return Data(
        train=Images(root, train, training),
        test=Images(root, test, testing),
        classes=classes,
        shape=(3, size, size),
        normalization=normal,
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
        try:
            with Image.open(self.root / name) as image:
                pixels = image.convert("RGB")
        except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises depends on the format
            raise TrainError(
                f"data.path: '{self.root / name}' cannot be read as an image ({error}); repair or remove it"
            ) from error
        return self.transform(pixels), label


def _listing(root: Path, fraction: float) -> tuple[list[tuple[str, int]], list[tuple[str, int]], tuple[str, ...]]:
    if not root.is_dir():
        raise TrainError(f"data.path: '{root}' is not a folder; point data.path at the images")
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
    return tuple(sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != "."))


def _files(root: Path, base: str, classes: Sequence[str]) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    for label, name in enumerate(classes):
        folder = root / base / name
        files = sorted(p.relative_to(root).as_posix() for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
        if not files and folder.is_dir():
            raise TrainError(f"data.path: '{folder}' holds no image; add some or remove the folder")
        found += [(file, label) for file in files]
    return found


def _transforms(size: int, crop: float, flip: bool, normal: Normalization) -> tuple[Any, Any]:
    v2 = vision.transforms()
    to_tensor = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(normal.mean, normal.std)]
    training = [v2.RandomResizedCrop(size, scale=(crop, 1.0), antialias=True)]
    if flip:
        training.append(v2.RandomHorizontalFlip())
    # The usual 256 -> 224: the middle of a slightly larger image.
    testing = [v2.Resize(round(size * 8 / 7), antialias=True), v2.CenterCrop(size)]
    return v2.Compose([*training, *to_tensor]), v2.Compose([*testing, *to_tensor])
