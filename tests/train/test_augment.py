from __future__ import annotations

import inspect
import json
import pickle

import pytest
import torch

from tests.conftest import ROOT
from train import seeds, vision
from train.data import digits, synthetic
from train.data.augment import KINDS, PerImage, augmentation
from train.errors import TrainError

SHAPE = (1, 8, 8)
ROWS = [{"kind": "RandomAffine", "degrees": 30, "translate": [0.2, 0.2]}, {"kind": "RandomErasing", "p": 0.5}]


def test_rows_draw_for_each_image_and_as_the_place_in_the_training_says():
    change = augmentation(ROWS, SHAPE)
    images = torch.rand(1, *SHAPE).expand(6, -1, -1, -1)
    draws = []
    for place in (1, 1, 2):
        with seeds.drawn_for(place):
            draws.append(PerImage(change)(images))
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert len({tuple(image.flatten().tolist()) for image in draws[0]}) == 6


def test_a_process_that_loads_makes_them_anew():
    change = pickle.loads(pickle.dumps(augmentation(ROWS, SHAPE)))
    with seeds.drawn_for(1):
        here = augmentation(ROWS, SHAPE)(torch.ones(SHAPE))
    with seeds.drawn_for(1):
        assert torch.equal(change(torch.ones(SHAPE)), here)


@pytest.mark.parametrize(
    "load", [synthetic.load, pytest.param(digits.load, marks=pytest.mark.slow)], ids=["synthetic", "digits"]
)
def test_training_images_only(load):
    rows = [{"kind": "RandomErasing", "p": 1.0, "value": 9.0, "scale": [0.5, 0.6], "ratio": [1.0, 1.0]}]
    data, plain = load(size=8, channels=1, augment=rows), load(size=8, channels=1)
    changed, before = data.train.batch(range(20))[0], plain.train.batch(range(20))[0]
    mean, std = data.normalization.mean[0], data.normalization.std[0]
    erased = (changed - (9.0 - mean) / std).abs() < 1e-4  # before the normalisation
    assert (erased.sum((1, 2, 3)) >= 25).all()
    assert torch.equal(changed[~erased], before[~erased])
    assert torch.equal(data.test.batch(range(9))[0], plain.test.batch(range(9))[0])


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"kind": "RandomRotatoin"}, r"data.augment.0.kind: 'RandomRotatoin' is not one of ColorJitter, "),
        ({"kind": "RandomRotation"}, r"data.augment.0: RandomRotation: .*degrees.*; see torchvision.transforms.v2"),
        ({"kind": "RandomRotation", "degress": 1}, "degress"),
        ({"kind": "ColorJitter", "hue": 0.9}, "data.augment.0: ColorJitter: .*hue"),
        ({"kind": "RandomCrop", "size": 6}, "data.augment.0: makes 1x6x6 of images of 1x8x8; the shape must stay"),
        ({"kind": "RandomCrop", "size": 9}, "data.augment.0: cannot change images of 1x8x8"),
        ({"_target_": "os.system", "command": "x"}, "data.augment.0._target_: 'os.system' is not an allowed target"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(row, said):
    with pytest.raises(TrainError, match=said):
        augmentation([row], SHAPE)


def test_a_function_of_the_project_may_make_a_change(tmp_path, monkeypatch):
    (tmp_path / "mine_for_augment.py").write_text(
        "def darker(by):\n    return Darker(by)\n"
        "class Darker:\n"
        "    def __init__(self, by): self.by = by\n"
        "    def __call__(self, image): return image * self.by\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    change = augmentation([{"_target_": "mine_for_augment.darker", "by": 0.5}], SHAPE)
    assert change(torch.ones(SHAPE)).max() == 0.5


def test_the_schema_has_the_kinds_and_arguments_that_torchvision_takes():
    schema = json.loads((ROOT / "schemas" / "data.schema.json").read_text())
    row = schema["$defs"]["partial"]["properties"]["augment"]["items"]
    arguments = {rule["if"]["properties"]["kind"]["const"]: rule["then"] for rule in row["allOf"][1:]}
    assert set(row["properties"]["kind"]["enum"]) == set(arguments) == KINDS
    for kind, rule in arguments.items():
        taken = inspect.signature(getattr(vision.transforms(), kind)).parameters
        assert set(rule["properties"]) - {"kind"} <= set(taken), kind
        needed = {p.name for p in taken.values() if p.default is p.empty}
        assert needed <= set(rule.get("required", [])), kind
