"""The digest stands in runner and in train on purpose; here the two are held equal, over every experiment."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runner import spec
from runner.configs import compose
from tests.conftest import ROOT
from train import job

EXPERIMENTS = sorted(path.stem for path in (ROOT / "configs/experiment").glob("*.yaml"))


def test_same_keys() -> None:
    assert job.TRAINING_KEYS == spec.TRAINING_KEYS


def test_same_digest_of_every_experiment() -> None:
    configs = compose(ROOT, [[f"experiment={name}"] for name in EXPERIMENTS])
    assert len(configs) >= 4
    for config in configs:
        for world_size in (1, 2, 64):
            assert job.training_digest(config.values, world_size) == spec.training_digest(config.values, world_size)
        assert job.digest(config.values) == spec.digest(config.values)


@pytest.mark.parametrize("value", [None, {}, {"b": [1, 2.5, True], "a": "ü\n"}, {"x": "\ud800"}, 1e-300])
def test_same_digest_of_odd_values(value: object) -> None:
    assert job.digest(value) == spec.digest(value)


def test_digest_does_not_depend_on_order_or_on_json() -> None:
    value = {"b": 1, "a": [1.0, "x"]}
    assert spec.digest(value) == spec.digest(json.loads(json.dumps(dict(reversed(value.items())))))


def test_what_runner_encodes_train_decodes(tmp_path: Path) -> None:
    payload = {"overrides": ["a='$HOME \"=ü'"], "training_digest": "0" * 64, "run_id": "r"}
    argv, taken = job.take_job(["--config-dir", "x", "--amlrun", spec.encode_argument(payload)])
    assert taken is not None
    assert argv == ["--config-dir", "x", *payload["overrides"]]
    assert taken.training_digest == "0" * 64
