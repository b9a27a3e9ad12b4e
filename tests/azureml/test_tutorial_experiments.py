"""The tutorial's submissions as experiments, run as docs/tutorial.md says: here, and through the SDK on an emulator."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from runner.emulator import instance
from tests.conftest import ROOT, STARTER
from tests.recipes import Step, steps

PAGE = ROOT / "docs" / "tutorial.md"
COMMANDS = [step for step in steps(PAGE) if not step.path]
# Those of scripts; the sweep has its own page (docs/adaptive.md).
FILES = (ROOT / "configs" / "experiment").glob("tutorial-*.yaml")
EXPERIMENTS = {path.stem for path in FILES if "script:" in path.read_text()}
ON_AZURE = ("emulator", "models", "workspace=emulator")
HERE = [step for step in COMMANDS if not set(ON_AZURE) & set(step.argv)]
THERE = [step for step in COMMANDS if set(ON_AZURE) & set(step.argv)]
PROCESSES = {"single": None, "mpi": 2, "ddp": 2, "batchai": 2}
# The machine that submits needs no torch: jobs run in another interpreter, where this one has none.
JOB_PYTHON = "AMLRUN_TEST_TORCH_PYTHON"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The starter project; what serves it is stopped."""
    place = tmp_path_factory.mktemp("starter")
    for name in STARTER:
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
    yield place
    instance.stop(place / ".runs" / "emulator")


@pytest.mark.slow
@pytest.mark.skipif(find_spec("torch") is None, reason="needs torch: pip install 'amlrun[train]'")
def test_commands_here(folder: Path) -> None:
    for step in HERE:
        check(step, folder, sys.executable)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("azureml") is None, reason="needs azureml-core: pip install 'amlrun[azure]'")
def test_commands_that_need_azure(folder: Path) -> None:
    for step in THERE:
        check(step, folder, python_with_torch())
    assert (folder / "model" / "model.pt").is_file()


def test_every_experiment_is_on_the_page() -> None:
    assert {f"tutorial-{name}" for name in PROCESSES} == EXPERIMENTS
    for name in EXPERIMENTS:
        assert any(f"experiment={name}" in step.argv and "run" in step.argv for step in THERE)
    assert len(HERE) >= len(EXPERIMENTS)


def check(step: Step, folder: Path, job_python: str) -> None:
    """Run a command of the page; a run of an experiment must have trained, with as many processes as it says."""
    words = [job_python if word == ".venv/bin/python" else word for word in step.argv[1:]]
    command = [sys.executable, "-m", "runner", *words, *(["--json"] if words[0] == "run" else [])]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=200)
    assert done.returncode == step.code, f"{step.text}\n{done.stdout}\n{done.stderr}"
    if words[0] != "run":
        return
    record = json.loads(done.stdout)
    name = words[1].removeprefix("experiment=tutorial-")
    assert record["metrics"]["loss"] < 0.5, step.text  # log 2 where nothing was learned
    assert record["metrics"].get("processes") == PROCESSES[name]
    assert len(record["logs"]) == (PROCESSES[name] or 1)
    assert (folder / ".runs" / record["id"] / "outputs" / "model.pt").is_file()


def python_with_torch() -> str:
    """An interpreter for jobs: the one named, this one, or the environment that `make` trains in."""
    named = os.environ.get(JOB_PYTHON)
    usual = ROOT / ".venv" / "bin" / "python"
    if named or find_spec("torch"):
        return named or sys.executable
    if not usual.exists():
        pytest.skip(f"no interpreter with torch; name one with {JOB_PYTHON}")
    return str(usual)
