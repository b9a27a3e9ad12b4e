"""The story: argv -> Config -> Job -> Plan -> Run -> files. The one place that knows the order.

`validate`, `plan` and `run` are the same line, stopped after two, three and six arrows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from runner import history, snapshot
from runner.configs import compose, expand
from runner.cost import over_limit, priced
from runner.errors import ConfigError, Problem, TargetError
from runner.facts import gather
from runner.gate import blockers
from runner.plan import plan
from runner.snapshot import Snapshot
from runner.spec import Config, Job, Plan, Run, Target
from runner.sweep import stored_points
from runner.sweeps import Sweep, whole
from runner.targets import addressed, load_target
from runner.validate import validate


@dataclass(frozen=True, slots=True)
class Request:
    """What the command line asks for. `multirun` takes the overrides as a sweep; `strict` makes warnings errors.

    `max_cost` is in US dollars, for all runs together.
    """

    project: Path
    overrides: Sequence[str] = ()
    multirun: bool = False
    strict: bool = False
    max_cost: float | None = None


@dataclass(frozen=True, slots=True)
class Planned:
    """The plans of a request, what travels with them, the warnings, and what stops them from being sent."""

    plans: list[Plan]
    snapshots: list[Snapshot]
    warnings: list[Problem]
    blockers: list[Problem]


def composed(request: Request) -> list[Config]:
    points = expand(request.project, request.overrides) if request.multirun else [list(request.overrides)]
    configs = compose(request.project, points)
    stored = [stored_points(config) for config in configs]
    if not any(stored):
        return configs
    inner = [each or [point] for each, point in zip(stored, points, strict=True)]
    return compose(request.project, list(chain.from_iterable(inner)))


def validated(request: Request) -> tuple[list[Job], list[Problem]]:
    return validate(composed(request), strict=request.strict)


def planned(request: Request) -> Planned:
    jobs, warnings = validated(request)
    facts = gather(request.project, jobs)
    plans = [addressed(item, request.project) for item in priced(plan(jobs, facts), request.project)]
    every = [job for job, each in zip(jobs, plans, strict=True) for _ in whole([each])]
    stops = [*blockers(jobs, plans, facts.snapshots), *over_limit(whole(plans), request.max_cost, every)]
    return Planned(plans, list(facts.snapshots.values()), warnings, stops)


def resent(plans: Sequence[Plan], project: Path, max_cost: float | None) -> list[Run]:
    """Plans that were made before, from a lock or the history; their code is staged."""
    return submitted(Planned(list(plans), [], [], over_limit(plans, max_cost)), project)


def submitted(request: Planned, project: Path, sweep: Sweep | None = None) -> list[Run]:
    """Check everything, stage the code, store every plan; only then send."""
    return accepted(request, project, sweep).submit(list(request.plans))


def accepted(request: Planned, project: Path, sweep: Sweep | None = None) -> Target:
    """The target, when everything is checked (it is asked whether it would take the plans), staged and stored."""
    if request.blockers:
        raise ConfigError(request.blockers)
    for taken in request.snapshots:
        snapshot.check(taken)
    target = load_target(request.plans[0].target, project)
    refused = [str(problem) for problem in target.check(list(request.plans)) if problem.severity == "error"]
    if refused:
        raise TargetError("\n".join(refused))
    for taken in request.snapshots:
        snapshot.stage(taken, history.snapshot_dir(project, taken.digest))
    history.store_together(project, request.plans, sweep)
    return target
