"""What Azure would refuse, asked before anything is staged. Read-only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from runner.answers import Answer, Standing
from runner.errors import Place, Problem, TargetError
from runner.spec import Plan
from runner.targets import azureml_inputs
from runner.targets.azureml_online import answers
from runner.targets.azureml_workspace import say

CONFIG = Place("configs/config.yaml", 1, 1)
KEYS = {
    "workspace": "workspace",
    "cluster": "compute.name",
    "quota": "compute.vm_size",
    "environment": "env.name",
    "inputs": "inputs",
}
# Who may not read the quota may still run: Azure itself refuses what exceeds it.
NOT_DECISIVE = ("quota",)


def check(plans: Sequence[Plan]) -> list[Problem]:
    """Raises TargetError where the service does not answer what has to be known."""
    problems = [problem for plan in plans for problem in [*secrets(plan), *azureml_inputs.check(plan), *resuming(plan)]]
    if problems:
        return list(dict.fromkeys(problems))
    asked = {(item.about, str(item)): item for found in answers(plans) for item in found}
    return list(refusals(asked.values()))


def secrets(plan: Plan) -> list[Problem]:
    return [
        Problem(CONFIG, "env.secrets", f"'{name}' would not reach Azure: this version sends no secrets", "leave it out")
        for name in plan.secrets
    ]


def resuming(plan: Plan) -> list[Problem]:
    if plan.resumes is None:
        return []
    hint = f"'amlrun rerun {plan.resumes}' starts it from the beginning"
    return [Problem(CONFIG, "", "resuming on Azure is not part of this version", hint)]


def refusals(asked: Iterable[Answer]) -> Iterator[Problem]:
    """What is missing. What else should be known about the quota is said; what is decided about a cluster is said when
    it is done."""
    found = list(asked)
    errors = [item for item in found if item.standing is Standing.ERROR]
    if decisive := [str(item) for item in errors if item.about not in NOT_DECISIVE]:
        raise TargetError("\n".join(decisive))
    for item in found:
        if item.standing is Standing.MISSING:
            yield Problem(CONFIG, KEYS[item.about], item.text, item.hint)
        elif item.about in NOT_DECISIVE and item.standing in (Standing.ERROR, Standing.WARNING):
            say(f"{item.about}: {item}")
