"""clean: remove what is no longer needed. Never a run that has not ended."""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence, Set
from datetime import datetime, timedelta, timezone
from pathlib import Path

from runner import history
from runner.errors import TargetError
from runner.project import find_project
from runner.snapshot import megabytes
from runner.spec import Run
from runner.verbs.ending import refreshed
from runner.verbs.past import check_state, named


def clean(args: argparse.Namespace) -> int:
    """Without a choice of runs: code that no run refers to, and leftovers of ended runs."""
    project = find_project(args.project, Path.cwd())
    runs = refreshed(project, history.list_runs(project)[0])
    chosen = choose(project, runs, args)
    kept = [run for run in runs if run not in chosen]
    doomed = [history.files(project, run.id).root for run in chosen]
    doomed += unused_code(project, kept)
    doomed += [history.files(project, run.id).work for run in kept if run.state.final]
    doomed += empty_sweeps(project, {run.id for run in kept})
    doomed = [path for path in doomed if path.exists()]
    sizes = {path: size_of(path) for path in doomed}
    if not args.dry_run:
        for path in doomed:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    report(project, sizes, args)
    return 0


def choose(project: Path, runs: Sequence[Run], args: argparse.Namespace) -> list[Run]:
    """The runs to remove: named ones, or ended ones by age and state."""
    if args.runs:
        found = {run.id: run for name in args.runs for run in named(project, name)}
        asked = refreshed(project, list(found.values()))
        going_on = [run.id for run in asked if not run.state.final]
        if going_on:
            raise TargetError(f"{', '.join(going_on)}: not ended; 'amlrun cancel {going_on[0]}' stops it")
        return asked
    if args.state is None and args.older_than is None:
        return []
    if args.state:
        check_state(args.state)
    before = datetime.now(timezone.utc) - timedelta(days=args.older_than or 0)
    ended = [run for run in runs if run.state.final and args.state in (None, run.state.value)]
    return [run for run in ended if datetime.fromisoformat(run.ended or run.created) <= before]


def unused_code(project: Path, kept: Sequence[Run]) -> list[Path]:
    """Staged code that none of the kept runs was made of."""
    used = {history.load_plan(project, run.id).snapshot.digest for run in kept}
    folder = history.snapshot_index(project).parent
    return [path for path in sorted(folder.glob("*")) if path.is_dir() and path.name not in used]


def empty_sweeps(project: Path, kept: Set[str]) -> list[Path]:
    """What is kept of sweeps that have no run any more."""
    # One that decides while it runs may have none yet.
    begun = [sweep for sweep in history.list_sweeps(project) if sweep.runs]
    gone = [sweep.id for sweep in begun if kept.isdisjoint((*sweep.runs, *sweep.replaced))]
    return [place(project, sweep_id) for sweep_id in gone for place in (history.sweep_file, history.sweep_dir)]


def size_of(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(file.lstat().st_size for file in path.rglob("*") if file.is_file() and not file.is_symlink())


def report(project: Path, sizes: dict[Path, int], args: argparse.Namespace) -> None:
    names = {path.relative_to(project).as_posix(): size for path, size in sizes.items()}
    if args.json:
        rows = [{"path": name, "bytes": size} for name, size in names.items()]
        print(json.dumps({"removed": [] if args.dry_run else rows, "would_remove": rows if args.dry_run else []}))
    elif not args.quiet:
        for name, size in names.items():
            print(f"{'would remove' if args.dry_run else 'removed'} {name} ({megabytes(size)})")
        print(f"{megabytes(sum(names.values()))} in {len(names)} folders" if names else "nothing to remove")
