"""MLflow's models: logged ones, which are a run's, and its registry, which is the workspace's own."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from runner.emulator import artifacts, models, records
from runner.emulator.checking import count, needed, only_known, rows, shortened, text, whole_number
from runner.emulator.messages import Request, Route, ServiceError, bad_request, not_found, now
from runner.emulator.mlflow import API, as_pairs, asked_run, information, pairs, routes
from runner.emulator.mlflow_search import MOST, clauses
from runner.emulator.mlflow_times import milliseconds
from runner.emulator.service import Service

LOGGED = ("experiment_id", "name", "model_type", "source_run_id", "params", "tags")
STATUSES = ("LOGGED_MODEL_PENDING", "LOGGED_MODEL_READY", "LOGGED_MODEL_UPLOAD_FAILED")
VERSION = ("name", "source", "run_id", "tags", "run_link", "description", "model_id")
# Artifacts of a run as `information` writes them, and those that the plugin has uploaded from a folder.
OF_RUN = re.compile(r"azureml://.+/experiments/[^/]+/runs/([^/]+)/artifacts/(.+)")
UPLOADED = re.compile(r"azureml://artifacts/([^/]+)/([^/]+)/(.+)")


def create_logged(service: Service, request: Request) -> dict[str, Any]:
    """Its files go to the artifacts of the run that made it."""
    body = only_known(request.object(), LOGGED, "the body")
    run = asked_run(service, {"run_id": body.get("source_run_id")})
    if body.get("experiment_id") != run["experimentId"]:
        raise bad_request(f"run '{run['runId']}' is not in experiment '{shortened(body.get('experiment_id'))}'")
    identifier, moment = f"m-{uuid.uuid4().hex}", milliseconds(now())
    made = {
        "model_id": identifier,
        "experiment_id": run["experimentId"],
        "name": needed(body.get("name"), "name"),
        "creation_timestamp_ms": moment,
        "last_updated_timestamp_ms": moment,
        "artifact_uri": f"{information(service, run)['artifact_uri']}/models/{identifier}",
        "status": STATUSES[0],
        "model_type": text(body.get("model_type"), "model_type") or "",
        "source_run_id": run["runId"],
        "tags": as_pairs(pairs(body.get("tags"))),
        "params": as_pairs(pairs(body.get("params"))),
    }
    return {"model": logged_shown(service.store.put("logged model", "", identifier, made))}


def get_logged(service: Service, request: Request) -> dict[str, Any]:
    return {"model": logged_shown(require_logged(service, request.parameters["model"]))}


def require_logged(service: Service, identifier: str) -> dict[str, Any]:
    found = service.store.get("logged model", "", identifier)
    if found is None:
        raise not_found(f"logged model '{shortened(identifier)}' does not exist")
    return found


def finish_logged(service: Service, request: Request) -> dict[str, Any]:
    status = only_known(request.object(), ("model_id", "status"), "the body").get("status")
    if status not in STATUSES:
        raise bad_request(f"status '{shortened(status)}' is unknown; one of {', '.join(STATUSES)}")
    with service.store.transaction():
        found = require_logged(service, request.parameters["model"])
        changed = {**found, "status": status, "last_updated_timestamp_ms": milliseconds(now())}
        return {"model": logged_shown(service.store.put("logged model", "", found["model_id"], changed))}


def search_logged(service: Service, request: Request) -> dict[str, Any]:
    """Newest first, in one page. MLflow 3 asks before it lists or downloads any artifact."""
    fields = ("experiment_ids", "filter", "datasets", "max_results", "order_by", "page_token")
    body = only_known(request.object(), fields, "the body")
    wanted = rows(body.get("experiment_ids"), "experiment_ids")
    found = [item for item in service.store.all("logged model") if item["experiment_id"] in wanted]
    return {"models": [logged_shown(item) for item in chosen(found, body)]}


def chosen(items: list[dict[str, Any]], asked: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Of items as they are shown those that the filter of a search lets through, newest first."""
    tests = clauses(text(asked.get("filter"), "filter") or "")
    as_runs = [{"info": item, "data": {"metrics": [], "params": [], **item}} for item in reversed(items)]
    found = [item["info"] for item in as_runs if all(test(item) for test in tests)]
    return found[: count(asked.get("max_results"), "max_results", MOST)]


def logged_shown(found: Mapping[str, Any]) -> dict[str, Any]:
    about = {key: value for key, value in found.items() if key != "params"}
    return {"info": about, "data": {"params": found["params"], "metrics": []}}


def log_outputs(service: Service, request: Request) -> dict[str, Any]:
    """Which logged models a run has made, and at which step."""
    body = only_known(request.object(), ("run_id", "models"), "the body")
    with service.store.transaction():
        run = asked_run(service, body)
        for item in rows(body.get("models"), "models"):
            known = only_known(item, ("model_id", "step"), "a model")
            identifier = require_logged(service, needed(known.get("model_id"), "model_id"))["model_id"]
            made = {"model_id": identifier, "step": whole_number(known.get("step") or 0, "step", 0)}
            service.store.put("model output", run["runId"], identifier, made)
    return {}


def register(service: Service, request: Request) -> dict[str, Any]:
    """A name without versions yet. Raises ServiceError (400) where it is taken."""
    body = only_known(request.object(), ("name", "tags", "description", "deployment_job_id"), "the body")
    name, described = models.checked_name(body.get("name")), text(body.get("description"), "description")
    with service.store.transaction():
        if service.store.get("registered model", "", name) or models.versions(service, name):
            raise ServiceError(400, "RESOURCE_ALREADY_EXISTS", f"model '{name}' already exists")
        made = {"name": name, "description": described, "tags": as_pairs(pairs(body.get("tags"))), "created": now()}
        service.store.put("registered model", "", name, made)
    moment = milliseconds(made["created"])
    times = {"creation_timestamp": moment, "last_updated_timestamp": moment}
    return {"registered_model": {"name": name, **times, "description": described or "", "tags": made["tags"]}}


def create_version(service: Service, request: Request) -> dict[str, Any]:
    """What `Model.list` shows as well. The artifacts must be there."""
    body = only_known(request.object(), VERSION, "the body")
    name, source = models.checked_name(body.get("name")), needed(body.get("source"), "source")
    run_id = text(body.get("run_id"), "run_id") or None
    run = asked_run(service, {"run_id": run_id}) if run_id else None
    with service.store.transaction():
        if not (service.store.get("registered model", "", name) or models.versions(service, name)):
            raise not_found(f"model '{name}' does not exist; it is registered first")
        asset = {"name": name, "artifacts": [{"prefix": place(service, source)}], "runid": run_id}
        url = f"aml://asset/{models.kept_asset(service, asset)['id']}"
        told = {"framework": "Custom", "runId": run_id, "experimentName": run["experimentName"] if run else None}
        about = {"description": text(body.get("description"), "description"), "kvTags": pairs(body.get("tags"))}
        made = models.kept(service, {"name": name, "url": url, **told, **about, "properties": {"source": source}})
    return {"model_version": version_shown(made)}


def place(service: Service, source: str) -> str:
    """The artifacts that a version is made of, as the registry names them. Raises ServiceError (400, 404)."""
    if found := UPLOADED.fullmatch(source):
        return unquote("/".join(found.groups()))
    if found := OF_RUN.fullmatch(source):
        container = records.require_run(service, unquote(found[1]))["dataContainerId"]
        return f"{artifacts.RUNS}/{container}/{unquote(found[2])}"
    raise bad_request(f"'{shortened(source)}' names no artifacts of this workspace")


def version_shown(found: Mapping[str, Any]) -> dict[str, Any]:
    known = {
        "name": found["name"],
        "version": str(found["version"]),
        "creation_timestamp": milliseconds(found["createdTime"]),
        "last_updated_timestamp": milliseconds(found["modifiedTime"]),
        "current_stage": "None",
        "description": found["description"],
        "source": found["properties"].get("source") or found["url"],
        "run_id": found["runId"],
        "status": "READY",
        "tags": as_pairs(found["kvTags"]),
    }
    return {key: value for key, value in known.items() if value is not None}


def get_version(service: Service, request: Request) -> dict[str, Any]:
    name, version = (needed(request.query.get(key), key) for key in ("name", "version"))
    found = service.store.get("model", "", f"{name}:{version}")
    if found is None:
        raise not_found(f"model '{shortened(name)}' has no version '{shortened(version)}'")
    return {"model_version": version_shown(found)}


def search_versions(service: Service, request: Request) -> dict[str, Any]:
    """Newest first, in one page."""
    asked = only_known(request.query, ("filter", "max_results", "order_by", "page_token"), "the query")
    return {"model_versions": chosen([version_shown(item) for item in service.store.all("model")], asked)}


ONE = "logged-models/{model}"
ROUTES: tuple[Route, ...] = routes(
    API,
    ("POST", "logged-models/search", search_logged, "`MlflowClient.list_artifacts`, `.search_logged_models`"),
    ("POST", "logged-models", create_logged, "`mlflow.pyfunc.log_model`, `MlflowClient.create_logged_model`"),
    ("GET", ONE, get_logged, "`mlflow.get_logged_model`"),
    ("PATCH", ONE, finish_logged, "`mlflow.pyfunc.log_model`, `MlflowClient.finalize_logged_model`"),
    ("POST", "runs/outputs", log_outputs, "`mlflow.pyfunc.log_model`, `MlflowClient.log_outputs`"),
    ("POST", "registered-models/create", register, "`mlflow.register_model`"),
    ("POST", "model-versions/create", create_version, "`mlflow.register_model`"),
    ("GET", "model-versions/search", search_versions, "`MlflowClient.search_model_versions`"),
    ("GET", "model-versions/get", get_version, "`MlflowClient.get_model_version`"),
)
