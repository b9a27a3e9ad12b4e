"""A small training's configuration, as Hydra would hand it over."""

from __future__ import annotations

import copy
import sys
from typing import Any

import pytest
import torch

CONFIG: dict[str, Any] = {
    "name": "small",
    "seed": 3,
    "code": {"root": ".", "module": "train", "script": None, "command": None, "arguments": []},
    "inputs": {},
    "distribution": {"kind": "none"},
    "data": {
        "_target_": "train.data.synthetic.load",
        "classes": 3,
        "channels": 1,
        "size": 8,
        "train_images": 50,
        "test_images": 13,
        "noise": 0.5,
    },
    "model": {"_target_": "train.models.small_cnn.SmallCNN", "width": 8, "dropout": 0.2},
    "optimizer": {"_target_": "torch.optim.AdamW", "lr": 0.01},
    "schedule": {"kind": "cosine", "warmup_epochs": 1, "final_factor": 0.0},
    "trainer": {
        "epochs": 3,
        "batch_size": 8,
        "device": "cpu",
        "threads": 1,
        "workers": 0,
        "timeout_minutes": 1,
        "precision": "float32",
        "channels_last": False,
        "compile": False,
        "fused": False,
        "pin_memory": "auto",
        "accumulation": 1,
        "clip_norm": None,
        "reference_batch_size": None,
        "freeze": {"kind": "none", "epochs": 1},
        "monitor": {"metric": "test_accuracy", "patience": None, "min_delta": 0.0},
        "resume": "auto",
        "checkpoint": {"every_epochs": 1, "every_steps": None, "every_minutes": None, "keep": 2},
    },
    "export": {"onnx": False, "opset": 18, "tolerance": 1e-3},
    "tracking": {"trackers": ["jsonl"]},
}


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)  # pictures take a second a run
    return copy.deepcopy(CONFIG)


@pytest.fixture(autouse=True)
def _threads_restored():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
