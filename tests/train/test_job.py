from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from train.errors import TrainError
from train.job import Submitted, accept, refuse_another, take_job, training_digest

PROJECT = Path(__file__).parents[2]


def word(**job) -> str:
    text = json.dumps({"overrides": [], "training_digest": "0" * 64, "run_id": "r", **job})
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def test_without_a_job_the_command_line_is_left_alone():
    assert take_job(["a=1", "--cfg", "job"]) == (["a=1", "--cfg", "job"], None)


def test_overrides_arrive_as_written_and_options_stay():
    overrides = ["a='$HOME \"x\"'", "b=é ü", "c={d: [1, 2]}", "+e==="]
    argv, job = take_job(["--config-dir", "amlrun_configs", "--amlrun", word(overrides=overrides)])
    assert argv == ["--config-dir", "amlrun_configs", *overrides]
    assert job is not None
    assert (job.run_id, job.training_digest) == ("r", "0" * 64)


@pytest.mark.parametrize("given", ["", "!!", "e30", word()[:-9], base64.urlsafe_b64encode(b"[1]").decode()])
def test_a_word_that_is_no_job_is_refused(given):
    with pytest.raises(TrainError, match="is not a job of amlrun"):
        take_job(["--amlrun", given])


def test_the_digest_covers_what_decides_the_weights_and_nothing_else(config):
    same = training_digest({**config, "name": "other", "tags": {"a": "b"}}, 1)
    assert same == training_digest(config, 1)
    assert same != training_digest(config, 2)
    assert same != training_digest({**config, "seed": 4}, 1)


def test_another_configuration_is_refused_and_the_same_is_not(config):
    refuse_another(Submitted((), training_digest(config, 2), "r"), config, 2)
    with pytest.raises(TrainError, match="composed another configuration than the one submitted"):
        refuse_another(Submitted((), training_digest(config, 2), "r"), config, 1)


def test_the_script_refuses_before_it_trains(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "train", "--amlrun", word(overrides=["seed=5"])],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("train: this node composed another configuration")
    assert not (tmp_path / "outputs").exists()


def test_rank_0_keeps_what_its_node_composed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = {"name": "ü", "seed": 1}
    job = Submitted((), training_digest(config, 2), "r")
    for rank in (1, 0):
        accept(job, config, rank, 2)
        assert Path("outputs").exists() == (rank == 0)
    assert json.loads(Path("outputs/amlrun/config.json").read_text("utf-8")) == config
    with pytest.raises(TrainError, match="composed another configuration"):
        accept(job, {**config, "seed": 2}, 0, 2)
    assert json.loads(Path("outputs/amlrun/config.json").read_text("utf-8")) == config
