"""Models in the workspace's registry."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runner.spec import Plan
from runner.targets.azureml_files import run_of
from runner.targets.azureml_frameworks import framework_of
from runner.targets.azureml_workspace import Service, quiet, service_errors


def register(service: Service, plan: Plan) -> str:
    """The model that the plan asks for, from the run's outputs: 'NAME:VERSION'. A second call makes no second one."""
    from azureml.core.model import Model

    asked: Mapping[str, Any] = plan.config["register"]
    name, path = str(asked["name"]), "outputs/" + str(asked["path"]).removeprefix("outputs/")
    framework, version = framework_of(plan)
    with service_errors(f"model '{name}' cannot be registered"), quiet():
        made = next(iter(Model.list(service.workspace, name=name, run_id=plan.id)), None)
        if made is None:
            made = run_of(service, plan.id).register_model(
                model_name=name,
                model_path=path,
                tags={str(key): str(value) for key, value in (asked.get("tags") or {}).items()},
                properties={"amlrun.digest": plan.digests.get("config", ""), "amlrun.run": plan.id},
                description=asked.get("description"),
                model_framework=framework,
                model_framework_version=version,
            )
    return f"{made.name}:{made.version}"


def versions(service: Service, name: str | None = None) -> list[dict[str, Any]]:
    """Every version of every model, or of one: newest first."""
    from azureml.core.model import Model

    with service_errors("cannot ask for the models"), quiet():
        found = Model.list(service.workspace, name=name)
    return [
        {
            "name": model.name,
            "version": int(model.version),
            "run": model.run_id,
            "created": model.created_time.isoformat() if model.created_time else None,
            "tags": dict(model.tags or {}),
        }
        for model in sorted(found, key=lambda model: (model.name, -int(model.version)))
    ]


def download(service: Service, name: str, version: int | None, folder: Path) -> Path:
    """A model's files below `folder`: the newest version, or that one."""
    from azureml.core.model import Model

    folder.mkdir(parents=True, exist_ok=True)
    with service_errors(f"model '{name}' cannot be downloaded"), quiet():
        return Path(Model(service.workspace, name=name, version=version).download(str(folder), exist_ok=True))
