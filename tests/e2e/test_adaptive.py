"""A sweep that decides while it runs, with real runs on this machine: one is really canceled, and a kill loses none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from runner import history
from runner.spec import State
from tests.conftest import Cli, write
from tests.watching import wait_for

pytestmark = pytest.mark.slow

# Reports four values and then waits to be stopped, unless it is one of the good ones.
SCRIPT = """
import json, os, pathlib, sys, time
speed = float(sys.argv[sys.argv.index("--speed") + 1])
pathlib.Path("outputs").mkdir(exist_ok=True)
open(pathlib.Path({starts!r}) / os.environ["AMLRUN_RUN_ID"], "a").write("x")
with open("outputs/metrics.jsonl", "w") as file:
    for epoch in range(4):
        file.write(json.dumps({{"epoch": epoch, "acc": speed * (epoch + 1)}}) + "\\n")
        file.flush()
        time.sleep(0.1)  # a report at a time, as a training makes them
if speed < 0.5:
    time.sleep(600)  # longer than the test may take: the policy has to cancel it
"""
EXPERIMENT = """# @package _global_
defaults:
  - override /sweep: mine
name: e
code: {module: null, script: s.py, arguments: {speed: 1}}
compute: {slots: 2}
"""
SWEEP = """metric: acc
goal: maximize
max_total: 6
params:
  code.arguments.speed: interval(0.1, 1.0)
policy: {kind: bandit, slack_factor: 0.15, delay_evaluation: 4}
"""


@pytest.fixture
def starts(bare: Path) -> Path:
    """Where every start of a run leaves a letter."""
    folder = bare / "starts"
    folder.mkdir()
    write(bare, {"s.py": SCRIPT.format(starts=str(folder)), "configs/experiment/e.yaml": EXPERIMENT})
    write(bare, {".amlignore": "starts/\n"})
    return folder


@pytest.mark.parametrize("words", [["experiment=e"], ["--locked", "l.json"]])
def test_a_bandit_really_cancels_what_falls_behind(starts: Path, bare: Path, cli: Cli, words: list[str]) -> None:
    write(bare, {"configs/sweep/mine.yaml": f"sampler: random\n{SWEEP}"})
    assert cli(bare, "plan", "experiment=e", "--lock", "l.json").code == 0
    done = cli(bare, "run", "--json", *words)
    assert done.code == 0, done.err
    rows = json.loads(done.out)["runs"]
    assert len(rows) == 6
    assert rows == sorted(rows, key=lambda row: -row["value"])
    stopped = [row for row in rows if row["stopped"]]
    assert stopped
    assert {row["state"] for row in stopped} == {"canceled"}
    assert {row["state"] for row in rows if not row["stopped"]} == {"completed"}
    assert all("bandit policy at report 4" in history.load_run(bare, row["id"]).note for row in stopped)
    assert all(float(row["point"]["code.arguments.speed"]) > 0.5 for row in rows if not row["stopped"])


def test_killed_the_loop_goes_on_and_every_point_runs_once(starts: Path, bare: Path, cli: Cli) -> None:
    write(bare, {"configs/sweep/mine.yaml": f"sampler: bayesian\n{SWEEP}"})
    command = [sys.executable, "-m", "runner", "run", "experiment=e"]
    with subprocess.Popen(command, cwd=bare, env=os.environ, stdout=subprocess.DEVNULL) as loop:
        wait_for(lambda: len(list(starts.iterdir())) >= 3)
        loop.kill()
    sweep = history.list_sweeps(bare)[0]
    assert 3 <= len(sweep.runs) < 6

    done = cli(bare, "resume", "last-sweep")

    assert done.code == 0, done.err
    runs = history.load_sweep(bare, sweep.id).runs
    assert runs[: len(sweep.runs)] == sweep.runs
    assert {path.name: path.read_text() for path in starts.iterdir()} == dict.fromkeys(runs, "x")
    assert len(runs) == 6
    assert {history.load_run(bare, run_id).state for run_id in runs} <= {State.COMPLETED, State.CANCELED}


def test_left_to_a_process_of_its_own_it_ends_without_us(starts: Path, bare: Path, cli: Cli) -> None:
    write(bare, {"configs/sweep/mine.yaml": f"sampler: random\n{SWEEP}"})
    left = json.loads(cli(bare, "run", "--json", "--detach", "experiment=e", "sweep.max_total=2").out)
    runs = history.load_sweep(bare, left["sweep"]).runs
    wait_for(lambda: all(history.load_run(bare, run_id).state.final for run_id in runs))
    log = Path(left["log"])
    wait_for(lambda: all(f"{run_id}  acc " in log.read_text() for run_id in runs), what=log.read_text)
