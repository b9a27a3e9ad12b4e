"""How a sweep stands, what of it is shown, and how it looks. No disk, no clock, no terminal but a string."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from rich.console import Console

from runner import board
from runner.errors import TargetError
from runner.follow_sweep import AT_ONCE, PATIENCE, Members, follow_sweep
from runner.resources import packaged
from runner.spec import Failure, Plan, Run, State
from runner.standing import Standing, as_json, shown, standing
from runner.sweeps import TAG, Sweep, point, repeated, tagged, together, without_sweep
from tests import plans

NOW = datetime.fromisoformat("2026-01-01T01:00:00+00:00")
HALF_AN_HOUR_AGO = "2026-01-01T00:30:00+00:00"


def plan(number: int, **changes: Any) -> Plan:
    made = {"overrides": ("model=cnn", f"optimizer.lr=0.{number}", f"seed={number % 2}"), "target": "azureml"}
    return plans.make_plan(Path("/p"), f"n-c0ffee00-{number:08d}", **made | changes)


def run(plan: Plan, state: State, began: str = HALF_AN_HOUR_AGO, **changes: Any) -> Run:
    phases = [("planned", plan.created)]
    if state not in (State.PLANNED, State.QUEUED):
        phases.append(("running", began))
    if state is not State.RUNNING:
        phases.append((state.value, "2026-01-01T00:45:00+00:00"))
    ended = "2026-01-01T00:45:00+00:00" if state.final else None
    values = {"phases": tuple(phases), "ended": ended, **changes}
    return Run(plan.id, plan.url, plan.name, plan.target, state, plan.created, **values)


def sweep_of(made: Sequence[Plan]) -> Sweep:
    sweep, _ = together(list(made), ["-m"], {})
    assert sweep is not None
    return sweep


def stands(states: Sequence[State], rows: Mapping[int, Any] | None = None, hourly: float | None = None) -> Standing:
    cost = {} if hourly is None else {"usd_per_hour": hourly}
    made = [plan(number, cost=cost) for number in range(len(states))]
    runs = [run(each, state) for each, state in zip(made, states, strict=True)]
    written = {made[number].id: content for number, content in (rows or {}).items()}
    return standing(sweep_of(made), {each.id: each for each in made}, runs, written, NOW)


def curve(*values: float, epochs: int = 4) -> list[dict[str, Any]]:
    return [{"epoch": at, "epochs": epochs, "val_accuracy": value} for at, value in enumerate(values, 1)]


def test_one_plan_is_no_sweep_and_several_are_one_with_its_tag() -> None:
    made = [plan(number, tags={"a": "b"}, request={"tags": {"a": "b"}}) for number in range(3)]
    assert together(made[:1], [], {}) == (None, made[:1])
    sweep, sent = together(made, ["x=1,2"], {"stop_on_failure": True})

    assert sweep is not None
    assert sweep.runs == tuple(each.id for each in made)
    assert sweep.id.startswith("n-sweep-")
    assert sweep.swept == ("optimizer.lr", "seed")
    assert sweep.options == {"stop_on_failure": True, "max_cost": None, "max_concurrent": None}
    assert [each.tags for each in sent] == [{"a": "b", TAG: sweep.id}] * 3
    assert sent[0].request == {"tags": {"a": "b", TAG: sweep.id}}
    assert without_sweep(sent[0]) == made[0]
    assert point(sweep, sent[1]) == {"optimizer.lr": "0.1", "seed": "1"}
    assert Sweep.from_json({**json.loads(json.dumps(sweep.as_json())), "later": 1}) == sweep


def test_two_sweeps_of_the_same_plans_have_two_names() -> None:
    made = [plan(0), plan(1)]
    assert sweep_of(made).id != sweep_of(made).id


def test_what_a_target_is_sent_without_tags_stays_without() -> None:
    assert tagged(plan(0, request={"argv": []}), {"a": "b"}).request == {"argv": []}


def test_a_repeated_run_stands_in_the_place_of_the_old() -> None:
    sweep = repeated(repeated(Sweep("s", "s", "t", ("a", "b", "c")), {"b": "d"}), {"d": "e"})
    assert (sweep.runs, sweep.replaced) == (("a", "e", "c"), {"b": "d", "d": "e"})


def test_counts_best_and_metric() -> None:
    found = stands([State.COMPLETED, State.RUNNING, State.PLANNED], {0: curve(0.5, 0.9, 0.8), 1: curve(0.7)})

    assert found.counts == {"planned": 1, "running": 1, "completed": 1}
    assert (found.metric, found.goal) == ("val_accuracy", "maximize")
    assert found.best is found.points[0]
    assert (found.points[0].value, found.points[0].best) == (0.8, 0.9)
    broken = stands([State.FAILED, State.RUNNING], {0: curve(0.9), 1: curve(0.7)})
    assert broken.best is broken.points[1]
    assert not found.over
    assert stands([State.COMPLETED, State.PLANNED, State.FAILED]).over


def test_time_left_of_a_point_and_of_all() -> None:
    """Half an hour for two of four epochs; two wait for the one place."""
    found = stands([State.RUNNING, State.QUEUED, State.QUEUED], {0: curve(0.1, 0.2)})
    assert found.points[0].left == 1800
    assert found.left == 1800 + 2 * 3600
    assert stands([State.RUNNING, State.QUEUED]).left is None
    assert stands([State.COMPLETED, State.COMPLETED]).left is None


def test_cost_so_far_is_of_the_time_that_processes_ran() -> None:
    found = stands([State.RUNNING, State.COMPLETED, State.QUEUED], hourly=2.0)
    assert [each.cost for each in found.points] == [1.0, 0.5, 0.0]
    assert found.cost == 1.5
    assert stands([State.RUNNING, State.QUEUED]).cost is None


def test_of_many_points_those_that_matter_now_are_shown_in_order() -> None:
    states = [State.COMPLETED] * 6 + [State.QUEUED] * 6 + [State.RUNNING, State.FAILED]
    found = stands(states, {3: curve(0.9), 1: curve(0.2)})
    assert [found.points.index(each) for each in shown(found, 4)] == [0, 3, 12, 13]
    assert len(shown(found, 100)) == len(states)


def test_its_json_is_what_the_schema_says() -> None:
    schema = json.loads((packaged("schemas") / "sweep-show.schema.json").read_text())
    for found in (stands([State.COMPLETED, State.RUNNING], {0: curve(0.5)}, 1.0), stands([State.QUEUED] * 2)):
        jsonschema.validate(json.loads(json.dumps(as_json(found))), schema)


def test_the_table_fits_and_says_what_is_left_out() -> None:
    found = stands([State.RUNNING] + [State.QUEUED] * 30, {0: curve(0.25, 0.5)}, 3.0)
    stream = io.StringIO()
    Console(file=stream, width=120, force_terminal=False).print(board.drawn(found, 5))
    text = stream.getvalue()

    assert "lr=0.0 seed=0" in text
    assert "2/4" in text
    assert "0.5 *" in text
    assert "$1.50" in text
    assert "and 26 more" in text
    assert "31 points: 30 queued, 1 running; best val accuracy 0.5 (lr=0.0 seed=0)" in text


def test_keys_whose_last_word_is_not_theirs_alone_stay_whole() -> None:
    assert board.short({"a.lr": "1", "b.lr": "2", "c.seed": "3"}) == {"a.lr": "1", "b.lr": "2", "seed": "3"}


def test_lines_say_each_state_once_and_how_it_ended() -> None:
    stream = io.StringIO()
    lines = board.Lines(stream)
    lines.show(stands([State.RUNNING, State.QUEUED]))
    lines.show(stands([State.RUNNING, State.QUEUED]))
    made = [plan(0), plan(1)]
    failed = run(made[1], State.FAILED, failure=Failure("ValueError: boom"))
    runs = [run(made[0], State.COMPLETED), failed]
    rows = {made[0].id: curve(0.5)}
    lines.show(standing(sweep_of(made), {each.id: each for each in made}, runs, rows, NOW))
    said = [line.partition("] ")[2] for line in stream.getvalue().splitlines()]

    assert said == [
        "lr=0.0 seed=0  running",
        "lr=0.1 seed=1  queued",
        "lr=0.0 seed=0  completed: val accuracy 0.5 (best so far)",
        "lr=0.1 seed=1  failed: ValueError: boom",
    ]


class Service:
    """A target whose runs all run until they are told to end; counts what it is asked."""

    def __init__(self, made: Sequence[Plan], looks: int, failing: int = 0) -> None:
        self.made, self.looks, self.failing = made, looks, failing
        self.asked: list[str] = []
        self.states_asked = 0

    def states(self, runs: list[Run]) -> list[Run]:
        self.states_asked += 1
        if self.failing:
            self.failing -= 1
            raise TargetError("away")
        over = self.states_asked > self.looks
        return [run(each, State.COMPLETED if over else State.RUNNING) for each in self.made]

    def metrics(self, run: Run) -> list[dict[str, Any]]:
        self.asked.append(run.id)
        return curve(0.5)


class Seen:
    def __init__(self) -> None:
        self.found: list[Standing] = []
        self.closed = False

    def show(self, found: Standing) -> None:
        self.found.append(found)

    def close(self) -> None:
        self.closed = True


def followed(service: Any, made: Sequence[Plan], carried: Sequence[bool] = ()) -> Seen:
    """`carried`: at each look, whether a process may send more; in the end none."""
    seen, at_looks = Seen(), iter(carried)
    sweep = Sweep("s", "s", "t", tuple(each.id for each in made))
    plans, runs = {each.id: each for each in made}, [run(each, State.RUNNING) for each in made]
    follow_sweep(service, lambda: Members(sweep, plans, runs, next(at_looks, False)), seen, lambda _: None)
    return seen


def test_two_hundred_runs_are_one_question_and_a_few_metrics_at_each_look() -> None:
    made = [plan(number) for number in range(200)]
    service = Service(made, looks=30)
    seen = followed(service, made)

    assert service.states_asked == len(seen.found) == 31
    running = service.asked[: 30 * AT_ONCE]
    assert max(running.count(each.id) for each in made) == 2  # in turns
    assert set(running) == {each.id for each in made}
    assert service.asked[30 * AT_ONCE :] == [each.id for each in made]  # all that there is, once they have ended
    assert seen.closed


def test_a_service_that_is_away_for_a_while_is_asked_again() -> None:
    made = [plan(0), plan(1)]
    assert followed(Service(made, looks=PATIENCE + 1, failing=PATIENCE), made).found[-1].over
    with pytest.raises(TargetError, match="away"):
        followed(Service(made, looks=1, failing=PATIENCE + 1), made)


def test_while_a_process_may_send_more_following_goes_on() -> None:
    made = [plan(0), plan(1)]
    assert len(followed(Service(made, looks=1), made, [True] * 5).found) == 6
