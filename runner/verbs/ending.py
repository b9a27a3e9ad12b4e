"""What verbs say at the end of runs, and how they stop them. Nothing here composes: `list` and `show` stay quick."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from runner import collect, describe, history
from runner.errors import Problem, RunFailedError
from runner.spec import Run, State, Target
from runner.targets import load_target

CANCEL_PATIENCE_SECONDS = 60


def stop(target: Target, runs: Sequence[Run]) -> list[Run]:
    """Ask every run to stop and wait until it has."""
    for item in runs:
        target.cancel(item)
    until = time.monotonic() + CANCEL_PATIENCE_SECONDS
    current = target.states(list(runs))
    while time.monotonic() < until and not all(item.state.final for item in current):
        time.sleep(0.1)
        current = target.states(current)
    return current


def refreshed(project: Path, runs: Sequence[Run]) -> list[Run]:
    """The runs as they are now: one query for each target that has any unfinished."""
    current = {run.id: run for run in runs}
    for name in {run.target for run in runs if not run.state.final and run.state is not State.PLANNED}:
        open_ones = [run for run in runs if run.target == name and not run.state.final]
        current |= {run.id: run for run in load_target(name, project).states(open_ones)}
    return [current[run.id] for run in runs]


def conclude(target: Target, ended: Sequence[Run], args: argparse.Namespace, project: Path) -> int:
    """Print what came out; raises RunFailedError where a run did not complete."""
    records = [collect.summary(project, item, target.metrics(item)) for item in ended]
    if args.json:
        print(json.dumps(records[0] if len(records) == 1 else {"runs": records}, indent=2))
    for item, record in zip(ended, records, strict=True):
        if item.state is State.COMPLETED and not args.json and not args.quiet:
            print(describe.result_text(item, record["metrics"], Path(record["outputs"])))
    failed = [item for item in ended if item.state is not State.COMPLETED]
    if failed:
        raise RunFailedError("\n".join(failure(item, project) for item in failed))
    return 0


def failure(run: Run, project: Path) -> str:
    return describe.failure_text(run, history.load_plan(project, run.id))


def show_warnings(warnings: Iterable[Problem]) -> None:
    for problem in warnings:
        print(f"warning: {problem}", file=sys.stderr)
