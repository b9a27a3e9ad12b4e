"""rerun, resume: runs made from earlier runs."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from runner import history, pipeline
from runner.code_source import CodeRef, keep, restore
from runner.errors import SnapshotError, TargetError
from runner.lock import again
from runner.plan import generated_files
from runner.project import find_project
from runner.spec import Plan, State
from runner.validate import make_code
from runner.verbs.composing import show_warnings
from runner.verbs.past import refreshed
from runner.verbs.remote import TARGET, find_run, remote
from runner.verbs.running import launch


def rerun(args: argparse.Namespace) -> int:
    """The identical plan under a new id; with overrides, a new plan from that run's overrides and these."""
    project = find_project(args.project, Path.cwd())
    old = history.load_plan(project, find_run(project, args.run).id)
    if not args.overrides:
        find_code(old, project)
        return launch(pipeline.resent([again(old, project)], project, args.max_cost), args, project)
    request = pipeline.Request(project, (*old.overrides, *args.overrides), max_cost=args.max_cost)
    planned = pipeline.planned(request)
    if not args.quiet:
        show_warnings(planned.warnings)
    return launch(pipeline.submitted(planned, project), args, project)


def resume(args: argparse.Namespace) -> int:
    """The same plan again, starting from what the run had written (its checkpoints)."""
    project = find_project(args.project, Path.cwd())
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
    return launch(pipeline.resent([again(plan, project, run.id)], project, args.max_cost), args, project)


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
