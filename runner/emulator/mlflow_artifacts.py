"""A run's artifacts, asked for through the run: the form in which `azureml-mlflow` does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from runner.emulator import artifacts
from runner.emulator.checking import needed
from runner.emulator.messages import Request, Route, page
from runner.emulator.runs import IN_EXPERIMENT, found
from runner.emulator.service import ACCOUNT, BLOB_USER, Service

# azure-storage-blob, which this client uses, takes an address on loopback for one whose first part is the account,
# unless ".core." is somewhere before the path.
STORAGE_USER = BLOB_USER.replace(ACCOUNT, f"{ACCOUNT}.core", 1)


def in_container(service: Service, request: Request, path: str = "") -> Request:
    """The same request as the artifact service gets it."""
    container = found(service, request)["dataContainerId"]
    return replace(request, parameters={"origin": artifacts.RUNS, "container": container, "path": path})


def create_many(service: Service, request: Request) -> dict[str, Any]:
    answer = artifacts.create_many(service, in_container(service, request))
    contents = answer["artifactContentInformation"]
    return {**answer, "artifactContentInformation": {path: addressed(item) for path, item in contents.items()}}


def content(service: Service, request: Request) -> dict[str, Any]:
    path = needed(request.query.get("path"), "path")
    return addressed(artifacts.content(service, in_container(service, request, path)))


def addressed(item: dict[str, Any]) -> dict[str, Any]:
    return {**item, "contentUri": item["contentUri"].replace(f"//{BLOB_USER}@", f"//{STORAGE_USER}@", 1)}


def list_all(service: Service, request: Request) -> dict[str, Any]:
    """Everything below `path` (none: all of the run's)."""
    asked = in_container(service, request, request.query.get("path", ""))
    container, path = asked.parameters["container"], asked.parameters["path"]
    return page([artifacts.shown(item) for item in artifacts.listed(service, container, path)])


HERE = IN_EXPERIMENT[0] + "/artifacts"
ROUTES = (
    Route("POST", HERE + "/batch/metadata", create_many, "`mlflow.log_artifact`, `.log_text`, `.log_dict`"),
    Route("GET", HERE + "/contentinfo", content, "`mlflow.artifacts.download_artifacts`"),
    Route("GET", HERE, list_all, "`MlflowClient.list_artifacts`"),
)
