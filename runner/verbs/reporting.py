"""report: runs side by side, as a page, pictures, CSV and JSON."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from runner import history
from runner.errors import TargetError
from runner.project import find_project
from runner.report import page, pictures, record
from runner.report.gather import Asked, Entry, Report, gather
from runner.spec import Run
from runner.sweeps import Sweep
from runner.targets import load_target
from runner.verbs.ending import refreshed
from runner.verbs.past import named

PAGE = "report.html"


def report(args: argparse.Namespace) -> int:
    project = find_project(args.project, Path.cwd())
    sweep = history.find_sweep(project, args.runs[0]) if len(args.runs) == 1 else None
    runs = refreshed(project, runs_of(project, args.runs))
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    found = gather([entry(project, run) for run in runs], str(project), now, asked(args, sweep))
    known = record.as_json(found)
    folder: Path = args.output or Path.cwd() / f"report-{sweep.id if sweep else named_for(runs)}"
    try:
        files = written(folder, args, found, known)
    except OSError as error:
        what = f"'{error.filename}': {error.strerror}" if error.filename else str(error)
        raise TargetError(f"the report cannot be written: {what}; say where with --output DIR, --csv FILE") from error
    if args.json:
        print(json.dumps({**known, "files": files}, indent=2))
    elif not args.quiet:
        print("\n".join([files["page"], *files["pictures"], *([files["csv"]] if files["csv"] else [])]))
    return 0


def runs_of(project: Path, names: Sequence[str]) -> list[Run]:
    """The runs that names of runs and sweeps stand for, each once."""
    found = [run for name in names for run in named(project, name)]
    return list({run.id: run for run in found}.values())


def entry(project: Path, run: Run) -> Entry:
    return Entry(run, history.load_plan(project, run.id), load_target(run.target, project).metrics(run))


def asked(args: argparse.Namespace, sweep: Sweep | None) -> Asked:
    mine = Asked(metric=args.metric or "", goal=args.goal or "")
    if sweep is None:
        return mine
    theirs = {"sweep_metric": sweep.metric or "", "sweep_goal": sweep.goal or ""}
    return replace(mine, title=sweep.id, parameters=sweep.swept, **theirs)


def named_for(runs: Sequence[Run]) -> str:
    first = min(run.id for run in runs)
    return first if len(runs) == 1 else f"{first}-and-{len(runs) - 1}-more"


def written(folder: Path, args: argparse.Namespace, found: Report, known: dict[str, Any]) -> dict[str, Any]:
    """Write what was asked for; returns the paths."""
    new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    if new and args.output is None:  # beside the code, where the next snapshot would take it along
        (folder / ".gitignore").write_text("*\n")
    (folder / PAGE).write_text(page.document(found, known), encoding="utf-8")
    if args.csv:
        args.csv.write_text(record.as_csv(known), encoding="utf-8", errors="backslashreplace")
    pictures_made = [str(path) for path in drawn(found, folder)]
    return {"page": str(folder / PAGE), "pictures": pictures_made, "csv": str(args.csv) if args.csv else None}


def drawn(found: Report, folder: Path) -> list[Path]:
    try:
        return pictures.draw(found, folder)
    except ModuleNotFoundError as error:
        print(f"no pictures without {error.name}; pip install 'amlrun[plots]'", file=sys.stderr)
        return []
