"""A report for programs: what --json prints and the page holds (schemas/report.schema.json), and CSV."""

from __future__ import annotations

import csv
import functools
import io
import json
import math
import shlex
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from runner import history
from runner.collect import in_short
from runner.redact import redact
from runner.report import series
from runner.report.gather import Entry, Report
from runner.spec import State, jsonable

ABOUT = ("state", "created", "ended", "seconds")
AFTER = ("exit_code", "cause", "log", "rerun", "command", "url")
ODD_NUMBERS = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def as_json(report: Report) -> dict[str, Any]:
    """The whole report without curves. Numbers that JSON has not are the texts 'NaN', 'Infinity', '-Infinity'."""
    return {
        "title": redact(report.title),
        "created": report.created,
        "project": report.project,
        "metric": report.metric,
        "goal": report.goal,
        "axis": report.axis,
        "metrics": list(report.metrics),
        "parameters": list(report.parameters),
        "other_parameters": list(report.others),
        "runs": [run_json(report, entry) for entry in report.entries],
    }


def run_json(report: Report, entry: Entry) -> dict[str, Any]:
    """One run, without the values that its secrets have in this process."""
    run, plan = entry.run, entry.plan
    place = history.files(Path(report.project), run.id)
    settings = {name: entry.settings[name] for name in differing(report) if name in entry.settings}
    best = series.best(report.points(entry, report.metric), report.goal)
    record = {
        **in_short(run),
        "seconds": seconds(entry, report.created),
        "metrics": {name: entry.last[name] for name in report.metrics if name in entry.last},
        "best": {report.axis: best[0], "value": best[1]} if best else None,
        "parameters": settings,
        "overrides": list(plan.overrides),
        "tags": dict(plan.tags),
        "failure": failure(entry, place),
        "note": run.note,
        "rerun": f"amlrun rerun {shlex.quote(run.id)}" if plan.digests else None,
        "command": shlex.join(["amlrun", "run", *plan.overrides]) if plan.digests else None,
        "logs": str(place.logs),
        "outputs": str(place.outputs),
    }
    hide = history.secret_values(Path(report.project), run.id) if plan.secrets else []
    done: dict[str, Any] = mapped(jsonable(record), lambda value: plain(value, tuple(hide)))
    return done


def differing(report: Report) -> tuple[str, ...]:
    return (*report.parameters, *report.others)


def seconds(entry: Entry, now: str) -> float | None:
    """From the plan to the end, or until now; None for what was never sent."""
    if entry.run.state is State.PLANNED:
        return None
    start, end = (datetime.fromisoformat(text) for text in (entry.run.created, entry.run.ended or now))
    return max(round((end - start).total_seconds(), 1), 0.0)


def failure(entry: Entry, place: history.RunFiles) -> dict[str, Any] | None:
    """Why it failed, with the log's whole path. Places in the run's copy of the code become places in the project."""
    found = entry.run.failure
    if found is None:
        return None
    code_root = Path(entry.plan.project, str((entry.plan.config.get("code") or {}).get("root") or "."))
    return {
        "cause": found.cause,
        "rank": found.rank,
        "exit_code": found.exit_code,
        "evidence": found.evidence.replace(f"{place.work}/", f"{code_root}/"),
        "log": str(place.root / found.log) if found.log else None,
        "advice": found.advice,
    }


def mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    """The same containers, each leaf changed."""
    if isinstance(value, Mapping):
        return {key: mapped(item, change) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [mapped(item, change) for item in value]
    return change(value)


def plain(value: Any, hide: tuple[str, ...] = ()) -> Any:
    """A leaf that JSON has, and without secrets."""
    if isinstance(value, float) and not math.isfinite(value):
        return ODD_NUMBERS[str(value)]
    return shown(value, hide) if isinstance(value, str) else value


@functools.lru_cache(maxsize=50_000)
def shown(text: str, hide: tuple[str, ...]) -> str:
    return redact(text, hide)


def as_csv(record: Mapping[str, Any]) -> str:
    """A line for each run: state and times, every metric, every setting that differs, the failure, how to repeat it."""
    metrics, settings = record["metrics"], [*record["parameters"], *record["other_parameters"]]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["run", *ABOUT, *metrics, *settings, *AFTER])
    for run in record["runs"]:
        after = {**(run["failure"] or {}), **{key: run[key] for key in ("rerun", "command", "url")}}
        rows = ((run, ABOUT), (run["metrics"], metrics), (run["parameters"], settings), (after, AFTER))
        writer.writerow([run["id"], *(cell(values.get(name)) for values, names in rows for name in names)])
    return file.getvalue()


def cell(value: Any) -> Any:
    """Numbers and texts as they are; what CSV has no form for, as JSON."""
    return json.dumps(value) if isinstance(value, (Mapping, list, bool)) else value
