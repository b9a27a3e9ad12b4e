"""Sweeps here, from outside: killed at any moment and resumed, code edited meanwhile, what was done left out.

FULL=1 kills at all the moments that were promised.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from runner import history
from runner.resources import packaged
from runner.spec import State
from tests.conftest import Cli, Outcome, write
from tests.watching import wait_for

pytestmark = pytest.mark.slow
POINTS, MOMENTS = (40, 50) if os.environ.get("FULL") else (12, 4)
# Says that it has started, in a file of its own; then waits for the test where there is something to wait for.
COUNTED = """
import os, pathlib, time
here = pathlib.Path({folder!r})
open(here / os.environ["AMLRUN_RUN_ID"], "a").write("x")
while (here / "wait").exists():
    time.sleep(0.01)
print({words!r})
"""


def counted(project: Path, words: str = "as it was") -> Path:
    """Write the script; returns the folder in which its starts are counted."""
    folder = project / "outputs" / "starts"  # no part of the code that travels
    folder.mkdir(parents=True, exist_ok=True)
    write(project, {"main.py": COUNTED.format(folder=str(folder), words=words)})
    return folder


def started(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir() if path.name != "wait"}


def start(project: Path, *argv: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "runner", *argv]
    return subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def command(project: Path, *argv: str) -> Outcome:
    with start(project, *argv) as process:
        out, err = process.communicate(timeout=120)
    return Outcome(process.returncode, out, err)


def start_and_kill(project: Path, argv: tuple[str, ...], seconds: float) -> None:
    """So long after its first plan is there."""
    with start(project, *argv) as process:
        wait_for(lambda: history.run_ids(project))
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        process.kill()


def test_a_submission_that_is_killed_at_any_moment_is_resumed_and_none_runs_twice(bare: Path) -> None:
    """Moments lie between the first plan and the last hand-over, where a kill can leave anything half done."""
    argv = ("run", "-m", "code.script=main.py", f"seed=range({POINTS})", "compute.slots=2", "--detach")
    chance = random.Random(POINTS)
    for number in range(MOMENTS):
        project = write(bare.parent / str(number), {"configs/config.yaml": (bare / "configs/config.yaml").read_text()})
        folder = counted(project)
        start_and_kill(project, argv, chance.random() * 0.6)
        if not history.sweep_ids(project):  # nothing was sent: the command again, and it is another sweep
            assert started(folder) == {}
            assert command(project, *argv).code == 0
        done = command(project, "resume", "last-sweep")
        assert done.code == 0, done.err
        [sweep] = history.list_sweeps(project)
        assert started(folder) == dict.fromkeys(sweep.runs, "x")
        assert {history.load_run(project, run_id).state for run_id in sweep.runs} == {State.COMPLETED}


def test_code_and_yaml_that_are_edited_meanwhile_change_nothing(bare: Path) -> None:
    folder = counted(bare)
    (folder / "wait").touch()
    argv = ("run", "-m", "code.script=main.py", "seed=1,2,3", "+tags.a=b", "--detach")
    assert command(bare, *argv).code == 0
    wait_for(lambda: started(folder))
    write(bare, {"main.py": "raise SystemExit('edited')", "configs/config.yaml": "broken: ["})
    (folder / "wait").unlink()
    assert command(bare, "watch", "last-sweep").code == 0

    said = json.loads(command(bare, "logs", "last-sweep", "--json").out)["logs"]
    assert [each["text"] for each in said] == ["as it was"] * 3


def test_logs_are_followed_until_the_sweep_has_ended(bare: Path) -> None:
    folder = counted(bare)
    (folder / "wait").touch()
    write(bare, {"main.py": "print('begun', flush=True)\n" + (bare / "main.py").read_text()})
    assert command(bare, "run", "-m", "code.script=main.py", "seed=1,2,3", "compute.slots=2", "--detach").code == 0
    with start(bare, "logs", "-f", "last-sweep") as process:
        assert process.stdout is not None
        assert sorted(process.stdout.readline() for _ in range(2)) == ["[seed=1] begun\n", "[seed=2] begun\n"]
        (folder / "wait").unlink()
        rest, _ = process.communicate(timeout=60)
    ended = [f"[seed={seed}] as it was" for seed in (1, 2, 3)]
    assert (process.returncode, sorted(rest.splitlines())) == (0, sorted([*ended, "[seed=3] begun"]))


def test_done_points_are_left_out(cli: Cli, bare: Path) -> None:
    counted(bare)
    assert cli(bare, "run", "-q", "code.script=main.py", "seed=2").code == 0
    done = cli(bare, "run", "-m", "code.script=main.py", "seed=1,2,3", "--skip-done")
    assert done.code == 0, done.err
    assert done.out.startswith("1 of 3 are done already and left out (--skip-done)")
    [sweep] = history.list_sweeps(bare)
    assert [history.load_plan(bare, run_id).config["seed"] for run_id in sweep.runs] == [1, 3]
    again = cli(bare, "run", "-m", "code.script=main.py", "seed=1,2,3", "--skip-done")
    assert (again.code, again.out) == (0, "3 of 3 are done already and left out (--skip-done)\n")


FAILING = """
import json, pathlib, sys
seed = int(sys.argv[1])
pathlib.Path("outputs").mkdir(exist_ok=True)
before = pathlib.Path("outputs/metrics.jsonl")
again = before.exists()
with before.open("a") as file:
    file.write(json.dumps({"epoch": 1, "epochs": 1, "val_accuracy": seed / 10}) + "\\n")
print("seed", seed)
if seed == 2 and not again:
    raise ValueError("boom")
"""


def schema(name: str) -> dict[str, object]:
    found: dict[str, object] = json.loads((packaged("schemas") / f"{name}.schema.json").read_text())
    return found


def test_one_handle_for_all_runs(cli: Cli, bare: Path, tmp_path: Path) -> None:
    write(bare, {"main.py": FAILING})
    sent = cli(bare, "run", "-m", "code.script=main.py", "code.arguments=[1],[2],[3]", "compute.slots=2")
    assert sent.code == 5
    [sweep] = history.list_sweeps(bare)
    assert sent.out.startswith(f"{sweep.id}: 3 of 3 runs were sent now\n")
    assert "3 points: 2 completed, 1 failed; best val accuracy 0.3 (arguments=[3])" in sent.out
    assert "1 of 3 runs: " in sent.err
    assert "ValueError: boom" in sent.err

    shown = json.loads(cli(bare, "show", sweep.id[:14], "--json").out)
    jsonschema.validate(shown, schema("sweep-show"))
    assert shown["counts"] == {"completed": 2, "failed": 1}
    assert shown["best"] == {"run": sweep.runs[2], "point": {"code.arguments": "[3]"}, "value": 0.3}
    listed = json.loads(cli(bare, "list", "--sweeps", "--json").out)
    jsonschema.validate(listed, schema("sweep-list"))
    assert [row["id"] for row in listed["sweeps"]] == [sweep.id]
    assert sweep.id in cli(bare, "list", "--sweeps").out
    assert cli(bare, "logs", "last-sweep").out.splitlines()[0] == "[arguments=[1]] seed 1"
    assert cli(bare, "download", sweep.id, "--to", str(tmp_path / "got")).code == 0
    assert sorted(path.parent.name for path in (tmp_path / "got").glob("*/metrics.jsonl")) == sorted(sweep.runs)
    found = cli(bare, "diagnose", sweep.id)
    assert (found.code, "1 of 3 runs: " in found.out, "ValueError: boom" in found.out) == (5, True, True)

    nothing = cli(bare, "resume", sweep.id, "--detach")
    assert (nothing.code, "--failed repeats what failed" in nothing.err) == (0, True)
    again = cli(bare, "resume", sweep.id, "--failed")
    assert again.code == 0, again.err
    [new] = history.list_sweeps(bare)
    assert (list(new.replaced), new.runs[0], new.runs[2]) == ([sweep.runs[1]], sweep.runs[0], sweep.runs[2])
    assert history.load_plan(bare, new.runs[1]).resumes == sweep.runs[1]


def test_the_first_failure_leaves_the_rest_and_resume_sends_it(cli: Cli, bare: Path) -> None:
    write(bare, {"main.py": FAILING})
    argv = ("run", "-m", "code.script=main.py", "code.arguments=[2],[1],[3]", "--stop-on-failure")
    stopped = cli(bare, *argv)
    assert stopped.code == 5
    assert "2 were not started; 'amlrun resume" in stopped.err
    resumed = cli(bare, "resume", "last-sweep")
    assert resumed.code == 5  # the one that has failed is not repeated
    [sweep] = history.list_sweeps(bare)
    states = [history.load_run(bare, run_id).state for run_id in sweep.runs]
    assert states == [State.FAILED, State.COMPLETED, State.COMPLETED]


def test_cancel_cancels_all_and_resume_begins_what_had_not_begun(cli: Cli, bare: Path) -> None:
    folder = counted(bare)
    (folder / "wait").touch()
    assert cli(bare, "run", "-q", "-m", "code.script=main.py", "seed=1,2,3", "--detach").code == 0
    wait_for(lambda: started(folder))
    canceled = cli(bare, "cancel", "last-sweep")
    assert [line.split()[1] for line in canceled.out.splitlines()] == ["canceled"] * 3
    (folder / "wait").unlink()
    resumed = cli(bare, "resume", "last-sweep")
    [sweep] = history.list_sweeps(bare)
    assert (resumed.code, len(sweep.replaced), len(started(folder))) == (5, 2, 3)


def test_a_lock_of_several_plans_is_a_sweep_again(cli: Cli, bare: Path) -> None:
    counted(bare)
    assert cli(bare, "plan", "-m", "code.script=main.py", "seed=1,2", "--lock", "sweep.lock").code == 0
    done = cli(bare, "run", "--locked", "sweep.lock", "compute.slots=2")
    assert done.code == 2  # a lock takes no overrides
    assert history.list_sweeps(bare) == []
    done = cli(bare, "run", "--locked", "sweep.lock", "--json")
    assert done.code == 0, done.err
    [sweep] = history.list_sweeps(bare)
    assert sweep.swept == ("seed",)
    assert [run["id"] for run in json.loads(done.out)["runs"]] == list(sweep.runs)
