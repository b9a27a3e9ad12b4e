"""MLflow's tracking API over the run history: a run of MLflow is a run of the workspace, its metrics are the run's.

The paths and bodies are those of MLflow 3's REST API as `azureml-mlflow` 1.62 sends them; models are in mlflow_models.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from runner.emulator import metrics, records
from runner.emulator.checking import needed, only_known, rows, text, whole_number
from runner.emulator.messages import Request, Response, Route, ServiceError, bad_request, not_found, now
from runner.emulator.mlflow_search import chosen
from runner.emulator.mlflow_times import from_milliseconds, milliseconds
from runner.emulator.runs import run_token
from runner.emulator.service import Service

API = "/mlflow/v2.0{ws}/api/2.0/mlflow/"
PREVIEW = "/mlflow/v2.0{ws}/api/2.0/preview/mlflow/"
PARENT = "mlflow.parentRunId"
STATES = {"Completed": "FINISHED", "Failed": "FAILED", "Canceled": "KILLED", "Running": "RUNNING"}
STATES |= {"Finalizing": "RUNNING", "CancelRequested": "RUNNING"}
WAITING = "SCHEDULED"
# What a client may set a run to.
STATUSES = {"RUNNING": "Running", "FINISHED": "Completed", "FAILED": "Failed", "KILLED": "Canceled"}
CODES = {400: "INVALID_PARAMETER_VALUE", 404: "RESOURCE_DOES_NOT_EXIST"}
NUMBERS = ("NaN", "Infinity", "-Infinity")
ASKED = ("run_id", "run_uuid")
METRIC = ("key", "value", "timestamp", "step")
PAIR = ("key", "value")


def variables(service: Service, run: Mapping[str, Any]) -> dict[str, str]:
    """What makes a plain `mlflow.log_metric` in a job log to the job's run."""
    return {
        "MLFLOW_TRACKING_URI": f"azureml://{service.host}/mlflow/v2.0{service.scope()}",
        "MLFLOW_TRACKING_TOKEN": run_token(service, run["runId"]),
        "MLFLOW_RUN_ID": run["runId"],
        "MLFLOW_EXPERIMENT_ID": run["experimentId"],
        "MLFLOW_EXPERIMENT_NAME": run["experimentName"],
    }


def create_experiment(service: Service, request: Request) -> dict[str, Any]:
    body = only_known(request.object(), ("name", "artifact_location", "tags"), "the body")
    name = needed(body.get("name"), "name")
    with service.store.transaction():
        if records.experiment(service, name) is not None:
            raise ServiceError(400, "RESOURCE_ALREADY_EXISTS", f"experiment '{name}' already exists")
        made = records.ensure_experiment(service, name)
        service.store.put("experiment", "", name, {**made, "tags": pairs(body.get("tags"))})
    return {"experiment_id": made["experimentId"]}


def experiment_by_name(service: Service, request: Request) -> dict[str, Any]:
    name = needed(request.query.get("experiment_name"), "experiment_name")
    return {"experiment": experiment_shown(service, records.require_experiment(service, {"experiment": name}))}


def experiment_by_id(service: Service, request: Request) -> dict[str, Any]:
    named = {"experiment_id": needed(request.query.get("experiment_id"), "experiment_id")}
    return {"experiment": experiment_shown(service, records.require_experiment(service, named))}


def experiment_shown(service: Service, known: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "experiment_id": known["experimentId"],
        "name": known["name"],
        "artifact_location": "",
        "lifecycle_stage": "deleted" if known["archivedTime"] else "active",
        "tags": as_pairs(known["tags"]),
    }


def create_run(service: Service, request: Request) -> dict[str, Any]:
    fields = ("experiment_id", "user_id", "run_name", "start_time", "tags")
    body = only_known(request.object(), fields, "the body")
    known = records.require_experiment(service, {"experiment_id": needed(body.get("experiment_id"), "experiment_id")})
    tags, name, began = pairs(body.get("tags")), text(body.get("run_name"), "run_name"), body.get("start_time")
    started = now() if began is None else from_milliseconds(whole_number(began, "start_time", 0))
    with service.store.transaction():
        fields_of_run = {"parentRunId": tags.get(PARENT), "tags": tags, "startTimeUtc": started}
        run = records.create_run(service, str(uuid.uuid4()), known["name"], fields_of_run)
        if name:
            records.change_run(service, run["runId"], displayName=name)
        run = records.set_status(service, run["runId"], "Running")
    return {"run": shown(service, run)}


def get_run(service: Service, request: Request) -> dict[str, Any]:
    return {"run": shown(service, asked_run(service, request.query))}


def update_run(service: Service, request: Request) -> dict[str, Any]:
    """A submitted run's end is its process's end, whatever is said here; so is the status of one that has ended."""
    body = only_known(request.object(), (*ASKED, "status", "end_time", "run_name"), "the body")
    run, status = asked_run(service, body), body.get("status")
    if status is not None and status not in STATUSES:
        raise bad_request(f"status '{status}' is unknown; one of {', '.join(STATUSES)}")
    with service.store.transaction():
        if name := text(body.get("run_name"), "run_name"):
            run = records.change_run(service, run["runId"], displayName=name)
        if status and run["runType"] != records.SCRIPT_RUN:
            run = records.set_status(service, run["runId"], STATUSES[status])
    return {"run_info": information(service, run)}


def search_runs(service: Service, request: Request) -> dict[str, Any]:
    """All that match, newest first unless asked otherwise, in one page."""
    fields = ("experiment_ids", "filter", "run_view_type", "max_results", "order_by", "page_token")
    body = only_known(request.object(), fields, "the body")
    wanted = rows(body.get("experiment_ids"), "experiment_ids")
    found = [run for known in wanted for run in service.store.having("run", "experimentid", str(known))]
    found.sort(key=lambda run: str(run["createdUtc"]))
    return {"runs": chosen([shown(service, run) for run in reversed(found)], body)}


def log_metric(service: Service, request: Request) -> dict[str, Any]:
    body = only_known(request.object(), (*ASKED, *METRIC), "the body")
    return logged(service, body, metrics=[{key: body.get(key) for key in METRIC}])


def log_parameter(service: Service, request: Request) -> dict[str, Any]:
    body = only_known(request.object(), (*ASKED, *PAIR), "the body")
    return logged(service, body, params=[{key: body.get(key) for key in PAIR}])


def set_tag(service: Service, request: Request) -> dict[str, Any]:
    body = only_known(request.object(), (*ASKED, *PAIR), "the body")
    return logged(service, body, tags=[{key: body.get(key) for key in PAIR}])


def delete_tag(service: Service, request: Request) -> dict[str, Any]:
    body = only_known(request.object(), (*ASKED, "key"), "the body")
    name = needed(body.get("key"), "key")
    with service.store.transaction():
        run = asked_run(service, body)
        if name not in run["tags"]:
            raise not_found(f"run '{run['runId']}' has no tag '{name}'")
        kept = {key: value for key, value in run["tags"].items() if key != name}
        records.change_run(service, run["runId"], tags=kept)
    return {}


def log_batch(service: Service, request: Request) -> dict[str, Any]:
    body = only_known(request.object(), (*ASKED, "metrics", "params", "tags"), "the body")
    return logged(service, body, **{key: rows(body.get(key), key) for key in ("metrics", "params", "tags")})


def log_batch_async(service: Service, request: Request) -> dict[str, Any]:
    """Written before the answer. Where no metric was sent there is nothing to ask about, which an empty id says."""
    log_batch(service, request)
    return {"batch_tracking_id": str(uuid.uuid4()) if request.object().get("metrics") else ""}


def data_status(service: Service, request: Request) -> dict[str, Any]:
    asked = only_known(request.query, (*ASKED, "batch_tracking_id"), "the query")
    asked_run(service, asked)
    needed(asked.get("batch_tracking_id"), "batch_tracking_id")
    return {"is_complete": True}


def logged(service: Service, body: Mapping[str, Any], **items: list[Any]) -> dict[str, Any]:
    """All of it or nothing."""
    with service.store.transaction():
        run = asked_run(service, body)
        for item in items.get("metrics", ()):
            metrics.write_one(service, run["runId"], as_metric(item, run["runId"]))
        for name, value in pairs(items.get("params")).items():
            set_parameter(service, run["runId"], name, value)
        if tags := pairs(items.get("tags")):
            records.change_run(service, run["runId"], tags={**run["tags"], **tags})
    return {}


def as_metric(item: Any, run: str) -> dict[str, Any]:
    """In the metric service's form: what MLflow logs and what `run.log` logs are one series."""
    known = only_known(item, (*METRIC, "run_id"), "a metric")
    if known.get("run_id") not in (None, run):
        raise bad_request(f"a metric of run '{known['run_id']}' cannot be logged to run '{run}'")
    name, value = needed(known.get("key"), "the key of a metric"), number(known.get("value"))
    moment = whole_number(known.get("timestamp"), "the timestamp of a metric", 0)
    step = whole_number(known.get("step") or 0, "the step of a metric", -(2**63))
    created = from_milliseconds(moment)
    # Sent twice after a lost answer it is one row: MLflow gives rows no id.
    key = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{name} {value} {moment} {step}"))
    row = {"metricId": key, "createdUtc": created, "step": step, "data": {name: value}}
    columns, properties = {name: "double"}, {"uxMetricType": "azureml.v1.scalar"}
    return {"name": name, "columns": columns, "properties": properties, "value": [row]}


def number(value: Any) -> float | str:
    """JSON has no words for what is no number; those that are sent come back."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        if math.isfinite(value):
            return float(value)
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if value in NUMBERS:
        return str(value)
    raise bad_request(f"the value of a metric is '{value}'; it must be a number")


def set_parameter(service: Service, run: str, name: str, value: str) -> None:
    """A parameter is said once."""
    found = service.store.get("parameter", run, name)
    if found is not None and found["value"] != value:
        raise bad_request(f"parameter '{name}' of run '{run}' is '{found['value']}' and cannot change to '{value}'")
    service.store.put("parameter", run, name, {"key": name, "value": value})


def history(service: Service, request: Request) -> dict[str, Any]:
    """Every value of a metric, as it was logged."""
    run, name = asked_run(service, request.query)["runId"], needed(request.query.get("metric_key"), "metric_key")
    return {"metrics": values(service, run, name)}


def values(service: Service, run: str, name: str) -> list[dict[str, Any]]:
    found = sorted(service.store.all("row", f"{run}/{name}"), key=metrics.moment)
    return [
        {
            "key": name,
            "value": row["data"][name],
            "timestamp": milliseconds(row.get("createdUtc")) or 0,
            "step": row.get("step") or 0,
        }
        for row in found
        if isinstance(row["data"].get(name), int | float) or row["data"].get(name) in NUMBERS
    ]


def asked_run(service: Service, named: Mapping[str, Any]) -> dict[str, Any]:
    return records.require_run(service, needed(named.get("run_id") or named.get("run_uuid"), "run_id"))


def shown(service: Service, run: Mapping[str, Any]) -> dict[str, Any]:
    run_id = run["runId"]
    series = [values(service, run_id, metric["name"]) for metric in service.store.all("metric", run_id)]
    latest = [max(points, key=lambda point: (point["step"], point["timestamp"])) for points in series if points]
    data = {"metrics": latest, "params": service.store.all("parameter", run_id), "tags": as_pairs(run["tags"])}
    outputs = {"model_outputs": service.store.all("model output", run_id)}
    return {"info": information(service, run), "data": data, "inputs": {}, "outputs": outputs}


def information(service: Service, run: Mapping[str, Any]) -> dict[str, Any]:
    where = f"{service.scope()}/experiments/{run['experimentName']}/runs/{run['runId']}/artifacts"
    known = {
        "run_id": run["runId"],
        "run_uuid": run["runId"],
        "experiment_id": run["experimentId"],
        "run_name": run["displayName"],
        "user_id": run["createdBy"]["userName"],
        "status": STATES.get(run["status"], WAITING),
        "start_time": milliseconds(run["startTimeUtc"] or run["createdUtc"]),
        "end_time": milliseconds(run["endTimeUtc"]),
        "artifact_uri": f"azureml://{service.host}/mlflow/v2.0{where}",
        "lifecycle_stage": "deleted" if run["hidden"] else "active",
    }
    return {key: value for key, value in known.items() if value is not None}


def pairs(value: Any) -> dict[str, str]:
    """Tags and parameters, as MLflow lists them."""
    found = {}
    for item in rows(value, "tags or params"):
        known = only_known(item, PAIR, "a tag or parameter")
        found[needed(known.get("key"), "the key of a tag or parameter")] = text(known.get("value"), "its value") or ""
    return found


def as_pairs(value: Mapping[str, Any] | None) -> list[dict[str, str]]:
    return [{"key": key, "value": str(item or "")} for key, item in (value or {}).items()]


def refusing(answer: Callable[[Service, Request], Any]) -> Callable[[Service, Request], Any]:
    """Refusals in the shape that MLflow's client reads."""

    @wraps(answer)
    def answered(service: Service, request: Request) -> Any:
        try:
            return answer(service, request)
        except ServiceError as error:
            code = error.code if error.code.isupper() else CODES.get(error.status, "INTERNAL_ERROR")
            return Response({"error_code": code, "message": error.message}, error.status)

    return answered


def routes(base: str, *table: tuple[str, str, Callable[[Service, Request], Any], str]) -> tuple[Route, ...]:
    return tuple(Route(method, base + path, refusing(answer), call) for method, path, answer, call in table)


ROUTES = (
    *routes(
        API,
        ("POST", "experiments/create", create_experiment, "`mlflow.create_experiment`, `.set_experiment`"),
        ("GET", "experiments/get-by-name", experiment_by_name, "`mlflow.set_experiment`"),
        ("GET", "experiments/get", experiment_by_id, "`mlflow.get_experiment`"),
        ("POST", "runs/create", create_run, "`mlflow.start_run`"),
        ("GET", "runs/get", get_run, "`mlflow.get_run`, `.active_run` in a job"),
        ("POST", "runs/update", update_run, "`mlflow.end_run`"),
        ("POST", "runs/search", search_runs, "`mlflow.search_runs`"),
        ("POST", "runs/log-metric", log_metric, "`mlflow.log_metric`"),
        ("POST", "runs/log-parameter", log_parameter, "`mlflow.log_param`"),
        ("POST", "runs/set-tag", set_tag, "`mlflow.set_tag`"),
        ("POST", "runs/delete-tag", delete_tag, "`mlflow.delete_tag`"),
        ("POST", "runs/log-batch", log_batch, "`mlflow.log_metrics`, `.log_params`, `.set_tags`"),
        ("GET", "metrics/get-history", history, "`MlflowClient.get_metric_history`"),
    ),
    *routes(
        PREVIEW,
        ("POST", "runs/log-batch-async", log_batch_async, "`mlflow.log_metric(synchronous=False)`"),
        ("GET", "runs/get-run-data-status", data_status, "`mlflow.log_metric(synchronous=False)`"),
    ),
)
