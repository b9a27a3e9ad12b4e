from __future__ import annotations

import pytest
import torch

from train.data import patches
from train.errors import TrainError

pytest.importorskip("skimage.data", reason="the extra 'pretrained' is not installed")


@pytest.mark.parametrize(("width", "height", "patch"), [(451, 300, 48), (384, 303, 48), (512, 512, 64), (600, 400, 31)])
def test_no_pixel_is_in_two_patches_nor_near_the_other_part(width, height, patch):
    covered = torch.zeros(height, width, dtype=torch.int64)
    train, test = patches.boxes(width, height, patch)
    for left, upper, right, lower in (*train, *test):
        assert (right - left, lower - upper) == (patch, patch)
        covered[upper:lower, left:right] += 1
    assert int(covered.max()) == 1
    assert int(covered.sum()) == patch**2 * (len(train) + len(test))  # none reaches beyond the photograph
    assert min(left for left, *_ in test) - max(right for _, _, right, _ in train) >= patches.GAP


@pytest.fixture(scope="module")
def data():
    return patches.load(size=32, train_patches=2, test_patches=3)


def test_every_photograph_gives_as_many_and_always_the_same(data):
    again = patches.load(size=32, train_patches=2, test_patches=3)
    assert data.shape == (3, 32, 32)
    for samples, others, count in ((data.train, again.train, 2), (data.test, again.test, 3)):
        assert samples.labels.bincount().tolist() == [count] * len(data.classes)
        assert torch.equal(samples.images, others.images)
    assert len(data.classes) == 16


def test_a_patch_is_normalised_as_asked_when_it_is_drawn():
    data = patches.load(size=32, train_patches=1, test_patches=1, normalization={"mean": [0.5] * 3, "std": [2] * 3})
    image, label = data.test[7]
    assert torch.allclose(image * 2 + 0.5, data.test.images[7], atol=1e-6)
    assert label == 7


def test_more_patches_than_a_photograph_has_room_for_are_refused():
    with pytest.raises(TrainError, match=r"data.test_patches: .* has room for \d+ patches of 100 pixels and not "):
        patches.load(patch=100, train_patches=1, test_patches=40)


def test_missing_photographs_say_what_to_install(monkeypatch):
    monkeypatch.setitem(patches.PHOTOGRAPHS, "moon", "no_such_package/moon.png")
    with pytest.raises(TrainError, match=r"photograph 'moon' is not here; pip install 'amlrun\[pretrained\]'"):
        patches.load()
