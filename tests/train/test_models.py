from __future__ import annotations

import sys
from types import ModuleType

import pytest
import torch
from torch import nn

from train import vision
from train.data import InMemory, synthetic
from train.errors import TrainError
from train.models import build_model, unchanged
from train.models.heads import find_head, replace_head


@pytest.fixture(scope="module")
def data():
    return synthetic.load(classes=5, channels=3, size=32, train_images=4, test_images=4)


def test_small_cnn_gives_the_same_to_an_image_whatever_else_is_in_the_batch(data, tmp_path):
    model = build_model({"_target_": "train.models.small_cnn.SmallCNN"}, data, tmp_path).train()
    images = data.train.images
    assert torch.allclose(model(images)[:1], model(images[:1]), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "squeezenet1_1"])
def test_torchvisions_models_come_by_name_with_our_number_of_classes(data, tmp_path, name):
    model = build_model({"_target_": f"torchvision.models.{name}", "weights": None}, data, tmp_path)
    assert model.eval()(data.test.images).shape == (4, 5)
    assert all(int(b) == 0 for n, b in model.named_buffers() if n.endswith("num_batches_tracked"))


def test_with_weights_the_head_is_replaced(data, tmp_path, monkeypatch):
    (tmp_path / "pretrained_for_test.py").write_text(
        "from torch import nn\n"
        "def make(weights, num_classes=1000):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 7), nn.Linear(7, num_classes))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    model = build_model({"_target_": "pretrained_for_test.make", "weights": "DEFAULT"}, data, tmp_path)
    assert [part.out_features for part in model if isinstance(part, nn.Linear)] == [7, 5]


def test_images_that_do_not_fit_are_told_of_before_training(tmp_path):
    grey = synthetic.load(classes=3, channels=1, size=32, train_images=4, test_images=4)
    with pytest.raises(TrainError, match=r"does not take images of 1x32x32 .* set data.channels or data.size"):
        build_model({"_target_": "torchvision.models.resnet18"}, grey, tmp_path)


def test_a_model_for_larger_images_says_which_it_takes(tmp_path, monkeypatch, data):
    (tmp_path / "wide_for_test.py").write_text(
        "from torch import nn\n"
        "def make(num_classes):\n"
        "    parts = nn.Conv2d(3, 4, 40), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes)\n"
        "    return nn.Sequential(*parts)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(TrainError, match=r"does not take images of 3x32x32 .*; it takes 64x64: set data.size=64"):
        build_model({"_target_": "wide_for_test.make"}, data, tmp_path)


@pytest.mark.parametrize(
    "head", [nn.Linear(6, 9), nn.Linear(6, 9, bias=False), nn.Conv2d(6, 9, 1), nn.Conv2d(6, 9, 1, bias=False)]
)
def test_a_replaced_head_is_of_the_same_kind(head):
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.Sequential(nn.ReLU(), head))
    assert find_head(model) == "1.1"
    replace_head(model, "1.1", 4)
    assert type(model[1][1]) is type(head)
    assert model[1][1].weight.shape[:2] == (4, 6)
    assert (model[1][1].bias is None) is (head.bias is None)


def test_a_model_with_another_number_of_outputs_is_told_of(data, tmp_path):
    with pytest.raises(TrainError, match=r"gave \(2, 9\) for 2 images of 5 classes"):
        build_model({"_target_": "train.models.small_cnn.SmallCNN", "num_classes": 9}, data, tmp_path)


def test_what_is_no_module_is_refused(data, tmp_path):
    with pytest.raises(TrainError, match=r"returned no torch.nn.Module"):
        build_model({"_target_": "train.data.synthetic.load"}, data, tmp_path)


def test_unchanged_puts_running_statistics_back():
    norm = nn.BatchNorm2d(2)
    with unchanged(norm):
        norm(torch.rand(4, 2, 3, 3) + 5)
        assert norm.running_mean.abs().sum() > 0
    assert norm.running_mean.abs().sum() == 0
    assert isinstance(InMemory(torch.zeros(1, 1, 1, 1), torch.zeros(1)), InMemory)


@pytest.fixture
def fresh_vision(monkeypatch):
    """The guard as if nothing was imported yet; what is kept and loaded is put back."""
    vision.torchvision.cache_clear()
    kept = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "torchvision"}
    yield monkeypatch
    sys.modules.update(kept)
    vision.torchvision.cache_clear()


def test_on_a_matched_install_the_guard_does_nothing(fresh_vision):
    module = ModuleType("torchvision")
    fresh_vision.setattr(vision, "_import", lambda: module)
    fresh_vision.setattr(vision, "_define", pytest.fail)
    assert vision.torchvision() is module


def test_each_missing_operator_is_defined_and_the_import_tried_again(fresh_vision):
    module, defined = ModuleType("torchvision"), []

    def importing():
        for operator in vision.OPERATORS:
            if operator not in defined:
                raise RuntimeError(f"operator torchvision::{operator} does not exist")
        return module

    fresh_vision.setattr(vision, "_import", importing)
    fresh_vision.setattr(vision, "_define", defined.append)
    assert vision.torchvision() is module
    assert defined == list(vision.OPERATORS)


@pytest.mark.parametrize("text", ["operator torchvision::other does not exist", "CUDA error"])
def test_any_other_failure_of_the_import_is_shown_as_it_is(fresh_vision, text):
    def failing():
        raise RuntimeError(text)

    fresh_vision.setattr(vision, "_import", failing)
    with pytest.raises(RuntimeError, match=text):
        vision.torchvision()


def test_a_missing_torchvision_says_what_to_install(fresh_vision):
    def missing():
        raise ModuleNotFoundError("No module named 'torchvision'", name="torchvision")

    fresh_vision.setattr(vision, "_import", missing)
    with pytest.raises(TrainError, match="torchvision is not installed; pip install"):
        vision.torchvision()
