"""Whole processes, measured side by side: wall and CPU seconds of a command and of all that it started.

The machine is shared and its speed varies, so nothing is compared that was not measured in turns: A B A B ..., then
medians, then their ratio.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

Measured = TypeVar("Measured")
ROOT = Path(__file__).parents[2]


class CannotMeasure(Exception):  # noqa: N818 - a benchmark that cannot run is no error of the code that it measures
    """Why; the table shows it, and `make bench` exits non-zero."""


@dataclass(frozen=True, slots=True)
class Took:
    """Seconds, and the most memory. `cpu` is user and system time, of children too if they were waited for."""

    wall: float
    cpu: float
    megabytes: float = 0.0


@dataclass(frozen=True, slots=True)
class Result:
    """A row of the table: `ours` against `theirs` in `unit`, and whether `ratio` (ours / theirs) meets `bar`."""

    id: str
    work: str
    against: str
    ours: float
    theirs: float
    unit: str
    bar: str
    met: bool
    ratio: float
    notes: Mapping[str, float | str] = field(default_factory=dict)


def compared(
    name: str,
    work: str,
    against: str,
    figures: tuple[float, float, str],
    bar: tuple[str, float],
    notes: Mapping[str, float | str] | None = None,
) -> Result:
    """`figures` are (ours, theirs, unit); `bar` is ('<=' or '>=', limit of ours / theirs)."""
    ours, theirs, unit = figures
    sign, limit = bar
    ratio = ours / theirs if theirs else float("inf")
    met = ratio <= limit if sign == "<=" else ratio >= limit
    return Result(name, work, against, ours, theirs, unit, f"{sign} {limit:g}x", met, ratio, notes or {})


def took(command: Sequence[str], cwd: Path, environment: Mapping[str, str] | None = None, expect: int = 0) -> Took:
    """Run it to its end. Raises CannotMeasure with the end of its output for another exit code than `expect`."""
    log = cwd / ".benchmark.log"
    with log.open("wb") as output:
        began = time.perf_counter()
        process = subprocess.Popen(
            [*command], cwd=cwd, env={**os.environ, **(environment or {})}, stdout=output, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
    code = os.waitstatus_to_exitcode(status)
    process.returncode = code
    if code != expect:
        end = log.read_text(errors="replace")[-600:]
        raise CannotMeasure(f"'{' '.join(command)[:120]}' exited with {code}, not {expect}: {end}")
    return Took(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def in_turns(works: Mapping[str, Callable[[], Measured]], rounds: int) -> dict[str, list[Measured]]:
    """Each work once per round, one after the other, after one round that is not counted."""
    for work in works.values():
        work()
    found: dict[str, list[Measured]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            found[name].append(work())
    return found


def median(values: Sequence[float]) -> float:
    return float(statistics.median(values))


def cpu(times: Sequence[Took]) -> float:
    return median([each.cpu for each in times])


def wall(times: Sequence[Took]) -> float:
    return median([each.wall for each in times])
