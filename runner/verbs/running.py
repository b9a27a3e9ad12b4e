"""run: submit, follow, collect."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from runner import adaptive, history, pipeline
from runner.carrying import alone
from runner.cost import over_limit
from runner.errors import ConfigError, Place, Problem, StoppedError, TargetError
from runner.follow import follow
from runner.lock import first_point_only, read_lock, unlocked
from runner.pipeline import Planned, Request
from runner.progress import reporter
from runner.project import find_project
from runner.spec import Plan, Run, State, Target
from runner.sweeps import Sweep, grows, is_held, together
from runner.targets import load_target
from runner.verbs import adapting, sweeping
from runner.verbs.composing import request_of
from runner.verbs.ending import conclude, show_warnings, stop

FEW = 10


def run(args: argparse.Namespace) -> int:
    if args.locked is not None:
        return run_locked(args)
    request = request_of(args)
    planned = pipeline.planned(request)
    if not args.quiet:
        show_warnings(planned.warnings)
    if args.skip_done and not grows(planned.plans):
        planned = replace(planned, plans=not_done(planned.plans, request.project, args))
        if not planned.plans:
            return 0
    if adaptive.decides(planned.plans):
        return adapting.start(planned, request, args)
    options = {"stop_on_failure": args.stop_on_failure, "max_cost": args.max_cost}
    sweep, plans = together(planned.plans, request.overrides, options)
    planned = replace(planned, plans=plans)
    if sweep is None:
        return launch(pipeline.submitted(planned, request.project), args, request.project)
    return send_planned(planned, sweep, args, request.project)


def send_planned(planned: Planned, sweep: Sweep, args: argparse.Namespace, project: Path) -> int:
    """All at once, or as many as may run, and the rest by a process of its own."""
    if not is_held(sweep, planned.plans[0]):
        return send_sweep(lambda: pipeline.submitted(planned, project, sweep), sweep, args, project)

    def send() -> list[Run]:
        pipeline.accepted(planned, project, sweep)
        with alone(project, sweep.id) as lock:
            return adapting.hand_over(project, sweep, lock)

    return send_sweep(send, sweep, args, project)


def not_done(plans: list[Plan], project: Path, args: argparse.Namespace) -> list[Plan]:
    """The plans whose training no completed run of the history has done; says how many were."""
    done = trained(project)
    left = [plan for plan in plans if plan.digests.get("training") not in done]
    if len(left) < len(plans) and not args.quiet:
        what = f"{len(plans) - len(left)} of {len(plans)} are done already and left out (--skip-done)"
        print(what, file=sys.stderr if args.json else sys.stdout, flush=True)
    return left


def trained(project: Path) -> set[str]:
    """The training digests of all completed runs."""
    done = [run.id for run in history.list_runs(project)[0] if run.state is State.COMPLETED]
    return {digest for run_id in done if (digest := history.load_plan(project, run_id).digests.get("training"))}


def send_sweep(send: Callable[[], list[Run]], sweep: Sweep, args: argparse.Namespace, project: Path) -> int:
    """Send it, say how it is called, and (unless detached) follow it to its end."""
    try:
        sent = send()
    except TargetError as error:
        if history.sweep_file(project, sweep.id).exists():
            raise TargetError(f"{error}\nthe sweep is '{sweep.id}'; 'amlrun resume {sweep.id}' goes on") from error
        raise
    if not args.quiet:
        words = [f"{sweep.id}: {len(sent)} of {len(sweep.runs)} runs were sent now"]
        words += [line for item in sent[:FEW] for line in addresses(item)]
        words += [f"and {len(sent) - FEW} more"] * (len(sent) > FEW)
        words += [adapting.holding(sweep)] * adapting.holds(project, sweep)
        print("\n".join(words), file=sys.stderr if args.json else sys.stdout, flush=True)
    runs = sweeping.loaded(project, sweep)
    if args.detach:
        if args.json:
            print(json.dumps({"sweep": sweep.id, "runs": [item.as_json() for item in runs]}, indent=2))
        return 0
    return sweeping.follow(project, sweep, args, ours=True)


def run_locked(args: argparse.Namespace) -> int:
    """Exactly what the file says: its configuration, on its code, whatever YAML and code are now."""
    if args.overrides or args.multirun:
        raise ConfigError([Problem(Place(str(args.locked)), "", "a lock takes no overrides", "lock again with them")])
    project = find_project(args.project, Path.cwd())
    found = unlocked(read_lock(args.locked), project)
    planned = Planned(found, [], [], over_limit(found, args.max_cost))
    if grows(found):
        raise first_point_only(args.locked)
    if adaptive.decides(found):
        return adapting.start(planned, Request(project), args)
    options = {"stop_on_failure": args.stop_on_failure, "max_cost": args.max_cost}
    sweep, plans = together(found, (), options)
    if sweep is None:
        return launch(pipeline.submitted(planned, project), args, project)
    return send_planned(replace(planned, plans=plans), sweep, args, project)


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
