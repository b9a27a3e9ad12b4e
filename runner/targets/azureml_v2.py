"""Azure Machine Learning through azure-ai-ml (SDK v2): the same plan as a v2 command job.

Source of names: azure-ai-ml 1.35, `command()`; per node everywhere, where v1's PyTorchConfiguration counts a total.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from runner.spec import Plan
from runner.targets.azureml import SECONDS_PER_MINUTE, AzureML, environment

DISTRIBUTION = {"none": None, "mpi": "mpi", "pytorch": "pytorch"}


def open_target(project: Path | None = None) -> AzureML:
    """The target of `workspace.sdk: v2`."""
    return AzureML(project, command_job)


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
    if len(plan.command) == 1:
        return plan.command[0]
    return shlex.join(plan.command or (plan.python, str(plan.script), *plan.arguments))
