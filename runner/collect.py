"""What a run left: metrics, logs, outputs, and everything `show` says about it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from runner import history
from runner.spec import Plan, Run, jsonable

PROGRESS = ("epoch", "epochs", "step", "seconds")


def summary(project: Path, run: Run, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The public record of a run (`show --json`; schemas/show.schema.json). `rows` are its metrics so far."""
    plan = history.load_plan(project, run.id)
    place = history.files(project, run.id)
    logs = sorted(place.logs.glob("rank_*.log"), key=lambda path: int(path.stem.removeprefix("rank_")))
    return {
        **in_short(run),
        "phases": jsonable(run.phases),
        "metrics": last_values(rows),
        "overrides": list(plan.overrides),
        "config": jsonable(plan.config),
        "git": git_of(plan),
        "digest": {**plan.digests, "snapshot": plan.snapshot.digest},
        "layout": plan.as_json()["layout"],
        "tags": dict(plan.tags),
        "failure": run.as_json()["failure"],
        "note": run.note,
        "plan": str(place.plan),
        "logs": [str(path) for path in logs],
        "outputs": str(place.outputs),
        "files": output_files(place.outputs),
    }


def in_short(run: Run) -> dict[str, Any]:
    """What a list of runs says about each."""
    whole = run.as_json()
    return {key: whole[key] for key in ("id", "url", "page", "name", "target", "state", "created", "ended")}


def last_values(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The newest value of every metric."""
    merged: dict[str, Any] = {}
    for row in rows:
        merged |= row
    return merged


def output_files(outputs: Path) -> list[str]:
    """Files below `outputs`, relative to it."""
    if not outputs.is_dir():
        return []
    return sorted(path.relative_to(outputs).as_posix() for path in outputs.rglob("*") if path.is_file())


def git_of(plan: Plan) -> dict[str, Any]:
    """Commit, branch, dirty files; the diff itself stays in plan.json."""
    git = plan.git
    return {"commit": git.commit, "branch": git.branch, "dirty": list(git.dirty), "diff_bytes": len(git.diff.encode())}


def headline(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The metrics worth a line each, the held-out ones first: (name in words, value)."""
    shown = {key: value for key, value in metrics.items() if key not in PROGRESS and is_number(value)}
    names = sorted(shown, key=lambda name: (not name.startswith(("test_", "val_", "best_")), name))
    return [(name.replace("_", " "), f"{shown[name]:.4g}") for name in names]


def is_number(value: Any) -> bool:
    """Whether it can be shown as one: JSON holds integers that no float does."""
    return isinstance(value, float) or (type(value) is int and abs(value) <= sys.float_info.max)
