"""Metrics of runs: which count, which of them decides and which way, their last and best values, curves. Pure."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from runner.collect import PROGRESS, is_number

Rows = Sequence[Mapping[str, Any]]
Point = tuple[float, float]
GOALS = ("maximize", "minimize")
ROW = "row"
# The words of a metric's name that make it the one to sort by, the best first.
DECISIVE = (
    frozenset({"val", "valid", "validation", "dev", "eval"}),
    frozenset({"test"}),
    frozenset({"accuracy", "acc", "f1", "auc", "map", "iou", "bleu", "score"}),
    frozenset({"loss"}),
)
FEW_IS_GOOD = re.compile(r"loss|error|err|mse|mae|rmse|nll|perplexity|ppl|wer|cer|fid|seconds|time|latency|duration")


def names(all_rows: Iterable[Rows]) -> list[str]:
    """Every metric that has a number in some run, the one to sort by first."""
    counts: dict[str, int] = {}
    for rows in all_rows:
        for name in {key for row in rows for key, value in row.items() if is_number(value)} - {*PROGRESS}:
            counts[name] = counts.get(name, 0) + 1
    return sorted(counts, key=lambda name: (*(not words_of(name) & words for words in DECISIVE), -counts[name], name))


def words_of(name: str) -> set[str]:
    return set(re.split(r"[^a-z0-9]+", name.lower()))


def goal_of(name: str) -> str:
    """What is better, by the metric's name."""
    return "minimize" if any(FEW_IS_GOOD.fullmatch(word) for word in words_of(name)) else "maximize"


def axis_of(all_rows: Iterable[Rows]) -> str:
    """What curves are drawn against: 'epoch', else 'step', if it grows from row to row in every run; else 'row'."""
    written = [rows for rows in all_rows if rows]
    for axis in ("epoch", "step"):
        if written and all(grows([row.get(axis) for row in rows]) for rows in written):
            return axis
    return ROW


def grows(values: Sequence[Any]) -> bool:
    if not all(is_number(value) and math.isfinite(value) for value in values):
        return False
    return all(before < after for before, after in itertools.pairwise(values))


def points(rows: Rows, name: str, axis: str) -> list[Point]:
    """The metric's curve: (where, value) of each row that has it; values may be NaN or infinite."""
    return [
        (float(number if axis == ROW else row[axis]), float(row[name]))
        for number, row in enumerate(rows, 1)
        if is_number(row.get(name))
    ]


def last(rows: Rows) -> dict[str, float | int]:
    """The newest number of every metric."""
    return {key: value for row in rows for key, value in row.items() if key not in PROGRESS and is_number(value)}


def best(curve: Sequence[Point], goal: str) -> Point | None:
    """The first of the best finite values, and where it was; None if there is none."""
    finite = [point for point in curve if math.isfinite(point[1])]
    sign = -1 if goal == "maximize" else 1
    return min(finite, key=lambda point: sign * point[1], default=None)


def order(value: float | int | None, goal: str) -> tuple[int, float]:
    """A sort key: the best first, then what is no number, then runs without the metric."""
    if value is None:
        return 2, 0
    if not math.isfinite(value):
        return 1, 0
    return 0, -float(value) if goal == "maximize" else float(value)


def thinned(curve: Sequence[Point], most: int) -> list[Point]:
    """At most about `most` points, with both ends, and every peak, dip and gap that the whole curve shows."""
    if len(curve) <= most:
        return list(curve)
    size = math.ceil((len(curve) - 2) / max((most - 2) // 2, 1))
    inner = range(1, len(curve) - 1, size)
    kept = [at for start in inner for at in extremes(curve, range(start, min(start + size, len(curve) - 1)))]
    return [curve[at] for at in (0, *kept, len(curve) - 1)]


def extremes(curve: Sequence[Point], places: range) -> Iterator[int]:
    """The places of the lowest and the highest value among some, in order; the first that is no number instead."""
    odd = next((at for at in places if not math.isfinite(curve[at][1])), None)
    if odd is not None:
        yield odd
        return
    yield from sorted({min(places, key=lambda at: curve[at][1]), max(places, key=lambda at: curve[at][1])})
