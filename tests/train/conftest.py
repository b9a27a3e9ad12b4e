"""A small training's configuration, as Hydra would hand it over."""

from __future__ import annotations

import copy
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
        "resume": "auto",
        "checkpoint": {"every_epochs": 1, "every_steps": None, "keep": 2},
    },
    "tracking": {"trackers": ["jsonl"]},
}


@pytest.fixture
def config() -> dict[str, Any]:
    return copy.deepcopy(CONFIG)


@pytest.fixture(autouse=True)
def _threads_restored():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
