"""What the page draws of a metric: lines of some hundred points, pictures, or its last rows as texts."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

MOST_POINTS = 600
MOST_LINES = 8
LAST_ROWS = 20
CELL_CHARACTERS = 200
NOT_FINITE = ("NaN", "Infinity", "-Infinity")
LOCATION = "aml://artifactId/"

# A value that is no finite number goes as its name: JSON has no word for it.
Point = tuple[float, float | str | None]


def drawing(rows: Sequence[Mapping[str, Any]], container: str) -> dict[str, Any]:
    """`lines` by column where every value is a number, `images` (paths of the run's files), else `cells`.

    `rows` are a metric's, in the order of their making; `container` is where the run's files lie.
    """
    values: list[Mapping[str, Any]] = [row.get("data") or {} for row in rows]
    columns = list(dict.fromkeys(column for value in values for column in value))
    by_column = {column: [value.get(column) for value in values] for column in columns}
    about = {"rows": len(rows), "last": texts(values[-1:], columns)}
    if columns and len(columns) <= MOST_LINES and all(map(is_numeric, by_column.values())):
        steps, named = places(rows)
        lines = {name: line(steps, column) for name, column in by_column.items()}
        return {**about, "x": "step" if named else "row", "lines": lines}
    if len(columns) == 1 and (images := paths(by_column[columns[0]], container)):
        return {**about, "images": images[-LAST_ROWS:]}
    return {**about, "columns": columns, "cells": texts(values[-LAST_ROWS:], columns)}


def is_numeric(values: Sequence[Any]) -> bool:
    numbers = [number(value) for value in values if value is not None]
    return bool(numbers) and None not in numbers


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


def places(rows: Sequence[Mapping[str, Any]]) -> tuple[list[float], bool]:
    """Where each row stands: at its step where rows have different ones, else at its number."""
    steps = [row.get("step") for row in rows]
    if all(isinstance(step, int) and not isinstance(step, bool) and abs(step) < 2**53 for step in steps):
        named = [float(step) for step in steps if step is not None]
        if len(set(named)) > 1:
            return named, True
    return [float(index + 1) for index in range(len(rows))], False


def line(steps: Sequence[float], values: Sequence[Any]) -> list[Point]:
    return thinned([(step, number(value)) for step, value in zip(steps, values, strict=True)])


def thinned(points: list[Point], most: int = MOST_POINTS) -> list[Point]:
    """About `most` points at most: of neighbours the lowest, the highest and one that is no number: no peak is lost."""
    if len(points) <= most:
        return points
    together = math.ceil(3 * len(points) / most)
    kept = {0, len(points) - 1}
    for first in range(0, len(points), together):
        indices = range(first, min(first + together, len(points)))
        finite = [(value, index) for index in indices if isinstance(value := points[index][1], float)]
        if finite:
            kept |= {min(finite)[1], max(finite)[1]}
        kept.update([index for index in indices if not isinstance(points[index][1], float)][:1])
    return [points[index] for index in sorted(kept)]


def paths(values: Sequence[Any], container: str) -> list[str]:
    """The files that `run.log_image` names; nothing unless all of them are files of this run."""
    found = [str(value).removeprefix(LOCATION).partition(f"{container}/")[2] for value in values]
    return found if all(str(value).startswith(LOCATION) for value in values) and all(found) else []


def texts(values: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> list[list[str]]:
    return [[cell(value.get(column)) for column in columns] for value in values]


def cell(value: Any) -> str:
    text = value if isinstance(value, str) else "" if value is None else json.dumps(value)
    return text if len(text) <= CELL_CHARACTERS else f"{text[:CELL_CHARACTERS]}…"
