"""list, show, watch, logs, cancel, download: runs that were submitted before."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runner import carrying, collect, describe, history
from runner.errors import StoppedError, TargetError
from runner.follow import POLL_SECONDS, Tail, follow
from runner.progress import reporter
from runner.project import find_project
from runner.redact import redact
from runner.spec import Log, Run, State, Target
from runner.sweeps import Sweep
from runner.targets import load_target
from runner.verbs import sweep_logs, sweeping
from runner.verbs.ending import conclude, failure, refreshed, show_warnings, stop
from runner.verbs.remote import find_run, newest


def list_(args: argparse.Namespace) -> int:
    project = find_project(args.project, Path.cwd())
    if args.state:
        check_state(args.state)
    if args.overrides and not args.remote:
        raise TargetError(f"'{args.overrides[0]}' chooses the workspace of --remote; leave it out, or add --remote")
    if args.sweeps:
        return list_sweeps(project, args)
    if args.remote:
        rows = [listed(run) for run in newest(project, args) if args.state in (None, run.state.value)]
    else:
        runs, problems = history.list_runs(project)
        show_warnings(problems)
        current = [run for run in refreshed(project, runs) if args.state in (None, run.state.value)]
        rows = [{**listed(run), **kept(run, project)} for run in current[: args.count]]
    if args.json:
        print(json.dumps({"runs": rows}, indent=2))
    elif rows:
        print(describe.runs_table(rows))
    elif not args.quiet:
        print("no runs" + (f" in state {args.state}" if args.state else "; start one with 'amlrun run'"))
    return 0


def list_sweeps(project: Path, args: argparse.Namespace) -> int:
    rows = sweeping.listed(project)[: args.count]
    if args.json:
        print(json.dumps({"sweeps": rows}, indent=2))
    elif rows or not args.quiet:
        print(sweeping.table(rows) or "no sweeps; 'amlrun run -m key=a,b' makes one")
    return 0


def show(args: argparse.Namespace) -> int:
    if sweep := sweep_of(args):
        return sweeping.show(*sweep, args)
    project, target, run = find(args)
    record = collect.summary(project, run, target.metrics(run))
    print(json.dumps(record, indent=2) if args.json else describe.run_text(record))
    if run.failure is not None and not args.json:
        print("\n" + failure(run, project))
    return 0


def watch(args: argparse.Namespace) -> int:
    if sweep := sweep_of(args):
        return sweeping.follow(*sweep, args, ours=False)
    project, target, run = find(args)
    stream = sys.stderr if args.json else sys.stdout
    try:
        hide = history.secret_values(project, run.id)
        ended = follow(target, [run], reporter(1, quiet=args.quiet, stream=stream), hide=hide)
    except KeyboardInterrupt:
        raise StoppedError(f"stopped watching; the run goes on: 'amlrun cancel {run.id}' stops it") from None
    return conclude(target, ended, args, project)


def logs(args: argparse.Namespace) -> int:
    if sweep := sweep_of(args):
        return sweep_logs.logs(*sweep, args)
    project, target, run = find(args)
    hide = history.secret_values(project, run.id)
    chosen = choose(target, run, args.rank)
    if args.json:
        texts = [{"name": log.name, "rank": log.rank, "text": text_of(log, hide)} for log in chosen]
        print(json.dumps({"logs": texts}, indent=2))
    elif args.follow:
        follow_logs(target, run, args.rank, hide)
    else:
        print_logs(chosen, hide)
    return 0


def cancel(args: argparse.Namespace) -> int:
    project = find_project(args.project, Path.cwd())
    for name in args.runs:
        if sweep := history.find_sweep(project, name):
            carrying.cancel(project, sweep.id)  # before its runs are looked at: it may send more until then
    runs = refreshed(project, list({run.id: run for name in args.runs for run in named(project, name)}.values()))
    stopped: dict[str, Run] = {}
    for target in {run.target for run in runs}:
        under_way = [run for run in runs if run.target == target and not run.state.final]
        stopped |= {run.id: run for run in stop(load_target(target, project), under_way)}
    states = [stopped.get(run.id, run) for run in runs]
    if args.json:
        print(json.dumps({"runs": [run.as_json() for run in states]}, indent=2))
    elif not args.quiet:
        print("\n".join(f"{run.id} {run.state.value}" for run in states))
    return 0


def named(project: Path, name: str) -> list[Run]:
    """The run or the runs of the sweep that are called so."""
    sweep = history.find_sweep(project, name)
    return [find_run(project, name)] if sweep is None else sweeping.loaded(project, sweep)


def download(args: argparse.Namespace) -> int:
    if sweep := sweep_of(args):
        return sweeping.download(*sweep, args)
    _, target, run = find(args)
    destination: Path = args.to or Path.cwd() / run.id
    written = target.fetch(run, destination)
    if args.json:
        print(json.dumps({"files": [str(path) for path in written]}, indent=2))
    elif not args.quiet:
        print("\n".join(str(path) for path in written) or f"{run.id} has no outputs")
    return 0


def sweep_of(args: argparse.Namespace) -> tuple[Path, Sweep] | None:
    """The project and the sweep that is meant, None where a run is."""
    project = find_project(args.project, Path.cwd())
    sweep = history.find_sweep(project, args.run)
    return None if sweep is None else (project, sweep)


def find(args: argparse.Namespace) -> tuple[Path, Target, Run]:
    """The project, the target, and the run as it is now."""
    project = find_project(args.project, Path.cwd())
    run = find_run(project, args.run)
    target = load_target(run.target, project)
    return project, target, target.states([run])[0]


def listed(run: Run) -> dict[str, Any]:
    """A row of `list`; of a run that only the service knows, nothing is here."""
    cause = run.failure.cause if run.failure else None
    return {**collect.in_short(run), "metrics": {}, "cause": cause, "outputs": None}


def kept(run: Run, project: Path) -> dict[str, Any]:
    metrics = collect.last_values(load_target(run.target, project).metrics(run))
    return {"metrics": metrics, "outputs": str(history.files(project, run.id).outputs)}


def check_state(name: str) -> None:
    known = [state.value for state in State]
    if name not in known:
        raise TargetError(f"no state '{name}'; states: {', '.join(known)}")


def choose(target: Target, run: Run, rank: int | None) -> list[Log]:
    """All logs of ranks, or one rank's; where no rank has written anything, the launcher's."""
    found = target.logs(run)
    of_ranks = [log for log in found if log.rank is not None]
    if rank is None:
        return of_ranks or found
    chosen = [log for log in of_ranks if log.rank == rank]
    if not chosen:
        known = ", ".join(str(log.rank) for log in of_ranks) or "none yet"
        raise TargetError(f"{run.id} has no log of rank {rank}; ranks with a log: {known}")
    return chosen


def print_logs(chosen: Sequence[Log], hide: Sequence[str]) -> None:
    for number, log in enumerate(chosen):
        if len(chosen) > 1:
            print("\n" * (number > 0) + f"==> {log.name} <==", flush=True)
        sys.stdout.buffer.write(text_of(log, hide).encode("utf-8", "surrogateescape"))
        sys.stdout.buffer.flush()


def text_of(log: Log, hide: Sequence[str]) -> str:
    """The whole log without secrets; bytes that are no UTF-8 survive as surrogates."""
    return redact(log.read(0).decode("utf-8", "surrogateescape"), hide)


def follow_logs(target: Target, run: Run, rank: int | None, hide: Sequence[str]) -> None:
    """Print as they grow; with several ranks each line starts with its rank."""
    tails: dict[str, Tail] = {}
    while True:
        (run,) = target.states([run])
        found = [log for log in target.logs(run) if log.rank is not None and rank in (None, log.rank)]
        several = len(found) > 1 or len(tails) > 1
        for log in found:
            for line in new_lines(log, tails.setdefault(log.name, Tail(hide)), run.state.final):
                print(f"[rank {log.rank}] {line}" if several else line, flush=True)
        if run.state.final:
            return
        time.sleep(POLL_SECONDS)


def new_lines(log: Log, tail: Tail, final: bool) -> list[str]:
    return tail.take(log.read(tail.offset)) + (tail.finish() if final else [])
