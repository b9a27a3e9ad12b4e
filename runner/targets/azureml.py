"""Azure Machine Learning through azureml-core (SDK v1): the plan in the SDK's own terms.

`request` is pure and needs no SDK, so a plan for Azure can be made and read anywhere; the SDK is imported by
the modules beside this one, on use.

Source of names and defaults: azureml-core 1.61, `ScriptRunConfig`, `core/runconfig.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner import history
from runner.errors import Problem
from runner.spec import RUN_ID_VARIABLE, Layout, Log, Plan, Run, State, digest
from runner.targets import azureml_inputs

if TYPE_CHECKING:
    from runner.targets.azureml_workspace import Service

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
            "arguments": azureml_inputs.arguments(plan),
            "command": azureml_inputs.line(plan),
            "max_run_duration_seconds": math.ceil(minutes * SECONDS_PER_MINUTE) if minutes else None,
            "environment_variables": variables(plan),
        },
        "distributed_job_config": DISTRIBUTED[plan.layout.kind](plan.layout),
        "docker_runtime_config": {"use_docker": True, "shm_size": plan.config["env"].get("shm_size")},
        "inputs": dict(plan.inputs),
        "tags": dict(plan.tags),
    }


def variables(plan: Plan) -> dict[str, str]:
    """What every rank finds in its environment, as in a run here."""
    ours = {"PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1", **azureml_inputs.variables(plan)}
    return {**ours, **plan.environment, RUN_ID_VARIABLE: plan.id}


def environment(plan: Plan) -> dict[str, Any]:
    """The environment as asked, and in words what it will be; names of secrets only."""
    asked = {key: value for key, value in plan.config["env"].items() if key not in ("variables", "secrets")}
    return {**asked, "resolved": plan.resolved.get("env", ""), "secrets": list(plan.secrets)}


@dataclass(frozen=True, slots=True)
class AzureML:
    """The target of `compute.kind: amlcompute` with `workspace.sdk: v1`, or with the emulator.

    `project` is the folder whose history holds the runs. The SDK is imported by what is imported in methods.
    """

    project: Path = field(default_factory=Path.cwd)

    def request(self, plan: Plan) -> dict[str, Any]:
        return script_run_config(plan)

    def check(self, plans: list[Plan]) -> list[Problem]:
        """What would be refused: what does not travel, and what the workspace does not have. Read-only."""
        from runner.targets.azureml_checks import check

        return check(plans)

    def submit(self, plans: list[Plan]) -> list[Run]:
        """Send the plans that nobody has sent; the others' runs are returned as they are."""
        from runner.targets.azureml_submit import Sending, submit

        history.require_code(plans)
        submit([Sending(service_of(plan), plan, self.request(plan)) for plan in plans])
        return [history.load_run(Path(plan.project), plan.id) for plan in plans]

    def states(self, runs: list[Run]) -> list[Run]:
        """One query for all runs of an experiment that have not ended; what has ended is collected here."""
        stored = [history.load_run(self.project, run.id) for run in runs]
        asked: dict[str, list[Run]] = {}
        for run in stored:
            if not run.state.final and run.state is not State.PLANNED:
                asked.setdefault(experiment_of(history.load_plan(self.project, run.id)), []).append(run)
        current = {run.id: run for run in stored}
        for together in asked.values():
            current |= {run.id: run for run in self.looked_at(together)}
        return [current[run.id] for run in stored]

    def looked_at(self, runs: list[Run]) -> list[Run]:
        """Runs of one experiment as the service says they are."""
        from runner.targets.azureml_end import concluded
        from runner.targets.azureml_states import moved, query

        plans = {run.id: history.load_plan(self.project, run.id) for run in runs}
        plan = next(iter(plans.values()))
        service, ids = service_of(plan), sorted(plans)
        records = service.paced(f"states {ids}", lambda: query(service, plan.name, ids))
        looked = []
        for run in runs:
            now = moved(run, records.get(run.id))
            if now.state.final:
                now = concluded(service, plans[run.id], now, records[run.id])
            if now != run:
                history.store_run(self.project, now)
            looked.append(now)
        return looked

    def logs(self, run: Run) -> list[Log]:
        """From the service; of an ended run, the copies that were made at its end."""
        from runner.targets.azureml_files import kept_logs, live_logs

        stored = history.load_run(self.project, run.id)
        if stored.state.final or stored.state is State.PLANNED:
            return kept_logs(history.files(self.project, run.id))
        return live_logs(self.service(run), run.id)

    def metrics(self, run: Run) -> list[dict[str, Any]]:
        """The script's metrics.jsonl, uploaded at its end; what it logs to the run itself, before that."""
        from runner.targets.azureml_files import logged_metrics
        from runner.targets.local import rows

        stored, files = history.load_run(self.project, run.id), history.files(self.project, run.id)
        if files.metrics.is_file():
            return rows(files.metrics.read_bytes())
        if stored.state is not State.RUNNING:
            return []
        return logged_metrics(self.service(run), run.id)

    def cancel(self, run: Run) -> None:
        from runner.targets.azureml_stop import cancel

        cancel(self.project, history.load_run(self.project, run.id), lambda: self.service(run))

    def fetch(self, run: Run, destination: Path) -> list[Path]:
        from runner.targets.azureml_files import fetch

        stored = history.load_run(self.project, run.id)
        files = history.files(self.project, run.id)
        return fetch(None if files.outputs.is_dir() else self.service(stored), run.id, files, destination)

    def register(self, run: Run, asked: Mapping[str, Any]) -> str:
        """Make a model of the run's outputs; one that this run has made already is the answer."""
        from runner.targets.azureml_models import register

        plan = history.load_plan(self.project, run.id)
        return register(service_of(plan), replace(plan, config={**plan.config, "register": dict(asked)}))

    def versions(self, workspace: Mapping[str, Any], name: str | None) -> list[dict[str, Any]]:
        from runner.targets.azureml_models import versions
        from runner.targets.azureml_workspace import connect

        return versions(connect(self.project, workspace), name)

    def download(self, workspace: Mapping[str, Any], name: str, version: int | None, folder: Path) -> Path:
        from runner.targets.azureml_models import download
        from runner.targets.azureml_workspace import connect

        return download(connect(self.project, workspace), name, version, folder)

    def adopt(self, settings: Mapping[str, Any], experiment: str, run_id: str) -> Run:
        """A run that only the service knows, from now on in the history."""
        from runner.targets.azureml_remote import adopt
        from runner.targets.azureml_workspace import connect

        return adopt(connect(self.project, settings), self.project, settings, experiment, run_id)

    def newest(self, settings: Mapping[str, Any], count: int, experiment: str | None) -> list[Run]:
        from runner.targets.azureml_remote import newest
        from runner.targets.azureml_workspace import connect

        return newest(connect(self.project, settings), count, experiment)

    def code(self, run: Run, folder: Path) -> None:
        from runner.targets.azureml_remote import code

        code(self.service(run), run.id, folder)

    def service(self, run: Run) -> Service:
        return service_of(history.load_plan(self.project, run.id))


def service_of(plan: Plan) -> Service:
    from runner.targets.azureml_workspace import connect

    return connect(Path(plan.project), plan.config["workspace"])


def experiment_of(plan: Plan) -> str:
    """Runs with the same answer can be asked for together."""
    return digest([plan.name, plan.config["workspace"]])
