"""Horovod, built by `make horovod`: gradients, state and every option on two real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, Cli

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

TWO = ("distribution=mpi", "distribution.processes_per_node=2", "distribution.engine=horovod")
SHORT = ("experiment=digits", "trainer.epochs=4")


def run(cli: Cli, project: Path, *overrides: str) -> dict[str, Any]:
    done = cli(project, "run", "--json", *SHORT, *overrides)
    assert done.code == 0, done.err
    record: dict[str, Any] = json.loads(done.out)
    return record


def losses(record: dict[str, Any]) -> list[float]:
    lines = (Path(record["outputs"]) / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["train_loss"] for line in lines]


def test_two_ranks_learn_what_one_process_does(cli: Cli, project: Path) -> None:
    alone, together = run(cli, project), run(cli, project, *TWO)
    assert losses(together) == pytest.approx(losses(alone), rel=0.01)
    assert together["metrics"]["test_accuracy"] == pytest.approx(alone["metrics"]["test_accuracy"], abs=0.02)
    log = Path(together["logs"][0]).read_text()
    assert "process: rank 0 of 2 (Open MPI), cpu, horovod," in log
    assert "of 360 images)" in log


def test_with_every_option_at_once(cli: Cli, project: Path) -> None:
    options = (
        "distribution.compression=fp16",
        "trainer.accumulation=2",
        "trainer.clip_norm=5",
        "trainer.precision=bf16",
        "trainer.freeze.kind=gradual",
        "trainer.freeze.epochs=1",
    )
    found = losses(run(cli, project, *TWO, *options))
    assert found[-1] < found[0]


# Rank 1 alone asks to stop; both leave with a whole checkpoint, and what follows is as if they had not.
TRAIN = """
import os, runpy, signal, sys
from train import loop
from train.errors import StoppedError
real, word = loop._train_step, sys.argv[1]
def stepping(training, images, labels):
    if word == "stop" and training.progress.step == 30 and training.group.process.rank == 1:
        os.kill(os.getpid(), signal.SIGTERM)
    real(training, images, labels)
loop._train_step = stepping
sys.argv[0:2] = ["train"]
runpy.run_module("train", run_name="__main__", alter_sys=True)
"""


def mpirun(folder: Path, word: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    program = [sys.executable, "-c", TRAIN, word, *SHORT, "distribution=mpi", "distribution.engine=horovod"]
    command = [str(Path(sys.executable).with_name("mpirun")), "-n", "2", "--oversubscribe", *program]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


def test_sigterm_to_one_rank_is_gone_on_from_to_the_same_weights(tmp_path: Path) -> None:
    import torch

    for name in ("whole", "stopped"):
        (tmp_path / name).mkdir()
    whole = mpirun(tmp_path / "whole", "go")
    assert whole.returncode == 0, whole.stderr
    stopped = mpirun(tmp_path / "stopped", "stop")
    assert stopped.returncode != 0
    assert "SIGTERM: stopped at step 32 (1 of 4 epochs done)" in stopped.stderr
    again = mpirun(tmp_path / "stopped", "go")
    assert again.returncode == 0, again.stderr
    assert "resume: at step 32" in again.stdout
    states = [
        torch.load(tmp_path / name / "outputs/model.pt", weights_only=True)["model"] for name in ("whole", "stopped")
    ]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
