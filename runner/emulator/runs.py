"""Runs: read, change, details with logs, children, token, cancel."""

from __future__ import annotations

import time
from typing import Any

from runner.emulator import artifacts, records
from runner.emulator.checking import needed, only_known, rows, section, text
from runner.emulator.experiments import BY_ID, BY_NAME, HISTORY
from runner.emulator.identity import RUN_TOKEN_SECONDS
from runner.emulator.messages import Request, Route, bad_request, not_found, page
from runner.emulator.service import TENANT, Service

IN_EXPERIMENT = tuple(base + "/runs/{run}" for base in (BY_NAME, BY_ID))
ANYWHERE = HISTORY + "/runs/{run}"
# _restclient/models/run_counts_dto.py
COUNTED = (
    "NotStarted",
    "Queued",
    "Preparing",
    "Provisioning",
    "Starting",
    "Running",
    "Completed",
    "Failed",
    "Canceled",
)
LOG_FOLDERS = ("user_logs/", "system_logs/", "azureml-logs/", "logs/")


def found(service: Service, request: Request) -> dict[str, Any]:
    """The run that the path names, in the experiment that it names."""
    run = records.require_run(service, request.parameters["run"])
    if {"experiment", "experiment_id"} & set(request.parameters):
        known = records.require_experiment(service, request.parameters)
        if known["experimentId"] != run["experimentId"]:
            raise not_found(f"run '{run['runId']}' is not in experiment '{known['name']}'", "RunNotFound")
    return run


def get(service: Service, request: Request) -> dict[str, Any]:
    return records.shown(found(service, request))


def change(service: Service, request: Request) -> dict[str, Any]:
    """PATCH: merge, and create what is not there yet (child runs, interactive runs)."""
    body = only_known(request.object(), records.RUN_FIELDS, "the run")
    return records.shown(apply(service, request, request.parameters["run"], body))


def apply(service: Service, request: Request, run_id: str, body: dict[str, Any]) -> dict[str, Any]:
    with service.store.transaction():
        run = records.run(service, run_id)
        if run is None:
            name = records.require_experiment(service, request.parameters)["name"]
            run = records.create_run(service, run_id, name, beginning(body))
        if run["status"] in records.FINAL:
            body = {key: value for key, value in body.items() if key != "status"}
        return service.store.put("run", "", run_id, records.merged(run, body))


def beginning(body: dict[str, Any]) -> dict[str, Any]:
    """What only a new run is told."""
    kind = text(body.get("runType"), "runType") or records.INTERACTIVE
    if kind.lower() == records.SCRIPT_RUN:
        raise bad_request(f"a run of type '{records.SCRIPT_RUN}' is made by its submission")
    return {"parentRunId": text(body.get("parentRunId"), "parentRunId"), "runType": kind}


def change_many(service: Service, request: Request) -> dict[str, Any]:
    body = only_known(request.object(), ("runs",), "the body")
    done = {}
    with service.store.transaction():
        for item in rows(body.get("runs"), "runs"):
            wanted = only_known(item, records.RUN_FIELDS, "a run")
            run_id = needed(wanted.get("runId"), "runId")
            done[run_id] = records.shown(apply(service, request, run_id, wanted))
    return {"runs": done, "errors": {}}


def remove_tags(service: Service, request: Request) -> dict[str, Any]:
    """The body lists names, or names with values (then only an equal value is removed)."""
    body = request.json()
    names = {str(name) for name in body} if isinstance(body, list) else set()
    pairs = {} if isinstance(body, list) else section(body, "tags")
    with service.store.transaction():
        run = found(service, request)
        kept = {
            key: value for key, value in run["tags"].items() if key not in names and (key, value) not in pairs.items()
        }
        return records.shown(records.change_run(service, run["runId"], tags=kept))


def details(service: Service, request: Request) -> dict[str, Any]:
    """What `wait_for_completion` reads, every two seconds."""
    run = found(service, request)
    service.engine.looked_at(run["runId"])
    names = ("runId", "target", "status", "startTimeUtc", "endTimeUtc", "error", "warnings", "properties")
    logs = {
        item["path"]: artifacts.address(service, item)
        for item in artifacts.listed(service, run["dataContainerId"])
        if item["path"].startswith(LOG_FOLDERS)
    }
    return {
        **{name: run[name] for name in names},
        "services": {},
        "inputDatasets": [],
        "outputDatasets": [],
        "runDefinition": run["runDefinition"],
        "logFiles": logs,
    }


def children(service: Service, request: Request) -> dict[str, Any]:
    parent = found(service, request)["runId"]
    return page([records.shown(run) for run in service.store.having("run", "parentrunid", parent)])


def token(service: Service, request: Request) -> dict[str, Any]:
    """A fresh run token: jobs ask before theirs ends."""
    run = found(service, request)
    expires = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + RUN_TOKEN_SECONDS))
    return {"token": run_token(service, run["runId"]), "expiryTimeUtc": expires}


def run_token(service: Service, run_id: str) -> str:
    claims = {"aud": service.origin, "tid": TENANT, "runid": run_id, "role": "Contributor"}
    return service.identity.token(claims, RUN_TOKEN_SECONDS)


def run_data(service: Service, request: Request) -> dict[str, Any]:
    body = only_known(request.object(), ("runId", "selectRunMetadata", "selectRunDefinition"), "the body")
    return {"runMetadata": records.shown(records.require_run(service, needed(body.get("runId"), "runId")))}


def counts(service: Service, request: Request) -> dict[str, int]:
    """How many runs of an experiment are in each state that the SDK has a field for."""
    known = records.require_experiment(service, request.parameters)["experimentId"]
    states = [run["status"] for run in service.store.having("run", "experimentid", known)]
    return {f"{state[0].lower()}{state[1:]}": states.count(state) for state in COUNTED}


def cancel(service: Service, request: Request) -> dict[str, Any]:
    """The run's processes are told to stop; a run without any is canceled at once. One that has ended stays so."""
    run = records.require_run(service, request.parameters["run"])
    if run["status"] not in records.FINAL:
        if run["runType"] == records.SCRIPT_RUN:
            records.set_status(service, run["runId"], "CancelRequested")
            service.engine.cancel(run["runId"])
        else:
            records.set_status(service, run["runId"], "Canceled")
    return {"runId": run["runId"]}


ROUTES = (
    Route("GET", IN_EXPERIMENT[0], get, "`run.get_status`, `.refresh`"),
    Route("GET", IN_EXPERIMENT[1], get, "`Run.get_context()` in a job"),
    Route("GET", ANYWHERE, get, "`Run.get(ws, id)`, `ws.get_run`"),
    Route("PATCH", IN_EXPERIMENT[0], change, "submission, `run.tag`, `.add_properties`, `.child_run`"),
    Route("PATCH", IN_EXPERIMENT[1], change, "`run.tag`, `.child_run` in a job"),
    Route("PATCH", BY_NAME + "/batch/runs", change_many, "`run.create_children`"),
    Route("PATCH", BY_ID + "/batch/runs", change_many, "`run.create_children` in a job"),
    Route("DELETE", IN_EXPERIMENT[0] + "/tags", remove_tags, "`run.remove_tags`"),
    Route("DELETE", IN_EXPERIMENT[1] + "/tags", remove_tags, "`run.remove_tags` in a job"),
    Route("GET", IN_EXPERIMENT[0] + "/details", details, "`run.wait_for_completion`, `.get_details`"),
    Route("GET", IN_EXPERIMENT[1] + "/details", details, "`run.get_details` in a job"),
    Route("GET", ANYWHERE + "/details", details, "SDK v2 `jobs.stream`"),
    Route("GET", IN_EXPERIMENT[0] + "/children", children, "`run.get_children`"),
    Route("GET", IN_EXPERIMENT[1] + "/children", children, "`run.get_children` in a job"),
    Route("GET", IN_EXPERIMENT[0] + "/token", token, "a job whose token ends"),
    Route("GET", IN_EXPERIMENT[1] + "/token", token, "a job whose token ends"),
    Route("GET", BY_NAME + "/runcounts", counts, "the SDK's run client"),
    Route("POST", HISTORY + "/rundata", run_data, "SDK v2 `jobs.download`"),
    Route("POST", "/execution/v1.0{ws}/experiments/{experiment}/runId/{run}/cancel", cancel, "`run.cancel`"),
)
