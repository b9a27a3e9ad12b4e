"""What the verbs do with a sweep: list, show, watch, logs, download, and resume, for all of its runs at once."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from runner import board, describe, history, standing
from runner.carrying import is_carried, last_words, read_stopped
from runner.cost import over_limit
from runner.errors import ConfigError, RunFailedError, StoppedError, TargetError
from runner.follow_sweep import Members, follow_sweep
from runner.spec import Plan, Run, State
from runner.standing import Standing
from runner.sweeps import Sweep, repeated, whole
from runner.targets import load_target
from runner.verbs import ending
from runner.verbs.ending import failure, refreshed, stop

# So many different causes are told at the end of a sweep.
MOST_CAUSES = 5


def show(project: Path, sweep: Sweep, args: argparse.Namespace) -> int:
    found = stands(project, sweep)
    print(json.dumps(standing.as_json(found), indent=2) if args.json else board.text(found))
    return 0


def listed(project: Path) -> list[dict[str, Any]]:
    """All sweeps, newest first, as `list --sweeps --json` has them."""
    rows, known = [], set(history.run_ids(project))
    for sweep in history.list_sweeps(project):
        if not known.intersection(sweep.runs):
            continue
        found = standing.as_json(stands(project, sweep))
        kept = ("id", "name", "created", "overrides", "counts", "metric", "best", "cost_usd")
        rows.append({key: found[key] for key in kept})
    return rows


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """`list --sweeps` for people."""
    lines = []
    for row in rows:
        counts = ", ".join(f"{count} {state}" for state, count in row["counts"].items())
        best = f"best {row['metric']} {row['best']['value']:.4g}" if row["best"] else ""
        lines.append((row["id"], "  ".join(filter(None, (describe.local_time(row["created"]), counts, best)))))
    return describe.table(lines)


def stands(project: Path, sweep: Sweep) -> Standing:
    runs = refreshed(project, loaded(project, sweep))
    target = load_target(runs[0].target, project)
    rows = {run.id: target.metrics(run) for run in runs if run.state is not State.PLANNED}
    return standing.standing(sweep, plans_of(project, runs), runs, rows, datetime.now(timezone.utc))


def loaded(project: Path, sweep: Sweep) -> list[Run]:
    """The runs that are here still. Raises TargetError where all were removed."""
    known = set(history.run_ids(project))
    if not known.intersection(sweep.runs):
        raise TargetError(f"the runs of {sweep.id} were removed; rm '{history.sweep_file(project, sweep.id)}'")
    return [history.load_run(project, run_id) for run_id in sweep.runs if run_id in known]


def plans_of(project: Path, runs: Sequence[Run]) -> dict[str, Plan]:
    return {run.id: history.load_plan(project, run.id) for run in runs}


def follow(project: Path, sweep: Sweep, args: argparse.Namespace, *, ours: bool) -> int:
    """Watch to the end, then say how it went; raises RunFailedError. `ours`: Ctrl-C cancels what runs here."""
    stream = sys.stderr if args.json else sys.stdout
    runs = loaded(project, sweep)
    target = load_target(runs[0].target, project)
    shown = board.board(quiet=args.quiet, stream=stream)
    try:
        found = follow_sweep(target, members_of(project, sweep.id), shown)
    except KeyboardInterrupt:
        if ours and runs[0].target == "local":
            stop(target, runs)
            raise StoppedError(f"canceled {sweep.id}; 'amlrun resume {sweep.id}' goes on") from None
        hint = f"'amlrun watch {sweep.id}' goes on, 'amlrun cancel {sweep.id}' stops it"
        raise StoppedError(f"stopped following; {hint}") from None
    if args.json:
        return ending.conclude(target, [each.run for each in found.points], args, project)
    return conclude(project, found, args)


def members_of(project: Path, sweep_id: str) -> Callable[[], Members]:
    """What is asked again and again: which runs the sweep has now, and whether a process may send more."""
    runs: dict[str, Run] = {}
    plans: dict[str, Plan] = {}

    def look() -> Members:
        carried = is_carried(project, sweep_id)  # first: what it sends before it ends is seen below
        sweep = history.load_sweep(project, sweep_id)
        there = set(history.run_ids(project)).intersection(sweep.runs) - set(runs)
        new = [history.load_run(project, run_id) for run_id in there]
        runs.update({run.id: run for run in new})
        plans.update(plans_of(project, new))
        return Members(sweep, plans, [runs[run_id] for run_id in sweep.runs if run_id in runs], carried)

    return look


def conclude(project: Path, found: Standing, args: argparse.Namespace) -> int:
    if not args.quiet and not sys.stdout.isatty():  # the table has said it
        print(board.totals(found))
    runs = [each.run for each in found.points]
    if all(run.state is State.COMPLETED for run in runs):
        return 0
    said = [text for _, text in by_cause(project, runs)]
    more = [f"and {len(said) - MOST_CAUSES} more causes; 'amlrun show {found.sweep.id}'"] * (len(said) > MOST_CAUSES)
    left = sum(run.state is State.PLANNED for run in runs)
    hint = [f"{left} were not started; 'amlrun resume {found.sweep.id}' starts them"] * (left > 0)
    words = [last_words(project, found.sweep.id)] if left else []
    raise RunFailedError("\n".join(filter(None, [*said[:MOST_CAUSES], *more, *words, *hint])))


def by_cause(project: Path, runs: Sequence[Run]) -> list[tuple[list[Run], str]]:
    """The runs that failed or were canceled, equal causes together, with the words for the first of them."""
    causes: dict[str, list[Run]] = {}
    for run in runs:
        if run.state.final and run.state is not State.COMPLETED:
            causes.setdefault(run.failure.cause if run.failure else run.state.value, []).append(run)
    return [(same, f"{len(same)} of {len(runs)} runs: {failure(same[0], project)}") for same in causes.values()]


def download(project: Path, sweep: Sweep, args: argparse.Namespace) -> int:
    """The outputs of every run that has any, each in a folder of its own."""
    folder: Path = args.to or Path.cwd() / sweep.id
    written = []
    for run in refreshed(project, loaded(project, sweep)):
        if run.state is not State.PLANNED:
            written += load_target(run.target, project).fetch(run, folder / run.id)
    if args.json:
        print(json.dumps({"files": [str(path) for path in written]}, indent=2))
    elif not args.quiet:
        print(f"{len(written)} files in {folder}")
    return 0


def resumed(
    project: Path, sweep: Sweep, args: argparse.Namespace, again: Callable[[Plan, Run], Plan]
) -> tuple[Sweep, list[Plan]]:
    """The sweep with what is to be sent, stored. `again` makes a plan of a run that is repeated.

    Points that were not started are sent as they were planned; those that were canceled before they started, and
    with `--failed` all that failed or were canceled, in new runs. Raises ConfigError where that may cost too much.
    """
    with history.exclusively(history.sweep_file(project, sweep.id).with_suffix(history.LOCK)):
        sweep = history.load_sweep(project, sweep.id)
        runs = refreshed(project, loaded(project, sweep))
        plans = plans_of(project, runs)
        stopped = read_stopped(project, sweep.id)
        ended = [run for run in runs if run.id not in stopped and is_repeated(run, failed=args.failed)]
        new = {run.id: again(plans[run.id], run) for run in ended}
        waiting = [new.get(run.id, plans[run.id]) for run in runs if run.id in new or run.state is State.PLANNED]
        limit = args.max_cost if args.max_cost is not None else sweep.options.get("max_cost")
        undrawn = whole([plans[runs[0].id]])[len(sweep.runs) :]
        affordable(project, sweep, [*waiting, *undrawn], limit)
        sweep = repeated(sweep, {old: plan.id for old, plan in new.items()})
        history.store_together(project, list(new.values()), sweep)
    return sweep, waiting


def is_repeated(run: Run, *, failed: bool) -> bool:
    if run.state not in (State.CANCELED, State.FAILED):
        return False
    began = any(state == State.RUNNING.value for state, _ in run.phases)
    return failed or (run.state is State.CANCELED and not began)


def affordable(project: Path, sweep: Sweep, waiting: Sequence[Plan], limit: float | None) -> None:
    """Raises ConfigError if what the sweep has cost and what is to be sent may be more than `limit`."""
    if limit is None or not waiting:
        return
    spent = cost_so_far(project, sweep)
    if problems := over_limit(waiting, max(0.0, limit - spent)):
        raise ConfigError(problems)


def cost_so_far(project: Path, sweep: Sweep) -> float:
    """US dollars, of the runs that were repeated too."""
    known = set(history.run_ids(project))
    ids = [run_id for run_id in dict.fromkeys([*sweep.replaced, *sweep.runs]) if run_id in known]
    runs = [history.load_run(project, run_id) for run_id in ids]
    return standing.standing(sweep, plans_of(project, runs), runs, {}, datetime.now(timezone.utc)).cost or 0.0
