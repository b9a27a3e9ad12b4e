"""Sweeps that a process of its own sends little by little: what the service itself has recorded of it."""

from __future__ import annotations

import json
import os
import re
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from runner import history
from runner.carrying import is_carried, log_of
from runner.emulator import instance
from runner.emulator.store import Store
from runner.spec import State
from runner.sweeps import Sweep
from tests.azureml.shell import ON_AZURE, needs_sdk
from tests.azureml.test_sweeps_on_emulator import command, emulator, start
from tests.conftest import write
from tests.watching import wait_for

__all__ = ["emulator"]
pytestmark = [pytest.mark.slow, needs_sdk, pytest.mark.timeout(300)]
GRID = "sampler: grid\nmax_concurrent: 3\nparams: {seed: range(12)}\n"
SHORT = {"preparing": 0, "starting": 0, "running": 1, "finalizing": 0}
RUN = ("run", "code.script=main.py", *ON_AZURE, "sweep=mine")


def recorded(folder: Path) -> list[dict[str, Any]]:
    store = Store(folder)
    try:
        return store.all("run")
    finally:
        store.close()


def most_at_once(runs: list[dict[str, Any]]) -> int:
    """Of the service's own times: from the submission to the end."""
    changes = [(run["createdUtc"], 1) for run in runs] + [(run["endTimeUtc"], -1) for run in runs]
    now, most = 0, 0
    for _, change in sorted(changes):
        now += change
        most = max(most, now)
    return most


def check_all_ran_once(project: Path, folder: Path) -> Sweep:
    [sweep] = history.list_sweeps(project)
    runs = recorded(folder)
    assert sorted(run["runId"] for run in runs) == sorted(sweep.runs)
    assert {run["status"] for run in runs} == {"Completed"}
    assert 1 < most_at_once(runs) <= 3
    return sweep


def carrier(project: Path, sweep: Sweep) -> int:
    """The process that has the sweep's lock: found as a person would, by its command line."""
    [pid] = [
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if sweep.id.encode() in (words := read(path)) and str(project).encode() in words
    ]
    return pid


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_never_more_at_once_than_asked_and_every_point_once(bare: Path, emulator: Path) -> None:
    write(bare, {"main.py": "print('done')", "configs/sweep/mine.yaml": GRID})
    instance.ask(emulator, "script", {"script": SHORT, "speed": 2})
    done = command(bare, emulator, *RUN)
    assert done.code == 0, done.err
    sweep = check_all_ran_once(bare, emulator)
    assert f"{sweep.id}: 3 of 12 runs were sent now" in done.out
    assert "at most 3 at once: a process of its own sees to it" in done.out
    assert "12 points: 12 completed" in done.out


def test_killed_the_rest_is_not_sent_until_it_is_resumed_and_then_once(bare: Path, emulator: Path) -> None:
    write(bare, {"main.py": "print('done')", "configs/sweep/mine.yaml": GRID})
    instance.ask(emulator, "script", {"script": SHORT, "speed": 2})
    assert command(bare, emulator, *RUN, "--detach").code == 0
    [sweep] = history.list_sweeps(bare)
    wait_for(lambda: len(recorded(emulator)) >= 5)
    with start(bare, emulator, ["watch", sweep.id]) as watching:
        refused = command(bare, emulator, "resume", sweep.id)
        assert (refused.code, "carried on by another process" in refused.err) == (4, True)
        os.kill(carrier(bare, sweep), signal.SIGKILL)
        out, err = watching.communicate(timeout=60)
    assert watching.returncode == 5, out
    assert f"were not started; 'amlrun resume {sweep.id}' starts them" in err
    assert not is_carried(bare, sweep.id)

    done = command(bare, emulator, "resume", sweep.id)

    assert done.code == 0, done.err
    check_all_ran_once(bare, emulator)


@pytest.mark.parametrize("emulator", ["real"], indirect=True)
def test_after_a_failure_what_waits_is_canceled_and_what_runs_goes_on(bare: Path, emulator: Path) -> None:
    """Two nodes: one has the run that fails when another runs. One more may begin before the failure is seen."""
    go_on, begun = bare / "outputs" / "go-on", bare / "outputs" / "begun"
    go_on.parent.mkdir()
    code = f"""
import pathlib, sys, time
if sys.argv[1] == "1":
    pathlib.Path({str(begun)!r}).touch()
wanted = pathlib.Path({str(begun)!r} if sys.argv[1] == "0" else {str(go_on)!r})
while not wanted.exists():
    time.sleep(0.05)  # between two looks for the file that the test makes
assert sys.argv[1] != "0", "boom"
"""
    write(bare, {"main.py": code})
    points = ("-m", "code.arguments=[0],[1],[2],[3],[4]")
    argv = ("run", *points, "code.script=main.py", *ON_AZURE, "--stop-on-failure")
    with start(bare, emulator, argv) as process:
        wait_for(lambda: states(bare)[State.CANCELED] >= 2)  # by the process of the sweep, whoever watches
        go_on.touch()
        out, err = process.communicate(timeout=60)
    assert process.returncode == 5
    assert re.search(r"5 points: (1 completed, 1 failed, 3|2 completed, 1 failed, 2) canceled", out), out
    assert "boom" in err
    [sweep] = history.list_sweeps(bare)
    wait_for(lambda: not is_carried(bare, sweep.id))
    assert log_of(bare, sweep.id).read_text().count("canceled before it began") == states(bare)[State.CANCELED]


def states(project: Path) -> Counter[State]:
    sweeps = history.list_sweeps(project)
    return Counter(history.load_run(project, run_id).state for run_id in (sweeps[0].runs if sweeps else ()))


def test_canceled_between_two_sendings_nothing_more_is_sent_until_it_is_resumed(bare: Path, emulator: Path) -> None:
    write(bare, {"main.py": "print('done')", "configs/sweep/mine.yaml": GRID})
    instance.ask(emulator, "script", {"script": {**SHORT, "running": 1e6}, "speed": 0})
    assert command(bare, emulator, *RUN, "--detach").code == 0
    [sweep] = history.list_sweeps(bare)
    canceled = command(bare, emulator, "cancel", sweep.id, "--json")
    assert {run["state"] for run in json.loads(canceled.out)["runs"]} == {"canceled"}
    wait_for(lambda: not is_carried(bare, sweep.id))
    assert len(recorded(emulator)) == 3

    instance.ask(emulator, "script", {"script": SHORT, "speed": 10})
    again = command(bare, emulator, "resume", sweep.id, "--failed")
    assert again.code == 0, again.err
    assert Counter(run["status"] for run in recorded(emulator)) == {"Canceled": 3, "Completed": 12}
