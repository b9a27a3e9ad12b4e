"""What `resume SWEEP` sends again, and what it refuses to pay for. Nothing runs."""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from runner import history
from runner.errors import ConfigError, TargetError
from runner.spec import Plan, Run, State
from runner.sweeps import Sweep
from runner.verbs.sweeping import is_repeated, loaded, resumed
from tests.plans import make_plan

BEGAN, ENDED = "2026-01-01T00:00:00+00:00", "2026-01-01T01:00:00+00:00"
CLUSTER = {"name": "cpu", "vm_size": "Standard_DS3_v2", "min_nodes": 0, "idle_seconds": 0}
PRICE = {"size": "Standard_DS3_v2", "usd_per_hour": 2.0, "priority": "dedicated", "region": "", "date": "2026-01-01"}
COST = {"nodes": 1, "max_minutes": 60, "usd_per_hour": 2.0, "bound_usd": 2.0, "idle_seconds": 0, "idle_usd": 0.0}


def stored(project: Path, states: Sequence[tuple[State, bool]], max_cost: float | None = None) -> Sweep:
    """A sweep whose runs are in these states; of each, whether its processes had begun. Each took an hour, for $2."""
    made = []
    for number, (state, began) in enumerate(states):
        plan = make_plan(
            project,
            f"r-{number}",
            config={"compute": CLUSTER, "workspace": {}},
            cost={**COST, "price": {**PRICE, "source": "x"}, "always_usd_per_hour": 0.0, "unknown": ""},
            limits={"max_minutes": 60},
        )
        history.store_plan(project, plan)
        made.append(plan)
        if state is not State.PLANNED:
            phases = [("queued", BEGAN), *([("running", BEGAN)] if began else []), (state.value, ENDED)]
            run = dataclasses.replace(history.planned(plan), state=state, phases=tuple(phases), ended=ENDED)
            history.store_run(project, run)
    options = {"stop_on_failure": False, "max_cost": max_cost, "max_concurrent": None}
    sweep = Sweep("s-1", "s", BEGAN, tuple(plan.id for plan in made), options=options)
    history.store_sweep(project, sweep)
    return sweep


def asked(*, failed: bool = False, max_cost: float | None = None) -> argparse.Namespace:
    return argparse.Namespace(failed=failed, max_cost=max_cost)


def again(plan: Plan, run: Run) -> Plan:
    return dataclasses.replace(plan, id=f"{plan.id}-again")


MIXED = (
    (State.COMPLETED, True),
    (State.FAILED, True),
    (State.PLANNED, False),
    (State.CANCELED, False),
    (State.CANCELED, True),
)


@pytest.mark.parametrize(
    ("failed", "sent"),
    [(False, ["r-2", "r-3-again"]), (True, ["r-1-again", "r-2", "r-3-again", "r-4-again"])],
)
def test_what_is_sent(failed: bool, sent: list[str], tmp_path: Path) -> None:
    sweep, waiting = resumed(tmp_path, stored(tmp_path, MIXED), asked(failed=failed), again)

    assert [plan.id for plan in waiting] == sent
    assert sweep == history.load_sweep(tmp_path, "s-1")
    assert sweep.replaced == {new.removesuffix("-again"): new for new in sent if new.endswith("-again")}
    assert [history.load_run(tmp_path, run_id).state for run_id in sent] == [State.PLANNED] * len(sent)
    assert sweep.runs[0] == "r-0"


def test_what_was_repeated_and_not_sent_is_sent_and_not_repeated_once_more(tmp_path: Path) -> None:
    sweep, first = resumed(tmp_path, stored(tmp_path, MIXED), asked(failed=True), again)
    _, second = resumed(tmp_path, sweep, asked(failed=True), again)

    assert [plan.id for plan in second] == [plan.id for plan in first]


@pytest.mark.timeout(20)
def test_what_a_killed_submission_had_accepted_is_sent_under_its_id(tmp_path: Path) -> None:
    """Looking at a run may bury it, which takes a lock: not the one that is held meanwhile."""
    sweep = stored(tmp_path, [(State.QUEUED, False), (State.PLANNED, False)])
    for run_id in sweep.runs:
        history.claim(tmp_path, run_id, {"pid": os.getpid(), "birth": "before"})
    _, waiting = resumed(tmp_path, sweep, asked(), again)

    assert [plan.id for plan in waiting] == ["r-0", "r-1"]


@pytest.mark.parametrize("option", [True, False])
def test_what_the_sweep_has_cost_counts(option: bool, tmp_path: Path) -> None:
    """Three runs of an hour have cost $6; two more may cost $4."""

    def resume(limit: float) -> list[Plan]:
        sweep = stored(tmp_path, MIXED, limit if option else None)
        return resumed(tmp_path, sweep, asked(max_cost=None if option else limit), again)[1]

    with pytest.raises(ConfigError, match="above"):
        resume(9.0)
    assert history.load_sweep(tmp_path, "s-1").replaced == {}
    assert len(resume(10.0)) == 2


@pytest.mark.parametrize("state", [State.COMPLETED, State.RUNNING, State.QUEUED, State.PLANNED])
def test_what_goes_well_is_not_repeated(state: State) -> None:
    run = Run("r", "u", "n", "local", state, BEGAN, (("running", BEGAN),))
    assert not is_repeated(run, failed=True)


def test_runs_that_were_removed_are_left_out(tmp_path: Path) -> None:
    sweep = stored(tmp_path, MIXED)
    for path in history.files(tmp_path, "r-1").root.iterdir():
        path.unlink()
    history.files(tmp_path, "r-1").root.rmdir()

    assert [run.id for run in loaded(tmp_path, sweep)] == ["r-0", "r-2", "r-3", "r-4"]
    with pytest.raises(TargetError, match="the runs of s-2 were removed"):
        loaded(tmp_path, Sweep("s-2", "s", BEGAN, ("x",)))
