from __future__ import annotations

import gzip
import struct
from pathlib import Path

import pytest
import torch
import yaml

from tests.conftest import ROOT
from tests.train.serving import serving
from train import vision
from train.data import idx
from train.errors import TrainError

NAMES = {part: f"{part}.gz" for part in idx.PARTS}


def images(count: int, side: int = 4, magic: bytes = b"\0\0\x08\x03") -> bytes:
    pixels = bytes(i * 7 % 256 for i in range(count * side * side))
    return magic + struct.pack(">III", count, side, side) + pixels


def labels(*values: int) -> bytes:
    return b"\0\0\x08\x01" + struct.pack(">I", len(values)) + bytes(values)


WHOLE = {
    "train_images": images(6),
    "train_labels": labels(0, 1, 2, 0, 1, 2),
    "test_images": images(3),
    "test_labels": labels(2, 1, 0),
}


def folder_of(root: Path, packed: bool, **changed: bytes) -> Path:
    for part, content in {**WHOLE, **changed}.items():
        name = NAMES[part] if packed else part
        (root / name).write_bytes(gzip.compress(content) if packed else content)
    return root


def load(**keys):
    return idx.load({part: {"name": name, "checksum": None} for part, name in NAMES.items()}, **keys)


@pytest.mark.parametrize("packed", [True, False])
def test_files_of_a_folder_gzipped_or_not(tmp_path, packed):
    data = load(path=str(folder_of(tmp_path, packed)), size=4)
    assert (len(data.train), len(data.test), data.classes, data.shape) == (6, 3, ("0", "1", "2"), (1, 4, 4))
    assert data.test.batch([0, 2])[1].tolist() == [2, 0]
    drawn, _ = data.train.batch(range(6))
    pixels = drawn * data.normalization.std[0] + data.normalization.mean[0]
    assert (pixels * 255).round().flatten().tolist() == [i * 7 % 256 for i in range(96)]
    assert abs(drawn.double().mean()) < 1e-6
    assert drawn.double().std(correction=0).item() == pytest.approx(1, abs=1e-6)


def test_size_channels_and_a_given_normalization(tmp_path):
    given = {"mean": [0.0, 0.5, 0.0], "std": [1.0, 1.0, 0.5]}
    data = load(path=str(folder_of(tmp_path, False)), size=8, channels=3, normalization=given, classes=["a", "b", "c"])
    [image], _ = data.test.batch([0])
    assert image.shape == data.shape == (3, 8, 8)
    torch.testing.assert_close(image[0], image[1] + 0.5)
    torch.testing.assert_close(image[0], image[2] / 2)
    assert data.preprocessing is not None
    with pytest.raises(TrainError, match=r"data.normalization.mean: 3 number\(s\) for images of 1 channel"):
        load(path=str(tmp_path), normalization=given)


MALFORMED = {
    "labels for images": (
        {"train_images": labels(1)},
        r"train_images' starts with '00000801' and idx images with '000008",
    ),
    "text": ({"train_labels": b"<html>"}, "train_labels' starts with '3c68746d'"),
    "cut": ({"test_images": images(3)[:-5]}, "test_images' has 59 bytes and its header announces 3 x 4 x 4, 64 bytes"),
    "too long": ({"test_images": images(3) + b"1"}, "has 65 bytes"),
    "cut header": ({"test_images": images(3)[:9]}, "has 9 bytes, less than its header"),
    "counts": ({"train_labels": labels(0, 1)}, "train_labels' has 2 labels and 'train_images' has 6 images"),
    "none": ({"test_images": images(0), "test_labels": labels()}, "test_images' holds no images"),
    "label": ({"test_labels": labels(0, 3, 1)}, "test_labels' has label 3 at place 1, and the 3 classes end at 2"),
    "gzip cut": ({"train_images": gzip.compress(images(6))[:-9]}, "train_images' cannot be read"),
    "gzip changed": ({"train_images": gzip.compress(images(6))[:30] + b"1" * 30}, "train_images' cannot be read"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_file_is_named_with_what_is_wrong(tmp_path, case):
    changed, said = MALFORMED[case]
    with pytest.raises(TrainError, match=said):
        load(path=str(folder_of(tmp_path, False, **changed)))


def test_a_file_that_is_not_there_is_named(tmp_path):
    folder_of(tmp_path, True)
    (tmp_path / "test_labels.gz").unlink()
    with pytest.raises(TrainError, match=r"test_labels.gz' is not there, nor 'test_labels'; .* data.files.test_labels"):
        load(path=str(tmp_path))
    with pytest.raises(TrainError, match=r"neither data.path nor data.url says where"):
        load()


def test_files_come_from_an_address_once(tmp_path):
    files = {f"mnist/{NAMES[part]}": gzip.compress(content) for part, content in WHOLE.items()}
    with serving(files) as served:
        loaded = [load(url=f"{served.url}/mnist/", cache=str(tmp_path)) for _ in range(2)]
    assert sorted(path for path, _ in served.asked) == sorted(files)
    assert torch.equal(loaded[0].train.images, loaded[1].train.images)


@pytest.mark.parametrize(("option", "name"), [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST")])
def test_the_addresses_and_checksums_are_those_that_torchvision_has(option, name):
    theirs = getattr(vision.torchvision().datasets, name)
    ours = yaml.safe_load((ROOT / "configs" / "data" / f"{option}.yaml").read_text())
    assert ours["url"] == theirs.mirrors[0]
    assert [(file["name"], file["checksum"]) for file in ours["files"].values()] == [
        (name, f"md5:{checksum}") for name, checksum in theirs.resources
    ]
    assert ours["classes"] == [name.rpartition(" - ")[0] or name for name in theirs.classes]
