"""Many runs here: a queue that survives, the first failure, and each run once whoever dies in between."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from runner import history, processes
from runner.spec import Plan, Run, State
from runner.sweeps import TAG, Sweep
from runner.targets.local import identity, taken
from runner.targets.local_supervisor import is_mine
from tests.contract.target_bench import Bench, forever, states
from tests.watching import wait_for

# Counts its starts; the name of the run is the name of the file.
COUNTED = "import os, pathlib\nopen(pathlib.Path({folder!r}) / os.environ['AMLRUN_RUN_ID'], 'a').write('x')\n"


def swept(bench: Bench, scripts: list[str], options: dict[str, Any], slots: int = 1) -> list[Plan]:
    """Plans of one sweep, stored as a submission stores them."""
    plans = [bench.plan(script, slots=slots, tags={TAG: "s-1"}) for script in scripts]
    sweep = Sweep("s-1", "s", plans[0].created, tuple(plan.id for plan in plans), options=options)
    history.store_together(bench.project, plans, sweep)
    return plans


def dead() -> dict[str, Any]:
    """A process that has ended."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as gone:
        return identity(gone.pid)


def at(bench: Bench, plan: Plan, state: State) -> Run:
    run = Run(plan.id, plan.url, plan.name, "local", state, plan.created, ((state.value, plan.created),))
    history.store_run(bench.project, run)
    return run


def test_after_the_first_failure_nothing_starts_and_it_can_be_sent_later(local: Bench) -> None:
    go = local.project / "go"
    waits = f"import os, time\nwhile not os.path.exists({str(go)!r}): time.sleep(.01)"
    options = {"stop_on_failure": True}
    plans = swept(local, [waits, "raise SystemExit(1)", "print('third')"], options, slots=2)
    runs = local.submit(*plans)
    local.until(runs, lambda current: current[1].state.final and current[2].state is State.PLANNED)
    go.touch()
    first, second, third = local.until(runs, lambda current: current[0].state.final)

    assert (first.state, second.state) == (State.COMPLETED, State.FAILED)
    assert (third.note, states(third)) == (
        f"not started, because {second.id} failed",
        [State.PLANNED, State.QUEUED, State.PLANNED],
    )
    assert local.ended(local.submit(plans[2]))[0].state is State.COMPLETED


def test_without_the_option_the_others_go_on(local: Bench) -> None:
    runs = local.submit(*swept(local, ["raise SystemExit(1)", "print('second')"], {}))

    assert [run.state for run in local.ended(runs)] == [State.FAILED, State.COMPLETED]


def test_no_more_at_once_than_the_sweep_allows(local: Bench) -> None:
    alone = "import os\nos.mkdir('../../busy')\nimport time; time.sleep(.1)\nos.rmdir('../../busy')"
    runs = local.submit(*swept(local, [alone] * 3, {"max_concurrent": 1}, slots=3))

    assert [run.state for run in local.ended(runs)] == [State.COMPLETED] * 3


def test_what_a_killed_supervisor_had_queued_is_sent_again_and_runs_once(local: Bench) -> None:
    folder = local.project / "starts"
    folder.mkdir()
    counted = COUNTED.format(folder=str(folder))
    plans = swept(local, [counted + forever(), counted, counted], {})
    runs = local.submit(*plans)
    local.wait_for_text(runs[0], "started")
    owner = history.owner_of(local.project, runs[0].id)
    assert owner is not None
    os.kill(owner["pid"], 9)
    wait_for(lambda: processes.birth(owner["pid"]) != owner["birth"])
    again = local.submit(*plans)
    ended = local.ended(again)

    assert [run.state for run in ended] == [State.FAILED, State.COMPLETED, State.COMPLETED]
    assert {path.name: path.read_text() for path in folder.iterdir()} == {plan.id: "x" for plan in plans}


def test_of_many_who_find_a_run_of_a_dead_process_one_takes_it(local: Bench) -> None:
    [plan] = swept(local, ["print()"], {})
    gone = dead()
    history.claim(local.project, plan.id, gone)
    at(local, plan, State.QUEUED)
    ready, won = threading.Barrier(8), []

    def compete() -> None:
        ready.wait()
        won.append(taken(local.project, plan.id))

    threads = [threading.Thread(target=compete) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(won) == [False] * 7 + [True]


def test_a_supervisor_that_comes_late_leaves_what_somebody_else_has_taken(local: Bench) -> None:
    left, theirs = swept(local, ["print()", "print()"], {})
    gone, other = dead(), dead()
    for plan, owner in ((left, gone), (theirs, other)):
        history.claim(local.project, plan.id, owner)

    assert [is_mine(local.project, plan.id, gone) for plan in (left, theirs)] == [True, False]
    assert history.owner_of(local.project, theirs.id) == other


def test_a_run_that_is_handed_over_at_the_same_moment_is_not_dropped(
    local: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    [plan] = swept(local, ["print()"], {})
    gone, me = dead(), identity(os.getpid())
    history.claim(local.project, plan.id, gone)

    def late(project: Path, run_id: str, old: object, new: dict[str, Any]) -> bool:
        history.hand_over(project, run_id, new)
        return False

    monkeypatch.setattr(history, "take_over", late)
    assert is_mine(local.project, plan.id, gone)
    assert history.owner_of(local.project, plan.id) == me
    history.hand_over(local.project, plan.id, gone)


def test_a_run_that_is_taken_over_meanwhile_is_not_buried(local: Bench) -> None:
    from runner.targets.local import bury

    [plan] = swept(local, ["print()"], {})
    gone = dead()
    history.claim(local.project, plan.id, gone)
    run = at(local, plan, State.RUNNING)
    assert history.take_over(local.project, plan.id, gone, identity(os.getpid()))

    assert bury(local.project, run, gone).state is State.RUNNING


def test_cancel_of_what_nobody_started_cancels_it(local: Bench) -> None:
    [plan] = swept(local, ["print()"], {})
    history.claim(local.project, plan.id, dead())
    run = at(local, plan, State.QUEUED)
    [planned] = local.target.states([run])
    local.target.cancel(planned)

    assert local.target.states([planned])[0].state is State.CANCELED
    assert not Path(history.files(local.project, plan.id).cancel).exists()
