"""run: submit, follow, collect."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from runner import collect, describe, history, pipeline
from runner.errors import ConfigError, Place, Problem, RunFailedError, StoppedError
from runner.follow import follow
from runner.lock import read_lock, unlocked
from runner.progress import reporter
from runner.project import find_project
from runner.spec import Run, State, Target
from runner.targets import load_target
from runner.verbs.composing import request_of, show_warnings

CANCEL_PATIENCE_SECONDS = 60


def run(args: argparse.Namespace) -> int:
    if args.locked is not None:
        return run_locked(args)
    request = request_of(args)
    planned = pipeline.planned(request)
    if not args.quiet:
        show_warnings(planned.warnings)
    return launch(pipeline.submitted(planned, request.project), args, request.project)


def run_locked(args: argparse.Namespace) -> int:
    """Exactly what the file says: its configuration, on its code, whatever YAML and code are now."""
    if args.overrides or args.multirun:
        raise ConfigError([Problem(Place(str(args.locked)), "", "a lock takes no overrides", "lock again with them")])
    project = find_project(args.project, Path.cwd())
    plans = unlocked(read_lock(args.locked), project)
    return launch(pipeline.resent(plans, project, args.max_cost), args, project)


def launch(runs: list[Run], args: argparse.Namespace, project: Path) -> int:
    """Say what was sent, then (unless detached) follow it to its end and print the results."""
    talk = sys.stderr if args.json else sys.stdout
    if not args.quiet:
        print("\n".join(line for item in runs for line in addresses(item)), file=talk, flush=True)
    if args.detach:
        if args.json:
            print(json.dumps({"runs": [item.as_json() for item in runs]}, indent=2))
        return 0
    target = load_target(runs[0].target, project)
    return conclude(target, attached(target, runs, args, project), args, project)


def addresses(run: Run) -> list[str]:
    """How amlrun names the run, and where a browser shows it."""
    return [run.url, *([f"page: {run.page}"] if run.page else [])]


def attached(target: Target, runs: list[Run], args: argparse.Namespace, project: Path) -> list[Run]:
    """Follow; Ctrl-C cancels what runs here."""
    stream = sys.stderr if args.json else sys.stdout
    try:
        hide = [value for item in runs for value in history.secret_values(project, item.id)]
        return follow(target, runs, reporter(len(runs), quiet=args.quiet, stream=stream), hide=hide)
    except KeyboardInterrupt:
        if runs[0].target != "local":
            name = runs[0].id
            hint = f"'amlrun watch {name}' goes on, 'amlrun cancel {name}' stops it"
            raise StoppedError(f"stopped following; {hint}") from None
        stop(target, runs)
        raise StoppedError(f"canceled {', '.join(item.id for item in runs)}") from None


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
