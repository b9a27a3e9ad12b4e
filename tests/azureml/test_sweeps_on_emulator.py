"""A sweep on a service that fails all the time, and from a command that is killed: every point runs exactly once.

The unmodified SDK, over HTTPS. FULL=1 does it with all points and moments that were promised.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from runner import history
from runner.emulator import instance
from runner.spec import State
from tests.azureml.shell import ON_AZURE, needs_sdk
from tests.azureml.test_faults_on_emulator import SDK_WAITS
from tests.conftest import Outcome, write

pytestmark = [pytest.mark.slow, needs_sdk]
FULL = bool(os.environ.get("FULL"))
POINTS, REAL_POINTS, MOMENTS = (200, 20, 50) if FULL else (40, 6, 4)
KINDS = ("500", "429", "reset-before", "reset-after")
# One request in so many fails.
EVERY = 20
TRIES = 12


@pytest.fixture(params=["scripted"])
def emulator(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("emulator")
    instance.start(instance.Settings(folder, execution=request.param))
    yield folder
    instance.stop(folder)


@contextlib.contextmanager
def weather(folder: Path) -> Iterator[dict[str, int]]:
    """About one request in twenty fails, each time in another way; yields what was seen."""
    over, kinds, seen = threading.Event(), itertools.cycle(KINDS), {"asked": 0, "failed": 0}

    def blow() -> None:
        while not over.wait(0.03):
            lately = instance.ask(folder, "requests")["requests"]
            seen["asked"] = sum(not each["path"].startswith("/_emulator/") for each in lately)
            seen["failed"] = sum("fault" in each for each in lately)
            waiting = len(instance.ask(folder, "faults")["faults"])
            if seen["asked"] >= EVERY * (seen["failed"] + waiting + 1):
                instance.ask(folder, "fail-next", {"kind": next(kinds), "path": "*", "seconds": 0.2})

    thread = threading.Thread(target=blow)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()
        instance.ask(folder, "clear-faults", {})


def start(project: Path, emulator: Path, argv: Sequence[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "runner", *argv],
        cwd=project,
        env={**os.environ, **SDK_WAITS, instance.FOLDER_VARIABLE: str(emulator)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def command(project: Path, emulator: Path, *argv: str) -> Outcome:
    with start(project, emulator, argv) as process:
        out, err = process.communicate(timeout=300)
    return Outcome(process.returncode, out, err)


def submission(points: int) -> tuple[str, ...]:
    return ("run", "-m", "code.script=main.py", *ON_AZURE, f"seed=range({points})", "--detach")


def send_all(project: Path, emulator: Path, points: int) -> None:
    """As a person would: the command, and what it says to do when it could not send all."""
    for _ in range(TRIES):
        known = history.sweep_ids(project)
        argv = ("resume", "last-sweep", "--detach") if known else submission(points)
        done = command(project, emulator, *argv)
        assert "Traceback" not in done.err, done.err
        if done.code == 0:
            return
        assert (done.code, done.err.startswith("amlrun: ")) == (4, True), done.err
    raise AssertionError(f"not sent after {TRIES} tries: {done.err}")


def check_once(project: Path, emulator: Path, points: int) -> None:
    """The sweep's runs are the service's, with their tags, and none is anywhere else."""
    [sweep] = history.list_sweeps(project)
    assert len(set(sweep.runs)) == points
    assert sum(instance.ask(emulator, "status")["runs"].values()) == points
    runs = [history.load_run(project, run_id) for run_id in sweep.runs]
    assert [run.id for run in runs if run.state is State.PLANNED] == []
    listed = json.loads(command(project, emulator, "show", sweep.id, "--json").out)
    assert len(listed["runs"]) == points
    assert State.UNKNOWN.value not in listed["counts"]


@pytest.mark.parametrize("answer", ["accept", "409", "merge"])
def test_one_request_in_twenty_fails_and_every_point_is_sent_once(answer: str, bare: Path, emulator: Path) -> None:
    write(bare, {"main.py": "print('done')"})
    instance.ask(emulator, "repeat", {"answer": answer})
    with weather(emulator) as seen:
        send_all(bare, emulator, POINTS)
    check_once(bare, emulator, POINTS)
    assert seen["failed"] >= seen["asked"] / EVERY / 2, f"it was calm: {seen}"


@pytest.mark.parametrize("emulator", ["real"], indirect=True)
@pytest.mark.parametrize("answer", ["accept", "409", "merge"] if FULL else ["merge"])
def test_one_request_in_twenty_fails_and_every_process_starts_once(answer: str, bare: Path, emulator: Path) -> None:
    folder = bare / "starts"
    folder.mkdir()
    write(bare, {"main.py": f"import os\nopen({str(folder)!r} + '/' + os.environ['AMLRUN_RUN_ID'], 'a').write('x')\n"})
    instance.ask(emulator, "repeat", {"answer": answer})
    with weather(emulator):
        send_all(bare, emulator, REAL_POINTS)
    [sweep] = history.list_sweeps(bare)
    for _ in range(TRIES):
        done = command(bare, emulator, "watch", sweep.id)
        if done.code == 0:
            break
    assert done.code == 0, done.err
    assert {path.name: path.read_text() for path in folder.iterdir()} == dict.fromkeys(sweep.runs, "x")
    check_once(bare, emulator, REAL_POINTS)


def moments(points: int, seconds: float) -> list[float]:
    """Random moments of a submission that takes so long; with few of them, spread over it."""
    chance = random.Random(points)
    return [seconds * (number + chance.random()) / points for number in range(points)]


def test_a_submission_that_is_killed_at_any_moment_is_resumed_and_none_runs_twice(bare: Path, emulator: Path) -> None:
    write(bare, {"main.py": "print('done')"})
    instance.ask(emulator, "latency", {"least": 0.02, "most": 0.05})
    began = time.monotonic()
    assert command(bare, emulator, *submission(40)).code == 0
    length = time.monotonic() - began
    for number, moment in enumerate(moments(MOMENTS, length)):
        project = write(bare.parent / f"killed-{number}", {"main.py": "print('done')"})
        write(project, {"configs/config.yaml": (bare / "configs/config.yaml").read_text()})
        instance.ask(emulator, "reset", {})
        instance.ask(emulator, "latency", {"least": 0.02, "most": 0.05})
        with start(project, emulator, submission(40)) as process:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(moment)
            process.kill()
        instance.ask(emulator, "latency", {"least": 0})
        send_all(project, emulator, 40)
        check_once(project, emulator, 40)


def test_a_sweep_on_azure_is_shown_watched_canceled_and_repeated(bare: Path, emulator: Path) -> None:
    write(bare, {"main.py": "print('done')"})
    script: dict[str, Any] = {"preparing": 1, "starting": 1, "running": 10_000}
    instance.ask(emulator, "script", {"script": script, "speed": 0})
    assert command(bare, emulator, *submission(6)).code == 0
    [sweep] = history.list_sweeps(bare)
    instance.ask(emulator, "advance", {"seconds": 100})
    shown = json.loads(command(bare, emulator, "show", sweep.id, "--json").out)
    assert sum(shown["counts"].values()) == 6
    assert shown["counts"]["running"] >= 1
    assert {tuple(each["point"]) for each in shown["runs"]} == {("seed",)}

    canceled = command(bare, emulator, "cancel", sweep.id)
    assert [line.split()[1] for line in canceled.out.splitlines()] == ["canceled"] * 6
    instance.ask(emulator, "script", {"script": {**script, "running": 1}, "speed": 100})
    again = command(bare, emulator, "resume", sweep.id, "--failed")
    assert again.code == 0, again.err
    assert "6 points: 6 completed" in again.out
    [new] = history.list_sweeps(bare)
    assert sorted(new.replaced) == sorted(sweep.runs)
    assert set(new.runs).isdisjoint(sweep.runs)
