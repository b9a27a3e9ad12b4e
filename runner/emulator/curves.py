"""What the page draws of a metric: lines of some hundred points, pictures, or its last rows as texts."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

from runner.emulator.metrics import moment

MOST_POINTS = 600
MOST_LINES = 8
LAST_ROWS = 20
# So many rows are kept as they are; of more, what is lowest and highest among neighbours.
KEPT_ROWS = 5000
CELL_CHARACTERS = 200
NOT_FINITE = ("NaN", "Infinity", "-Infinity")
LOCATION = "aml://artifactId/"

# A value that is no finite number goes as its name: JSON has no word for it.
Point = tuple[float, float | str | None]


@dataclass(frozen=True, slots=True)
class Row:
    """`ordinal`: the how manieth it is."""

    moment: tuple[str, str]
    step: int | None
    data: Mapping[str, Any]
    ordinal: int = 0


@dataclass(slots=True)
class Series:
    """A metric that grows: of its rows what a drawing needs, which has an end however many there are.

    `container` is where the run's files lie. `settled` are rows thinned to their peaks, `fresh` all that came since.
    `columns` tells of each whether it has had a number.
    """

    container: str
    count: int = 0
    columns: dict[str, bool] = field(default_factory=dict)
    numeric: bool = True
    pictures: bool = True
    steps: set[int | None] = field(default_factory=set)
    last: list[Row] = field(default_factory=list)
    settled: list[Row] = field(default_factory=list)
    fresh: list[Row] = field(default_factory=list)

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        for sent in rows:
            row = Row(moment(sent), whole(sent.get("step")), sent.get("data") or {})
            self.count += 1
            self.look_at(row)
            self.fresh.append(row)
            if len(self.fresh) >= KEPT_ROWS:
                self.settle()

    def look_at(self, row: Row) -> None:
        """What all rows together are."""
        for name, value in row.data.items():
            told = number(value) is not None
            self.columns[name] = self.columns.get(name, False) or told
            self.numeric = self.numeric and (told or value is None)
        self.pictures = self.pictures and len(row.data) == 1 and all(map(self.path, row.data.values()))
        if row.step is None or len(self.steps) < 2:  # does one lack it, do two differ: no more is asked
            self.steps.add(row.step)

    def settle(self) -> None:
        self.last = self.latest()
        if self.may_be_lines:
            rows, columns = self.in_order(), list(self.columns)
            together = math.ceil(3 * len(columns) * self.count / KEPT_ROWS)
            indices = {0, len(rows) - 1}
            for name in columns:
                indices |= peaks(rows, [number(row.data.get(name)) for row in rows], together)
            self.settled = [rows[index] for index in sorted(indices)]
        else:
            self.settled = []
        self.fresh = []

    @property
    def may_be_lines(self) -> bool:
        return self.numeric and len(self.columns) <= MOST_LINES

    def in_order(self) -> list[Row]:
        """By the time of their making. The SDK sends several batches at once, and they may overtake each other."""
        first = self.count - len(self.fresh) + 1
        fresh = sorted(self.fresh, key=lambda row: row.moment)
        return [*self.settled, *(replace(row, ordinal=first + index) for index, row in enumerate(fresh))]

    def latest(self) -> list[Row]:
        return sorted([*self.last, *self.fresh], key=lambda row: row.moment)[-LAST_ROWS:]

    def path(self, value: Any) -> str:
        """The file of this run that `run.log_image` names; empty for anything else."""
        text = str(value)
        return text.removeprefix(LOCATION).partition(f"{self.container}/")[2] if text.startswith(LOCATION) else ""

    def drawn(self) -> dict[str, Any]:
        """`lines` by column where every value is a number, `images` (paths of the run's files), else `cells`."""
        columns, latest = list(self.columns), self.latest()
        about = {"rows": self.count, "last": texts(latest[-1:], columns)}
        if columns and self.may_be_lines and all(self.columns.values()):
            by_step = None not in self.steps and len(self.steps) > 1
            rows = self.in_order()
            lines = {name: line(rows, name, self.count, by_step=by_step) for name in columns}
            return {**about, "x": "step" if by_step else "row", "lines": lines}
        if len(columns) == 1 and self.pictures:
            return {**about, "images": [self.path(row.data[columns[0]]) for row in latest]}
        return {**about, "columns": columns, "cells": texts(latest, columns)}


def drawing(rows: Iterable[Mapping[str, Any]], container: str) -> dict[str, Any]:
    """Of a metric that is all there."""
    series = Series(container)
    series.add(rows)
    return series.drawn()


def whole(step: Any) -> int | None:
    """A step, if it is one that JavaScript can count."""
    return step if isinstance(step, int) and not isinstance(step, bool) and abs(step) < 2**53 else None


def number(value: Any) -> float | str | None:
    """A finite number as one, another by its name; None for whatever is no number."""
    if value in NOT_FINITE:
        return str(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        found = math.inf if value > 0 else -math.inf
    if math.isnan(found):
        return "NaN"
    return found if math.isfinite(found) else NOT_FINITE[1 if found > 0 else 2]


def line(rows: Sequence[Row], name: str, count: int, *, by_step: bool) -> list[Point]:
    """About MOST_POINTS points at most, spread over all `count` rows, each at its step or at its number."""
    values = [number(row.data.get(name)) for row in rows]
    indices: Iterable[int] = range(len(rows))
    if len(rows) > MOST_POINTS:
        together = math.ceil(3 * count / MOST_POINTS)
        indices = sorted({0, len(rows) - 1} | peaks(rows, values, together))
    return [(float((rows[at].step or 0) if by_step else rows[at].ordinal), values[at]) for at in indices]


def peaks(rows: Sequence[Row], values: Sequence[float | str | None], together: int) -> set[int]:
    """Of `together` neighbours the lowest, the highest and one that is no number: no peak is lost."""
    kept: set[int] = set()
    for _, group in groupby(range(len(rows)), key=lambda index: (rows[index].ordinal - 1) // together):
        indices = list(group)
        finite = [(value, index) for index in indices if isinstance(value := values[index], float)]
        if finite:
            kept |= {min(finite)[1], max(finite)[1]}
        kept.update([index for index in indices if not isinstance(values[index], float)][:1])
    return kept


def texts(rows: Sequence[Row], columns: Sequence[str]) -> list[list[str]]:
    return [[cell(row.data.get(column)) for column in columns] for row in rows]


def cell(value: Any) -> str:
    text = value if isinstance(value, str) else "" if value is None else json.dumps(value)
    return text if len(text) <= CELL_CHARACTERS else f"{text[:CELL_CHARACTERS]}…"
