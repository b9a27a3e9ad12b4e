"""Plans frozen in a file for git, and sent from it: exactly that configuration on exactly that code.

A lock holds the plans without what belongs to one machine or moment (project folder, interpreter, run id), and the
digests of the code with the generated files, so that the code can be found again from a commit.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from runner import history
from runner.code_source import CodeRef, restore
from runner.errors import ConfigError, Place, Problem
from runner.facts import draw, now
from runner.plan import renewed
from runner.snapshot import Snapshot, check, stage
from runner.spec import Plan
from runner.sweeps import grows
from runner.targets import addressed

FORMAT = "amlrun-lock/1"


@dataclass(frozen=True, slots=True)
class Lock:
    """The plans of a lock file and the code that they need."""

    plans: tuple[Plan, ...]
    code: tuple[CodeRef, ...]


def write_lock(path: Path, project: Path, plans: Sequence[Plan], snapshots: Sequence[Snapshot]) -> None:
    """Freeze `plans`; their code is staged, so that it can be sent even after the files have changed."""
    if grows(plans):
        raise first_point_only(path)
    for snapshot in snapshots:
        check(snapshot)
        history.hide_from_git(project)
        stage(snapshot, history.snapshot_dir(project, snapshot.digest))
    code = [CodeRef.of(snapshot, project) for snapshot in snapshots]
    data = {
        "format": FORMAT,
        "plans": [portable(plan) for plan in plans],
        "code": [ref.as_json() for ref in code],
    }
    history.write_json(path.resolve(), data)


def read_lock(path: Path) -> Lock:
    """Raises ConfigError, with the file's name, for what is no lock."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["format"] != FORMAT:
            raise ValueError(f"its format is '{data['format']}', not '{FORMAT}'")
        plans = tuple(Plan.from_json(item) for item in data["plans"])
        return Lock(plans, tuple(CodeRef(**item) for item in data["code"]))
    except FileNotFoundError:
        raise wrong(path, "not found", "write one with 'amlrun plan ... --lock FILE'") from None
    except json.JSONDecodeError as error:
        raise wrong(path, f"not JSON: {error.msg}", "restore it from git", error.lineno, error.colno) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"'{error.args[0]}' is missing" if isinstance(error, KeyError) else str(error)
        raise wrong(path, f"not a lock: {reason}", "write one with 'amlrun plan ... --lock FILE'") from None


def unlocked(lock: Lock, project: Path) -> list[Plan]:
    """The lock's plans with new ids, their code staged. Raises SnapshotError where the code is nowhere to be found."""
    commits = {plan.snapshot.digest: plan.git for plan in lock.plans}
    for ref in lock.code:
        restore(ref, project, commits.get(ref.digest))
    return [again(plan, project) for plan in lock.plans]


def again(plan: Plan, project: Path, resumes: str | None = None) -> Plan:
    """The plan with a new id, to be sent from here; `resumes` is the run whose outputs it starts from."""
    new = renewed(plan, project, sys.executable, now(), draw())
    return addressed(replace(new, resumes=resumes), project)


def first_point_only(path: Path) -> ConfigError:
    """A sweep that draws points from results has no plans that could be frozen."""
    what = "a sweep that draws points while it runs cannot be locked"
    return wrong(path, what, "lock a run or a sweep of sampler grid or random")


def portable(plan: Plan) -> dict[str, Any]:
    """The plan without what belongs to this machine."""
    python = "python" if plan.target == "local" else plan.python
    resolved = {key: value for key, value in plan.resolved.items() if key != "env" or plan.target != "local"}
    return replace(plan, project=".", python=python, resolved=resolved, request={}, workspace="").as_json()


def wrong(path: Path, what: str, hint: str, line: int | None = None, column: int | None = None) -> ConfigError:
    return ConfigError([Problem(Place(str(path), line, column), "", what, hint)])
