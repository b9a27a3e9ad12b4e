"""What a report is about: runs with their plans and metrics, in order, and what sets them apart. No disk, no clock."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from runner.compare import flat
from runner.errors import TargetError
from runner.report import series
from runner.spec import Plan, Run


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line says, and what the sweep does (its metric may not be there yet). Empty: decided here."""

    metric: str = ""
    goal: str = ""
    title: str = ""
    parameters: tuple[str, ...] = ()
    sweep_metric: str = ""
    sweep_goal: str = ""


@dataclass(frozen=True)
class Entry:
    """One run: its plan, its rows of metrics, its settings (dotted name to JSON value)."""

    run: Run
    plan: Plan
    rows: Sequence[Mapping[str, Any]]

    @cached_property
    def last(self) -> dict[str, float | int]:
        return series.last(self.rows)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Chosen options of groups and leaves of the configuration. A group without an option says nothing."""
        leaves = flat({key: value for key, value in self.plan.config.items() if key != "sweep"})
        return {**leaves, **{group: option for group, option in self.plan.choices.items() if group not in leaves}}


@dataclass(frozen=True, slots=True)
class Report:
    """Entries come in the order of `metric`. `parameters` differ and were asked for; `others` only differ.

    `metric` is '' where no run has any. `axis` is what curves are drawn against.
    """

    title: str
    created: str
    project: str
    metric: str
    goal: str
    axis: str
    metrics: tuple[str, ...]
    parameters: tuple[str, ...]
    others: tuple[str, ...]
    entries: tuple[Entry, ...] = field(repr=False)

    def points(self, entry: Entry, name: str) -> list[series.Point]:
        return series.points(entry.rows, name, self.axis)


def gather(entries: Sequence[Entry], project: str, created: str, asked: Asked) -> Report:
    """Raises TargetError for a metric that no run has."""
    metrics = series.names(entry.rows for entry in entries)
    if asked.metric and asked.metric not in metrics:
        known = ", ".join(f"'{name}'" for name in metrics[:20]) or "none yet"
        raise TargetError(f"no run has the metric '{asked.metric}'; metrics: {known}")
    metric = asked.metric or next((name for name in metrics if name == asked.sweep_metric), next(iter(metrics), ""))
    goal = asked.goal or (asked.sweep_goal if metric == asked.sweep_metric else "") or series.goal_of(metric)
    differing = different(entries)
    wanted = {*asked.parameters, *(key for entry in entries for key in overridden(entry.plan.overrides))}
    inside = tuple(f"{key}." for key in wanted if key not in differing)  # a key may be that of a whole mapping
    parameters = [name for name in differing if name in wanted or name.startswith(inside)] or differing
    return Report(
        title=asked.title or title_of(entries),
        created=created,
        project=project,
        metric=metric,
        goal=goal,
        axis=series.axis_of(entry.rows for entry in entries),
        metrics=tuple(sorted(metrics, key=lambda name: name != metric)),
        parameters=tuple(parameters),
        others=tuple(name for name in differing if name not in parameters),
        entries=tuple(sorted(entries, key=lambda entry: (series.order(entry.last.get(metric), goal), entry.run.id))),
    )


def title_of(entries: Sequence[Entry]) -> str:
    names = list(dict.fromkeys(entry.run.name for entry in entries))
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    count = f"{len(entries)} runs of " if len(entries) > 1 else ""
    return count + ", ".join(names[:3]) + more


def different(entries: Sequence[Entry]) -> list[str]:
    """Settings that are not the same in all runs, in the order in which configurations have them."""
    texts = [{key: json.dumps(value, sort_keys=True) for key, value in entry.settings.items()} for entry in entries]
    known = dict.fromkeys(key for found in texts for key in found)
    return [key for key in known if len({found.get(key) for found in texts}) > 1]


def overridden(overrides: Sequence[str]) -> list[str]:
    """The keys that overrides set: `+a.b=1`, `~a.b`, `group@package=option`."""
    return [item.lstrip("+~").partition("=")[0].partition("@")[0] for item in overrides]
