from __future__ import annotations

import urllib.error

import pytest
import torch

from train.build import build, find_target
from train.errors import TrainError


def refused(group, spec, root, **supplied):
    with pytest.raises(TrainError) as caught:
        build(group, spec, root, **supplied)
    return str(caught.value)


def test_keys_reach_the_target_and_supplied_arguments_only_where_it_names_them(tmp_path):
    spec = {"_target_": "train.models.small_cnn.SmallCNN", "width": 8}
    model = build("model", spec, tmp_path, num_classes=4, in_channels=2, params="not asked for")
    assert model.head[-1].out_features == 4
    assert model.features[0].weight.shape == (8, 2, 3, 3)


def test_yaml_wins_over_what_is_supplied(tmp_path):
    spec = {"_target_": "train.models.small_cnn.SmallCNN", "num_classes": 7}
    assert build("model", spec, tmp_path, num_classes=4).head[-1].out_features == 7


@pytest.mark.parametrize(
    "name", ["os.system", "torch.hub.load", "subprocess.run", "builtins.eval", "numpy.load", "eval", ""]
)
def test_targets_from_elsewhere_are_refused(name, tmp_path):
    assert f"model._target_: '{name}' is not an allowed target" in refused("model", {"_target_": name}, tmp_path)


def test_an_environment_inside_the_project_is_not_the_project():
    with pytest.raises(TrainError, match="is not an allowed target"):
        find_target("model", "yaml.load", root=__import__("pathlib").Path("/"))


def test_packages_of_the_project_are_allowed(tmp_path, monkeypatch):
    (tmp_path / "birdnet_for_test.py").write_text("def make(num_classes): return ('net', num_classes)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert build("model", {"_target_": "birdnet_for_test.make"}, tmp_path, num_classes=2) == ("net", 2)


def test_misspelt_places_say_what_is_missing(tmp_path):
    message = refused("model", {"_target_": "train.models.small_cn.SmallCNN"}, tmp_path)
    assert "model._target_: no module 'train.models.small_cn'" in message
    message = refused("model", {"_target_": "train.models.small_cnn.SmallCN"}, tmp_path)
    assert "'train.models.small_cnn' has no 'SmallCN' to call" in message


def test_a_key_that_the_signature_refuses_is_named(tmp_path):
    spec = {"_target_": "torch.optim.SGD", "lr": 0.1, "momentun": 0.9}
    message = refused("optimizer", spec, tmp_path, params=[torch.zeros(1)])
    assert message.startswith(
        "optimizer.momentun: 'torch.optim.SGD' has no such argument; it takes: params, lr, momentum"
    )


def test_a_missing_key_is_named(tmp_path):
    message = refused("data", {"_target_": "train.data.idx.load"}, tmp_path)
    assert message == "data.files: 'train.data.idx.load' needs it; add the key"


def test_a_key_that_only_an_inner_constructor_refuses_is_named(tmp_path, monkeypatch):
    (tmp_path / "inner_for_test.py").write_text("def make(**kwargs): return dict2(**kwargs)\ndef dict2(a): return a\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    message = refused("model", {"_target_": "inner_for_test.make", "a": 1, "b": 2}, tmp_path)
    assert message == "model.b: 'inner_for_test.make' has no such argument; remove it"


def test_a_failed_download_says_what_to_do(tmp_path, monkeypatch):
    (tmp_path / "web_for_test.py").write_text(
        "import urllib.error\ndef make(weights): raise urllib.error.URLError('no route')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    message = refused("model", {"_target_": "web_for_test.make", "weights": "DEFAULT"}, tmp_path)
    assert "'DEFAULT' could not be downloaded (no route); without a network set model.weights=null" in message
    assert issubclass(urllib.error.HTTPError, urllib.error.URLError)
