"""What only this machine as a target promises: its supervisor and its folders."""

from __future__ import annotations

import dataclasses
import os
import pty
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from target_bench import Bench, forever, states

from runner import history, processes
from runner.spec import Run, State
from tests.watching import processes_of

SUBMIT = """
import os, sys
from pathlib import Path
from runner import history
from runner.targets import load_target
project = Path(sys.argv[1])
load_target("local", project).submit([history.load_plan(project, sys.argv[2])])
print("submitted", flush=True)
os._exit(0)
"""


def files(bench: Bench, run: Run) -> history.RunFiles:
    return history.files(bench.project, run.id)


def owner(bench: Bench, run: Run) -> psutil.Process:
    stored = history.owner_of(bench.project, run.id)
    assert stored is not None
    return psutil.Process(stored["pid"])


# The folders


def test_the_working_directory_goes_and_outputs_and_logs_stay(local: Bench) -> None:
    script = "open('outputs/a', 'w'); open('logs/mine.txt', 'w').write('x'); import os; os.mkdir('__pycache__')"
    run = local.run(script)

    assert not files(local, run).work.exists()
    assert files(local, run).outputs.is_dir()
    assert not files(local, run).outputs.is_symlink()
    assert [log.name for log in local.target.logs(run)] == ["rank_0.log", "script/mine.txt"]
    assert run.note == ""


def test_files_written_elsewhere_are_named_and_kept(local: Bench) -> None:
    run = local.run("open('model.pt', 'w').write('w'); open('script.py', 'a').write('# changed')")

    assert run.state is State.COMPLETED
    assert run.note == (
        "written outside ./outputs and ./logs, which Azure would not keep: model.pt, script.py; still in 'work'"
    )
    assert (files(local, run).work / "model.pt").read_text() == "w"


RUINED_OUTPUTS: dict[str, list[str]] = {
    "shutil.rmtree('outputs')": [],
    "shutil.rmtree('outputs'); os.mkdir('outputs'); open('outputs/new', 'w')": ["new"],
    "shutil.rmtree('outputs'); os.mkdir('far'); open('far/away', 'w'); os.symlink('far', 'outputs')": ["away"],
    "shutil.rmtree('outputs'); open('outputs', 'w')": [],
}


@pytest.mark.slow
def test_whatever_the_script_does_to_outputs(local: Bench, tmp_path: Path) -> None:
    plans = [local.plan(f"import os, shutil\n{script}", slots=2) for script in RUINED_OUTPUTS]
    runs = local.ended(local.submit(*plans))

    assert [run.state for run in runs] == [State.COMPLETED] * len(runs)
    fetched = [[path.name for path in local.target.fetch(run, tmp_path / run.id)] for run in runs]
    assert fetched == list(RUINED_OUTPUTS.values())


def test_fetching_to_where_the_outputs_are_copies_nothing(local: Bench) -> None:
    run = local.run("open('outputs/a', 'w').write('x')")
    place = files(local, run).outputs

    assert local.target.fetch(run, place) == [place / "a"]
    assert (place / "a").read_text() == "x"


def test_the_staged_code_is_not_changed_by_a_run(local: Bench) -> None:
    plan = local.plan("open('script.py', 'w').write('changed')")
    local.ended(local.submit(plan))

    staged = history.snapshot_dir(local.project, plan.snapshot.digest) / "script.py"
    assert staged.read_text() == "open('script.py', 'w').write('changed')"


# The supervisor


def test_a_run_goes_on_when_the_process_that_submitted_it_has_ended(local: Bench) -> None:
    plan = local.plan("import os; print(os.getsid(0))")
    history.store_plan(local.project, plan)
    local.sent.append(plan)
    subprocess.run([sys.executable, "-c", SUBMIT, str(local.project), plan.id], check=True, capture_output=True)
    [run] = local.ended([history.load_run(local.project, plan.id)])

    assert run.state is State.COMPLETED
    assert int(local.text(run)) != os.getsid(0)


def test_a_run_goes_on_when_its_terminal_is_closed(local: Bench) -> None:
    go = local.project / "go"
    plan = local.plan(  # the script looks until the test says go
        f"import os, time\nprint('up', flush=True)\nwhile not os.path.exists({str(go)!r}): time.sleep(.01)"
    )
    history.store_plan(local.project, plan)
    local.sent.append(plan)
    child, terminal = pty.fork()
    if child == 0:
        os.execv(sys.executable, [sys.executable, "-c", SUBMIT, str(local.project), plan.id])
    run = history.load_run(local.project, plan.id)
    local.wait_for_text(run, "up")
    os.close(terminal)  # what closing the window does: SIGHUP to everything in the terminal's session
    os.waitpid(child, 0)
    go.touch()

    assert local.ended([run])[0].state is State.COMPLETED


def test_sighup_does_not_end_the_supervisor(local: Bench) -> None:
    # Long enough for the signal to reach the supervisor while the script still runs.
    [run] = local.submit(local.plan("import time; print('up', flush=True); time.sleep(0.3)"))
    local.wait_for_text(run, "up")
    owner(local, run).send_signal(signal.SIGHUP)

    assert local.ended([run])[0].state is State.COMPLETED


def test_sigterm_to_the_supervisor_cancels_everything(local: Bench) -> None:
    first, second = local.submit(local.plan(forever()), local.plan())
    local.wait_for_text(first, "started")
    owner(local, first).terminate()
    first, second = local.ended([first, second])

    assert (first.state, second.state) == (State.CANCELED, State.CANCELED)
    assert states(second) == [State.PLANNED, State.QUEUED, State.CANCELED]


def test_a_killed_supervisor_takes_its_ranks_along_and_the_run_says_so(local: Bench) -> None:
    daemon = "import subprocess\nsubprocess.Popen(['sleep', '60'], start_new_session=True)"
    first, second = local.submit(local.plan(forever(daemon)), local.plan())
    local.wait_for_text(first, "started")
    supervisor = owner(local, first)
    supervisor.kill()
    [first] = local.ended([first])
    [second] = local.target.states([second])

    assert first.failure is not None
    assert first.failure.cause == f"its supervisor (process {supervisor.pid}) died while the run was running"
    assert (second.state, second.failure) == (State.PLANNED, None)
    assert second.note.startswith(
        f"its supervisor (process {supervisor.pid}) died before it was started; 'amlrun resume"
    )
    assert local.processes() == []
    assert [log.rank for log in local.target.logs(first)] == [0]


def test_a_run_whose_submission_was_interrupted_is_not_waited_for(local: Bench) -> None:
    plan = local.plan()
    history.store_plan(local.project, plan)
    with subprocess.Popen(["true"]) as gone:
        birth = processes.birth(gone.pid)
    history.claim(local.project, plan.id, {"pid": gone.pid, "birth": birth or "0"})
    queued = dataclasses.replace(history.planned(plan), state=State.QUEUED)
    history.store_run(local.project, queued)

    [run] = local.target.states([queued])
    assert (run.state, run.failure) == (State.PLANNED, None)
    assert local.ended(local.submit(plan))[0].state is State.COMPLETED


def test_a_detached_grandchild_ends_with_the_run(local: Bench) -> None:
    daemonise = """
        import os, sys, time
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.chdir("/")
                time.sleep(60)  # longer than the test may take: only the run's end can be what ends it
            os._exit(0)
        os.wait()
    """
    run = local.run(daemonise)

    assert run.state is State.COMPLETED
    assert processes_of(run.id) == []


def test_a_mistake_of_ours_ends_one_run_and_not_the_others(local: Bench) -> None:
    broken = local.plan("print('broken')")
    first, second = local.submit(dataclasses.replace(broken, python="/nowhere/python"), local.plan())
    first, second = local.ended([first, second])

    assert first.failure is not None
    assert "cannot start '/nowhere/python': No such file or directory" in first.failure.evidence
    assert first.failure.exit_code == 127
    assert second.state is State.COMPLETED


def test_code_that_vanishes_while_a_run_waits(local: Bench) -> None:
    waiting = local.plan("print('second')")
    first, second = local.submit(local.plan(forever()), waiting)
    local.wait_for_text(first, "started")
    shutil.rmtree(history.snapshot_dir(local.project, waiting.snapshot.digest))
    local.target.cancel(first)
    [second] = local.ended([second])

    assert second.failure is not None
    assert second.failure.cause.startswith("the run could not be carried out: FileNotFoundError")


def test_every_phase_is_seen_in_order(local: Bench) -> None:
    expected = [State.PLANNED, State.QUEUED, State.PREPARING, State.RUNNING, State.FINALIZING]

    assert states(local.run()) == [*expected, State.COMPLETED]
    assert states(local.run("raise SystemExit(1)")) == [*expected, State.FAILED]


@pytest.mark.slow
def test_a_run_that_waits_is_canceled_without_starting(local: Bench) -> None:
    first, second = local.submit(local.plan(forever()), local.plan())
    local.wait_for_text(first, "started")
    local.target.cancel(second)
    [second] = local.ended([second])
    local.target.cancel(first)
    local.ended([first])

    assert states(second) == [State.PLANNED, State.QUEUED, State.CANCELED]


def test_a_run_is_finalizing_from_the_moment_that_its_end_is_decided(local: Bench, tmp_path: Path) -> None:
    """Whoever follows it then knows that what its ranks still print is their end."""
    go = tmp_path / "go"
    script = (
        "import os, signal, time; signal.signal(signal.SIGTERM, lambda *_: print('asked to go', flush=True))\n"
        f"print('started', flush=True)\nwhile not os.path.exists({str(go)!r}): time.sleep(0.01)"
    )
    [run] = local.submit(local.plan(script))
    local.wait_for_text(run, "started")
    local.target.cancel(run)
    local.wait_for_text(run, "asked to go")

    local.until([run], lambda seen: seen[0].state is State.FINALIZING)
    go.touch()
    [ended] = local.ended([run])
    assert states(ended)[-3:] == [State.RUNNING, State.FINALIZING, State.CANCELED]
