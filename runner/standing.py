"""How a sweep stands: each point with its state, metric, time left and cost, and all of them together. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import fmean
from typing import Any

from runner.collect import is_number
from runner.report import series
from runner.spec import Plan, Run, State
from runner.sweeps import Sweep, point

# How states are ordered where not all points can be shown: first what happens now, then what went wrong.
ORDER = (
    *(State.RUNNING, State.FINALIZING, State.PREPARING, State.UNKNOWN, State.FAILED),
    *(State.COMPLETED, State.QUEUED, State.PLANNED, State.CANCELED),
)
SECONDS_PER_HOUR = 3600


@dataclass(frozen=True, slots=True)
class Point:
    """One run. `value` is the newest of the metric, `best` its best so far; `left` are seconds, `cost` US dollars.

    None: not known, or nothing is paid.
    """

    run: Run
    values: Mapping[str, str]
    epoch: float | None = None
    epochs: float | None = None
    value: float | None = None
    best: float | None = None
    left: float | None = None
    cost: float | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Standing:
    """The points in order, how many are in each state, the best that has not failed, seconds left, dollars spent."""

    sweep: Sweep
    metric: str
    goal: str
    points: tuple[Point, ...]
    counts: Mapping[str, int]
    best: Point | None
    left: float | None
    cost: float | None

    @property
    def over(self) -> bool:
        """Whether nothing is under way."""
        return all(point.run.state.final or point.run.state is State.PLANNED for point in self.points)


def standing(
    sweep: Sweep, plans: Mapping[str, Plan], runs: Sequence[Run], rows: Mapping[str, series.Rows], now: datetime
) -> Standing:
    """`plans` and `rows` (metrics so far) are by run id."""
    metric = sweep.metric or next(iter(series.names(rows.values())), "")
    goal = sweep.goal or series.goal_of(metric)
    points = tuple(
        point_of(run, point(sweep, plans[run.id]), plans[run.id], rows.get(run.id, ()), (metric, goal, now))
        for run in runs
    )
    paid = [each.cost for each in points if each.cost is not None]
    usable = [each for each in points if each.best is not None and each.run.state is not State.FAILED]
    ranked = sorted(usable, key=lambda each: series.order(each.best, goal))
    counts = Counter(run.state.value for run in runs)
    return Standing(
        sweep,
        metric,
        goal,
        points,
        {state.value: counts[state.value] for state in State if counts[state.value]},
        ranked[0] if ranked else None,
        left_of(points),
        sum(paid) if paid else None,
    )


def point_of(
    run: Run, values: Mapping[str, str], plan: Plan, rows: series.Rows, asked: tuple[str, str, datetime]
) -> Point:
    metric, goal, now = asked
    progress = {key: row[key] for row in rows for key in ("epoch", "epochs") if is_number(row.get(key))}
    curve = series.points(rows, metric, series.ROW)
    best = series.best(curve, goal)
    seconds = running_seconds(run, now)
    epoch, epochs = progress.get("epoch"), progress.get("epochs")
    left = seconds * (epochs - epoch) / epoch if epoch and epochs and run.state is State.RUNNING else None
    hourly = plan.cost.get("usd_per_hour") if plan.cost else None
    return Point(
        run,
        values,
        epoch,
        epochs,
        curve[-1][1] if curve else None,
        best[1] if best else None,
        left,
        None if hourly is None else hourly * seconds / SECONDS_PER_HOUR,
        seconds,
    )


def running_seconds(run: Run, now: datetime) -> float:
    """Since its processes run, until they ended or now."""
    began = next((time for state, time in run.phases if state == State.RUNNING.value), None)
    if began is None:
        return 0.0
    until = datetime.fromisoformat(run.ended) if run.ended else now
    return max(0.0, (until - datetime.fromisoformat(began)).total_seconds())


def left_of(points: Sequence[Point]) -> float | None:
    """Seconds until the last point has ended, if they go on as they do; None where nothing is known, or all is over."""
    running = [each for each in points if each.run.state is State.RUNNING]
    waiting = [each for each in points if each.run.state in (State.QUEUED, State.PREPARING)]
    lengths = [each.seconds for each in points if each.run.state is State.COMPLETED]
    lengths += [each.seconds + each.left for each in running if each.left is not None]
    if not lengths or not (running or waiting):
        return None
    usual = fmean(lengths)
    now = [each.left if each.left is not None else max(0.0, usual - each.seconds) for each in running]
    return max(max(now, default=0.0), (sum(now) + usual * len(waiting)) / max(1, len(running)))


def shown(found: Standing, most: int) -> list[Point]:
    """At most so many points, those that matter most now, in the sweep's order."""
    if len(found.points) <= most:
        return list(found.points)
    ranks = {state: rank for rank, state in enumerate(ORDER)}
    places = range(len(found.points))
    first = sorted(places, key=lambda at: (found.points[at] is not found.best, ranks[found.points[at].run.state], at))
    return [found.points[at] for at in sorted(first[:most])]


def as_json(found: Standing) -> dict[str, Any]:
    """What `show SWEEP --json` prints (schemas/sweep-show.schema.json)."""
    sweep = found.sweep.as_json()
    best = found.best and {"run": found.best.run.id, "point": dict(found.best.values), "value": found.best.best}
    return {
        **{key: sweep[key] for key in ("id", "name", "created", "overrides", "swept", "options", "replaced")},
        "counts": dict(found.counts),
        "metric": found.metric or None,
        "goal": found.goal if found.metric else None,
        "best": best,
        "cost_usd": found.cost,
        "eta_seconds": found.left,
        "runs": [point_json(each) for each in found.points],
    }


def point_json(each: Point) -> dict[str, Any]:
    return {
        "id": each.run.id,
        "url": each.run.url,
        "state": each.run.state.value,
        "point": dict(each.values),
        "epoch": each.epoch,
        "epochs": each.epochs,
        "value": each.value,
        "best": each.best,
        "cause": each.run.failure.cause if each.run.failure else None,
        "cost_usd": each.cost,
        "eta_seconds": each.left,
    }
