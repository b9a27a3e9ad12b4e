"""Azure Machine Learning through azureml-core (SDK v1): the plan in the SDK's own terms.

`request` is pure and needs no SDK, so a plan for Azure can be made and read anywhere. Sending is not part of this
version: `check` says so before anything is staged.

Source of names and defaults: azureml-core 1.61, `ScriptRunConfig`, `core/runconfig.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from runner.errors import Place, Problem, TargetError
from runner.spec import Layout, Log, Plan, Run

NOT_YET = "this version plans for Azure ML and does not send yet; compute=local runs the same experiment here"
SECONDS_PER_MINUTE = 60


def mpi(layout: Layout) -> dict[str, Any]:
    return {
        "class": "MpiConfiguration",
        "process_count_per_node": layout.processes_per_node,
        "node_count": layout.nodes,
    }


def pytorch(layout: Layout) -> dict[str, Any]:
    """`process_count` is a total over all nodes, unlike everywhere else here."""
    return {
        "class": "PyTorchConfiguration",
        "communication_backend": "Gloo" if layout.backend == "gloo" else "Nccl",
        "process_count": layout.world_size,
        "node_count": layout.nodes,
    }


DISTRIBUTED: Mapping[str, Callable[[Layout], dict[str, Any] | None]] = {
    "none": lambda _: None,
    "mpi": mpi,
    "pytorch": pytorch,
}


def script_run_config(plan: Plan) -> dict[str, Any]:
    """Arguments of workspace, compute, environment and ScriptRunConfig as the SDK v1 takes them."""
    minutes = plan.limits.get("max_minutes")
    return {
        "sdk": "azureml-core",
        "workspace": dict(plan.config["workspace"]),
        "experiment_name": plan.name,
        "run_id": plan.id,
        "compute_target": plan.config["compute"],
        "environment": environment(plan),
        "script_run_config": {
            "source_directory": f"snapshot:{plan.snapshot.digest}",
            "script": plan.script,
            "arguments": list(plan.arguments),
            "command": list(plan.command) or None,
            "max_run_duration_seconds": int(minutes * SECONDS_PER_MINUTE) if minutes else None,
            "environment_variables": dict(plan.environment),
        },
        "distributed_job_config": DISTRIBUTED[plan.layout.kind](plan.layout),
        "docker_runtime_config": {"use_docker": True, "shm_size": plan.config["env"].get("shm_size")},
        "inputs": dict(plan.inputs),
        "tags": dict(plan.tags),
    }


def environment(plan: Plan) -> dict[str, Any]:
    """The environment as asked, and in words what it will be; names of secrets only."""
    asked = {key: value for key, value in plan.config["env"].items() if key not in ("variables", "secrets")}
    return {**asked, "resolved": plan.resolved.get("env", ""), "secrets": list(plan.secrets)}


def refuse() -> NoReturn:
    raise TargetError(NOT_YET)


@dataclass(frozen=True, slots=True)
class AzureML:
    """The target of `compute.kind: amlcompute`. `translate` writes a plan in one SDK's terms."""

    project: Path | None = None
    translate: Callable[[Plan], dict[str, Any]] = script_run_config

    def request(self, plan: Plan) -> dict[str, Any]:
        return self.translate(plan)

    def check(self, plans: list[Plan]) -> list[Problem]:
        return [Problem(Place("configs/config.yaml", 1, 1), "compute", NOT_YET)]

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
