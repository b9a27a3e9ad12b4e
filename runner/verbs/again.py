"""rerun, resume: runs made from earlier runs."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from runner import history, pipeline
from runner.carrying import alone, uncancel
from runner.code_source import CodeRef, keep, restore
from runner.errors import SnapshotError, TargetError
from runner.lock import again
from runner.plan import generated_files
from runner.project import find_project
from runner.spec import Plan, Run, State
from runner.sweeps import Sweep, without_sweep
from runner.validate import make_code
from runner.verbs import adapting, sweeping
from runner.verbs.ending import refreshed, show_warnings
from runner.verbs.remote import TARGET, find_run, remote
from runner.verbs.running import launch, send_sweep


def rerun(args: argparse.Namespace) -> int:
    """The identical plan under a new id; with overrides, a new plan from that run's overrides and these."""
    project = find_project(args.project, Path.cwd())
    old = history.load_plan(project, find_run(project, args.run).id)
    if not args.overrides:
        find_code(old, project)
        return launch(pipeline.resent([again(without_sweep(old), project)], project, args.max_cost), args, project)
    request = pipeline.Request(project, (*old.overrides, *args.overrides), max_cost=args.max_cost)
    planned = pipeline.planned(request)
    if not args.quiet:
        show_warnings(planned.warnings)
    return launch(pipeline.submitted(planned, project), args, project)


def resume(args: argparse.Namespace) -> int:
    """The same plan again, starting from what the run had written (its checkpoints)."""
    project = find_project(args.project, Path.cwd())
    if sweep := history.find_sweep(project, args.run):
        return resume_sweep(project, sweep, args)
    (run,) = refreshed(project, [find_run(project, args.run)])
    if run.state is State.COMPLETED:
        raise TargetError(f"{run.id} is completed, there is nothing to finish; 'amlrun rerun {run.id}' runs it again")
    plan = history.load_plan(project, run.id)
    if run.state is State.PLANNED:
        find_code(plan, project)
        return launch(pipeline.resent([plan], project, args.max_cost), args, project)
    if not run.state.final:
        raise TargetError(f"{run.id} is still {run.state.value}; 'amlrun watch {run.id}' follows it")
    find_code(plan, project)
    return launch(pipeline.resent([again(without_sweep(plan), project, run.id)], project, args.max_cost), args, project)


def resume_sweep(project: Path, sweep: Sweep, args: argparse.Namespace) -> int:
    """Send what was not sent, repeat what is to be repeated, and follow all of it."""
    if adapting.decides(project, sweep):
        with alone(project, sweep.id) as lock:
            sweep, _ = to_send(project, sweep, args)
            find_code(adapting.first_plan(project, sweep), project)
            return adapting.go_on(project, sweep, args, lock)
    if adapting.holds(project, sweep):
        with alone(project, sweep.id) as lock:
            sweep, waiting = to_send(project, sweep, args)
            sent = adapting.hand_over(project, sweep, lock)
        return send_sweep(lambda: sent, sweep, args, project) if waiting else nothing_left(project, sweep, args)
    sweep, waiting = to_send(project, sweep, args)
    if not waiting:
        return nothing_left(project, sweep, args)
    return send_sweep(lambda: pipeline.resent(waiting, project, None), sweep, args, project)


def to_send(project: Path, sweep: Sweep, args: argparse.Namespace) -> tuple[Sweep, list[Plan]]:
    """The sweep, not canceled any more, and the plans of it that are to be sent, their code staged."""
    sweep, waiting = sweeping.resumed(project, sweep, args, lambda plan, run: repeat(plan, run, project))
    for plan in {plan.snapshot.digest: plan for plan in waiting}.values():
        find_code(plan, project)
    uncancel(project, sweep.id)
    return sweep, waiting


def nothing_left(project: Path, sweep: Sweep, args: argparse.Namespace) -> int:
    hint = "" if args.failed else "; --failed repeats what failed or was canceled"
    print(f"nothing of {sweep.id} is left to send{hint}", file=sys.stderr)
    return 0 if args.detach else sweeping.follow(project, sweep, args, ours=False)


def repeat(plan: Plan, run: Run, project: Path) -> Plan:
    """Here from what the run had written, as `resume RUN`; on Azure from the start."""
    began = any(state == State.RUNNING.value for state, _ in run.phases)
    return again(plan, project, run.id if began and plan.target == "local" else None)


def find_code(plan: Plan, project: Path) -> None:
    """Stage the plan's code again where it was cleaned away, or sent from another machine."""
    if not plan.digests:
        raise TargetError(f"{plan.id} was not submitted by amlrun; it can be looked at, not run again")
    code = make_code(plan.config["code"], project)
    ref = CodeRef(plan.snapshot.digest, str(plan.config["code"].get("root", ".")), generated_files(code, project))
    try:
        restore(ref, project, plan.git)
    except SnapshotError:
        if plan.target != TARGET:
            raise
        fetch_code(plan, project)


def fetch_code(plan: Plan, project: Path) -> None:
    """The service keeps what was submitted."""
    with tempfile.TemporaryDirectory(prefix="amlrun-") as folder:
        tree = Path(folder, "code")
        remote(project).code(history.load_run(project, plan.id), tree)
        keep(tree, plan.snapshot, project)
