"""validate, config, plan: nothing is sent."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path

from runner import describe, pipeline
from runner.errors import ConfigError, Problem
from runner.pipeline import Request
from runner.project import find_project


def request_of(args: argparse.Namespace) -> Request:
    """The pipeline's input for the arguments of a verb that composes."""
    project = find_project(args.project, Path.cwd())
    return Request(project, tuple(args.overrides), args.multirun, getattr(args, "strict", False))


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
    problems = [problem for item in configs for problem in item.problems]
    if any(problem.severity == "error" for problem in problems):
        raise ConfigError(list(dict.fromkeys(problems)))
    show_warnings(dict.fromkeys(problems))
    for number, item in enumerate(configs):
        if args.json:
            print(json.dumps(item.values, ensure_ascii=False))
        else:
            print("---\n" * (number > 0) + describe.annotated_yaml(item))
    return 0


def plan(args: argparse.Namespace) -> int:
    done = pipeline.planned(request_of(args))
    if args.json:
        snapshots = [snapshot.as_json() for snapshot in done.snapshots]
        plans = [item.as_json() for item in done.plans]
        print(json.dumps({"plans": plans, "snapshot": snapshots[0] if len(snapshots) == 1 else snapshots}, indent=2))
        return 0
    show_warnings(done.warnings)
    print("\n\n".join(describe.plan_text(item) for item in done.plans))
    for snapshot in done.snapshots:
        print("\n" + describe.snapshot_text(snapshot))
    return 0


def show_warnings(warnings: Iterable[Problem]) -> None:
    for problem in warnings:
        print(f"warning: {problem}", file=sys.stderr)
