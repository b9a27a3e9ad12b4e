"""validate, config, plan: nothing is sent."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from runner import cost, describe, history, json_text, pipeline
from runner.errors import ConfigError, without_errors
from runner.lock import write_lock
from runner.pipeline import Request
from runner.project import find_project
from runner.spec import Plan
from runner.sweeps import whole
from runner.verbs import asking
from runner.verbs.comparing import comparison
from runner.verbs.ending import show_warnings
from runner.verbs.remote import find_run


def request_of(args: argparse.Namespace) -> Request:
    """The pipeline's input for the arguments of a verb that composes."""
    project = find_project(args.project, Path.cwd())
    strict, max_cost = getattr(args, "strict", False), getattr(args, "max_cost", None)
    return Request(project, tuple(args.overrides), args.multirun, strict, max_cost)


def validate(args: argparse.Namespace) -> int:
    jobs, warnings = pipeline.validated(request_of(args))
    if args.json:
        print(json.dumps({"problems": [problem.as_json() for problem in warnings]}, indent=2))
    elif not args.quiet:
        show_warnings(warnings)
        print(f"{len(jobs)} configuration{'s' * (len(jobs) != 1)} valid")
    return 0


def config(args: argparse.Namespace) -> int:
    """`--json`: one composed, resolved configuration a line, in sweep order, equal to Hydra's own compose."""
    configs = pipeline.composed(request_of(args))
    show_warnings(without_errors(problem for item in configs for problem in item.problems))
    for number, item in enumerate(configs):
        if args.json:
            print(json.dumps(item.values, ensure_ascii=False))
        else:
            print("---\n" * (number > 0) + describe.annotated_yaml(item))
    return 0


def plan(args: argparse.Namespace) -> int:
    """Exit code 2 where `run` would refuse: the plan is shown all the same."""
    request = request_of(args)
    done = pipeline.planned(request)
    asked = asking.answers(done.plans) if args.online else []
    code = ConfigError.exit_code if done.blockers else asking.exit_code(asked)
    if args.lock is not None:
        write_lock(args.lock, request.project, done.plans, done.snapshots)
    if args.diff is not None:
        show_differences(request.project, args, done.plans)
        return code
    if args.json:
        snapshots = [snapshot.as_json() for snapshot in done.snapshots]
        rest = {
            "snapshot": snapshots[0] if len(snapshots) == 1 else snapshots,
            "cost": cost.total(whole(done.plans)),
            "problems": [problem.as_json() for problem in done.blockers],
            **({"online": asking.as_json(done.plans, asked)} if args.online else {}),
        }
        sys.stdout.writelines(json_text.document(asking.answered(done.plans, asked), rest))
        print()
        return code
    show_warnings(done.warnings)
    print("\n\n".join(asking.texts(done.plans, asked)))
    every = whole(done.plans)
    if len(every) > 1 and (line := cost.total_text(every)):
        print(f"\n{line}")
    for snapshot in done.snapshots:
        print("\n" + describe.snapshot_text(snapshot))
    for refused in [*done.blockers, *asking.refusals(asked)]:
        print(f"would be refused: {refused}", file=sys.stderr)
    return code


def show_differences(project: Path, args: argparse.Namespace, plans: Sequence[Plan]) -> None:
    """`plan --diff RUN`: what sets the first plan apart from that run."""
    old = history.load_plan(project, find_run(project, args.diff).id)
    print(comparison(project, old, plans[0], as_json=args.json))
