"""The story: argv -> Config -> Job -> Plan -> Run -> files. The one place that knows the order.

`validate`, `plan` and `run` are the same line, stopped after two, three and six arrows.
"""

from __future__ import annotations

import dataclasses
import secrets
import string
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from runner import history, snapshot
from runner.compose import compose, expand
from runner.errors import Problem, TargetError
from runner.git_state import git_state
from runner.plan import Facts, generated_files, plan, snapshot_key
from runner.processes import machine
from runner.snapshot import Snapshot
from runner.spec import Config, Job, Plan, Run
from runner.targets import load_target
from runner.validate import validate

ID_CHARACTERS = string.ascii_lowercase + string.digits


@dataclass(frozen=True, slots=True)
class Request:
    """What the command line asks for. `multirun` takes the overrides as a sweep; `strict` makes warnings errors."""

    project: Path
    overrides: Sequence[str] = ()
    multirun: bool = False
    strict: bool = False


@dataclass(frozen=True, slots=True)
class Planned:
    """The plans of a request, what travels with them, and the warnings."""

    plans: list[Plan]
    snapshots: list[Snapshot]
    warnings: list[Problem]


def composed(request: Request) -> list[Config]:
    points = expand(request.project, request.overrides) if request.multirun else [list(request.overrides)]
    return compose(request.project, points)


def validated(request: Request) -> tuple[list[Job], list[Problem]]:
    return validate(composed(request), strict=request.strict)


def planned(request: Request) -> Planned:
    jobs, warnings = validated(request)
    facts = gather_facts(request.project, jobs)
    plans = [
        dataclasses.replace(p, request=load_target(p.target, request.project).request(p)) for p in plan(jobs, facts)
    ]
    return Planned(plans, list(facts.snapshots.values()), warnings)


def submitted(request: Planned, project: Path) -> list[Run]:
    """Check everything, stage the code, store every plan, and only then send."""
    for taken in request.snapshots:
        snapshot.check(taken)
    target = load_target(request.plans[0].target, project)
    refused = [str(problem) for problem in target.check(request.plans) if problem.severity == "error"]
    if refused:
        raise TargetError("\n".join(refused))
    for taken in request.snapshots:
        snapshot.stage(taken, history.snapshot_dir(project, taken.digest))
    for item in request.plans:
        history.store_plan(project, item)
    return target.submit(request.plans)


def gather_facts(project: Path, jobs: Sequence[Job]) -> Facts:
    """The edge: machine, clock, chance, git, files."""
    history.hide_from_git(project)
    cache = history.snapshot_index(project)
    codes = {snapshot_key(job.code): job.code for job in jobs}
    taken = {key: snapshot.take(c.root, cache, generated_files(c, project)) for key, c in codes.items()}
    now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
    return Facts(machine(), sys.executable, now, draw, git_state(project), taken)


def draw() -> str:
    return "".join(secrets.choice(ID_CHARACTERS) for _ in range(8))
