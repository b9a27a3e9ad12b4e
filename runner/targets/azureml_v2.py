"""Azure Machine Learning through azure-ai-ml (SDK v2): the same plan as a v2 command job.

Source of names: azure-ai-ml 1.35, `command()`; per node everywhere, where v1's PyTorchConfiguration counts a total.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from runner.errors import Place, Problem, TargetError
from runner.spec import Log, Plan, Run
from runner.targets.azureml import SECONDS_PER_MINUTE, environment

NOT_YET = "this version plans for the SDK v2 and does not send through it yet; workspace.sdk=v1 sends the same plan"
DISTRIBUTION = {"none": None, "mpi": "mpi", "pytorch": "pytorch"}


@dataclass(frozen=True, slots=True)
class AzureMLv2:
    """The target of `workspace.sdk: v2`: plans, and does not send."""

    project: Path | None = None

    def request(self, plan: Plan) -> dict[str, Any]:
        return command_job(plan)

    def check(self, plans: list[Plan]) -> list[Problem]:
        return [Problem(Place("configs/config.yaml", 1, 1), "workspace.sdk", NOT_YET)]

    def submit(self, plans: list[Plan]) -> list[Run]:
        refuse()

    def states(self, runs: list[Run]) -> list[Run]:
        refuse()

    def logs(self, run: Run) -> list[Log]:
        refuse()

    def metrics(self, run: Run) -> list[dict[str, Any]]:
        refuse()

    def cancel(self, run: Run) -> None:
        refuse()

    def fetch(self, run: Run, destination: Path) -> list[Path]:
        refuse()


def refuse() -> NoReturn:
    raise TargetError(NOT_YET)


def command_job(plan: Plan) -> dict[str, Any]:
    """Arguments of `azure.ai.ml.command`."""
    minutes = plan.limits.get("max_minutes")
    kind = DISTRIBUTION[plan.layout.kind]
    distribution = {"type": kind, "process_count_per_instance": plan.layout.processes_per_node} if kind else None
    return {
        "sdk": "azure-ai-ml",
        "workspace": dict(plan.config["workspace"]),
        "name": plan.id,
        "experiment_name": plan.name,
        "compute": plan.config["compute"],
        "environment": environment(plan),
        "code": f"snapshot:{plan.snapshot.digest}",
        "command": command_line(plan),
        "environment_variables": dict(plan.environment),
        "distribution": distribution,
        "resources": {"instance_count": plan.layout.nodes, "shm_size": plan.config["env"].get("shm_size")},
        "limits": {"timeout": int(minutes * SECONDS_PER_MINUTE)} if minutes else None,
        "inputs": dict(plan.inputs),
        "tags": dict(plan.tags),
    }


def command_line(plan: Plan) -> str:
    """The one string a v2 job takes; a bash line goes as it is, words are quoted."""
    return plan.shell or shlex.join(plan.command or (plan.python, str(plan.script), *plan.arguments))
