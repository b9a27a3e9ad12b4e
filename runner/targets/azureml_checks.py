"""What Azure would refuse, asked before anything is staged. Read-only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from runner.errors import Place, Problem
from runner.spec import Plan
from runner.targets.azureml_compute import find, missing
from runner.targets.azureml_workspace import connect

CONFIG = Place("configs/config.yaml", 1, 1)


def check(plans: Sequence[Plan]) -> list[Problem]:
    """Raises TargetError where the workspace cannot be asked at all."""
    problems = [problem for plan in plans for problem in [*secrets(plan), *inputs(plan), *resuming(plan)]]
    if problems:
        return list(dict.fromkeys(problems))
    clusters = {(plan.project, repr(plan.config["workspace"]), plan.config["compute"]["name"]): plan for plan in plans}
    return [problem for plan in clusters.values() for problem in cluster(plan)]


def secrets(plan: Plan) -> list[Problem]:
    return [
        Problem(CONFIG, "env.secrets", f"'{name}' would not reach Azure: this version sends no secrets", "leave it out")
        for name in plan.secrets
    ]


def inputs(plan: Plan) -> list[Problem]:
    hint = "let the script read the storage itself, or put small data beside the code"
    return [
        Problem(CONFIG, f"inputs.{name}", "inputs on Azure are not sent by this version", hint) for name in plan.inputs
    ]


def resuming(plan: Plan) -> list[Problem]:
    if plan.resumes is None:
        return []
    hint = f"'amlrun rerun {plan.resumes}' starts it from the beginning"
    return [Problem(CONFIG, "", "resuming on Azure is not part of this version", hint)]


def cluster(plan: Plan) -> list[Problem]:
    service = connect(Path(plan.project), plan.config["workspace"])
    asked: Mapping[str, Any] = plan.config["compute"]
    if asked.get("create") or find(service, str(asked["name"])) is not None:
        return []
    what, _, hint = str(missing(service, str(asked["name"]))).partition("; ")
    return [Problem(CONFIG, "compute.name", what, hint)]
