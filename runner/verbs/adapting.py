"""Sweeps that something stays alive for: begun by `run`, gone on with by `resume`, here or in their own process."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any, TextIO

from runner import adaptive, collect, history
from runner.adaptive import Outcome, policy_of
from runner.carrying import alone, inherited, log_of
from runner.errors import RunFailedError, RunnerError, StoppedError
from runner.pipeline import Planned, Request
from runner.progress import reporter
from runner.spec import Plan, Run, State
from runner.sweeps import Sweep, is_held, point
from runner.targets import load_target
from runner.verbs import sweeping
from runner.verbs.ending import failure, stop

# The process looks for modules where we found them: an installation, a checkout, or a mixture.
PROCESS = (
    "import sys; sys.path[:] = sys.argv.pop(1).split('\\n'); "
    "from runner.verbs.adapting import main; sys.exit(main(sys.argv[1:]))"
)


def decides(project: Path, sweep: Sweep) -> bool:
    """Whether the stored sweep is one that decides while it runs."""
    return adaptive.decides([first_plan(project, sweep)])


def holds(project: Path, sweep: Sweep) -> bool:
    """Whether it is one that a process of its own sends."""
    return not decides(project, sweep) and is_held(sweep, first_plan(project, sweep))


def first_plan(project: Path, sweep: Sweep) -> Plan:
    """Of the runs that are here still."""
    return history.load_plan(project, sweeping.loaded(project, sweep)[0].id)


def start(planned: Planned, request: Request, args: argparse.Namespace) -> int:
    options = {"max_cost": args.max_cost, "stop_on_failure": bool(getattr(args, "stop_on_failure", False))}
    sweep = adaptive.begin(planned, request, options)
    with alone(request.project, sweep.id) as lock:
        return go_on(request.project, sweep, args, lock)


def go_on(project: Path, sweep: Sweep, args: argparse.Namespace, lock: int) -> int:
    """Carry the sweep to its end, or leave that to a process of its own, which then has the lock."""
    stream = sys.stderr if args.json else sys.stdout
    if not args.quiet:
        print(announcement(sweep, detached=args.detach), file=stream, flush=True)
    if args.detach:
        log = detach(project, sweep, lock)
        print(json.dumps({"sweep": sweep.id, "log": str(log)}) if args.json else f"its log: {log}")
        return 0
    return conclude(project, sweep.id, attached(project, sweep, args, stream), args)


def hand_over(project: Path, sweep: Sweep, lock: int) -> list[Run]:
    """Send what may be sent now; a process of its own, which then has the lock, sends the rest. Raises TargetError."""
    sent = adaptive.sent_first(project, sweep.id)
    if not all(run.state.final for run in sweeping.loaded(project, sweep)):
        detach(project, sweep, lock)
    return sent


def holding(sweep: Sweep) -> str:
    """What that process is for."""
    at_once, stops = sweep.options.get("max_concurrent"), sweep.options.get("stop_on_failure")
    what = [f"at most {at_once} at once"] * (at_once is not None) + ["none after a failure"] * bool(stops)
    return f"{' and '.join(what)}: a process of its own sees to it; 'amlrun resume {sweep.id}' if that is killed"


def announcement(sweep: Sweep, *, detached: bool) -> str:
    asked = sweep.sweep or {}
    policy = policy_of(asked)
    what = ["draws points from results"] * (asked.get("sampler") == "bayesian")
    what += [f"stops runs by a {policy['kind']} policy"] if policy else []
    where = "in a process of its own" if detached else "as long as this command does (--detach: in its own process)"
    return f"{sweep.id}: it {' and '.join(what)}, {where}; 'amlrun resume {sweep.id}' goes on after an interruption"


def attached(project: Path, sweep: Sweep, args: argparse.Namespace, stream: TextIO) -> Outcome:
    """Ctrl-C cancels what runs here, as for any run; on Azure runs go on, and nobody decides about them."""

    def say(text: str) -> None:
        if not args.quiet:
            print(text, file=stream, flush=True)

    try:
        return adaptive.carry_on(project, sweep.id, reporter(2, quiet=args.quiet, stream=stream), say)
    except KeyboardInterrupt:
        runs = sweeping.loaded(project, history.load_sweep(project, sweep.id))
        target = load_target(runs[0].target, project)
        hint = f"'amlrun resume {sweep.id}' goes on"
        if runs[0].target != "local":
            raise StoppedError(f"stopped deciding, its runs go on; {hint}") from None
        stop(target, [run for run in runs if not run.state.final and run.state is not State.PLANNED])
        raise StoppedError(f"canceled the runs of {sweep.id}; {hint}") from None


def conclude(project: Path, sweep_id: str, outcome: Outcome, args: argparse.Namespace) -> int:
    """Show every run, the best first; raises RunFailedError where one failed or was not sent."""
    sweep = history.load_sweep(project, sweep_id)
    rows = ranked(project, sweep, outcome)
    if args.json:
        print(json.dumps({"sweep": sweep.id, "metric": sweep.metric, "goal": sweep.goal, "runs": rows}, indent=2))
    elif not args.quiet:
        print("\n".join(line(row, sweep) for row in rows))
    failed = [run for run in outcome.runs if run.state is not State.COMPLETED and run.id not in outcome.stopped]
    if failed:
        raise RunFailedError("\n".join(why(run, project, sweep) for run in failed))
    return 0


def why(run: Run, project: Path, sweep: Sweep) -> str:
    if run.state is State.PLANNED:
        return f"{run.id} was not sent; 'amlrun resume {sweep.id}' sends it"
    return failure(run, project)


def ranked(project: Path, sweep: Sweep, outcome: Outcome) -> list[dict[str, Any]]:
    rows = [
        {
            **collect.in_short(run),
            "value": outcome.best[run.id],
            "point": point(sweep, history.load_plan(project, run.id)),
            "stopped": outcome.stopped.get(run.id),
        }
        for run in outcome.runs
    ]
    sign = -1 if sweep.goal == "maximize" else 1
    return sorted(rows, key=lambda row: (row["value"] is None, sign * (row["value"] or 0)))


def line(row: dict[str, Any], sweep: Sweep) -> str:
    value = "-" if row["value"] is None else f"{row['value']:.6g}"
    values = " ".join(f"{key}={text}" for key, text in row["point"].items())
    state = "stopped early" if row["stopped"] else row["state"]
    return f"{row['id']}  {sweep.metric} {value}  {values}  {state}"


def detach(project: Path, sweep: Sweep, lock: int) -> Path:
    """Start the process that carries the sweep on, and give it the lock; returns its log."""
    log = log_of(project, sweep.id)
    os.set_inheritable(lock, True)
    path = "\n".join(entry or str(Path.cwd()) for entry in sys.path)
    # Not subprocess: nobody here will ever wait for this process.
    os.posix_spawn(
        sys.executable,
        [sys.executable, "-c", PROCESS, path, str(project), sweep.id, str(lock)],
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )
    return log


def main(arguments: list[str]) -> int:
    """What that process does: as `run` would, with its log in place of the terminal."""
    project, lock = Path(arguments[0]), inherited(arguments[2])
    os.chdir(project)
    args = argparse.Namespace(quiet=False, json=False, detach=False)
    try:
        sweep = history.load_sweep(project, arguments[1])
        return hold(project, sweep, args) if holds(project, sweep) else go_on(project, sweep, args, lock)
    except RunnerError as error:
        print(f"amlrun: {error}")
        return error.exit_code


def hold(project: Path, sweep: Sweep, args: argparse.Namespace) -> int:
    """To the end of a sweep that decides nothing; how it went says whoever follows it."""
    print(f"{sweep.id}: {holding(sweep)}", flush=True)
    outcome = attached(project, sweep, args, sys.stdout)
    print("\n".join(f"{run.id} {run.state.value}" for run in outcome.runs), flush=True)
    return 0
