"""The run history's documents: experiments and runs, and how they change."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from runner.emulator.checking import flag, section, shortened, text
from runner.emulator.messages import bad_request, not_found, now
from runner.emulator.service import Service
from runner.emulator.store import safe_name

NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_-]{0,254}")
FINAL = frozenset({"Completed", "Failed", "Canceled"})
SCRIPT_RUN = "azureml.scriptrun"
INTERACTIVE = "azureml.interactive"
# The SDK's RunStatus (azureml/_restclient/constants.py).
STATUSES = (
    *("NotStarted", "Unapproved", "Queued", "Preparing", "Provisioning", "Starting", "Running", "NotResponding"),
    *("Pausing", "Paused", "CancelRequested", "Finalizing", "Completed", "Failed", "Canceled"),
)
# Fields of a run that a client may write, and those that are merged rather than replaced.
TEXTS = ("name", "displayName", "description", "target", "startTimeUtc", "endTimeUtc")
WRITABLE = (*TEXTS, "hidden", "status")
MERGED = ("tags", "properties")
RUN_FIELDS = (
    *WRITABLE,
    *MERGED,
    "runId",
    "parentRunId",
    "runType",
    "runTypeV2",
    "scriptName",
    "dataContainerId",
    "runDefinition",
    "createdUtc",
    "createdFrom",
    "cancelUri",
    "completeUri",
    "diagnosticsUri",
    "inputDatasets",
    "outputDatasets",
    "primaryMetricName",
    "experimentId",
    "heartbeatEnabled",
    "options",
    "queueingInfo",
)

Document = dict[str, Any]


def experiment(service: Service, name: str) -> Document | None:
    return service.store.get("experiment", "", name)


def require_experiment(service: Service, parameters: Mapping[str, str]) -> Document:
    """The experiment that a path names, by name or by id."""
    if "experiment" in parameters:
        found = experiment(service, parameters["experiment"])
    else:
        found = next(iter(service.store.having("experiment", "experimentid", parameters["experiment_id"])), None)
    if found is None:
        asked = parameters.get("experiment") or parameters.get("experiment_id")
        raise not_found(f"experiment '{asked}' does not exist", "ExperimentNotFound")
    return found


def ensure_experiment(service: Service, name: str) -> Document:
    """The experiment of that name, made on first use. Raises ServiceError (400) for a name that none can have."""
    with service.store.transaction():
        found = experiment(service, name)
        if found is not None:
            return found
        if not NAME.fullmatch(name):
            raise bad_request(f"experiment name '{name}' is invalid; letters, digits, '_' and '-', at most 255")
        made = {"experimentId": str(uuid.uuid4()), "name": name, "description": None, "createdUtc": now()}
        return service.store.put("experiment", "", name, {**made, "archivedTime": None, "tags": {}})


def run(service: Service, run_id: str) -> Document | None:
    return service.store.get("run", "", run_id)


def require_run(service: Service, run_id: str) -> Document:
    found = run(service, run_id)
    if found is None:
        raise not_found(f"run '{run_id}' does not exist", "RunNotFound")
    return found


def create_run(service: Service, run_id: str, experiment_name: str, fields: Mapping[str, Any]) -> Document:
    """A new run, with Azure's defaults and `fields` over them. Raises ServiceError (400) for an impossible id."""
    try:
        safe_name(run_id)
    except ValueError:
        raise bad_request(f"run id '{shortened(run_id)}' is invalid") from None
    known = ensure_experiment(service, experiment_name)
    parent = fields.get("parentRunId")
    root = require_run(service, parent)["rootRunId"] if parent else run_id
    cancel = f"/execution/v1.0{service.scope()}/experiments/{experiment_name}/runId/{quote(run_id)}/cancel"
    document: Document = {
        "runId": run_id,
        "runUuid": str(uuid.uuid4()),
        "runNumber": service.store.count("run") + 1,
        "rootRunId": root,
        "parentRunId": None,
        "experimentId": known["experimentId"],
        "experimentName": experiment_name,
        "dataContainerId": f"dcid.{run_id}",
        "createdUtc": now(),
        "startTimeUtc": None,
        "endTimeUtc": None,
        "status": "NotStarted",
        "runType": INTERACTIVE,
        "target": None,
        "scriptName": None,
        "name": None,
        "displayName": run_id,
        "description": None,
        "hidden": False,
        "properties": {},
        "tags": {},
        "error": None,
        "warnings": None,
        "cancelUri": service.origin + cancel,
        "createdBy": {"userObjectId": "0", "userTenantId": "0", "userName": "emulator"},
        "runDefinition": None,
        "phases": [["NotStarted", now()]],
    }
    return service.store.put("run", "", run_id, {**document, **fields})


def merged(found: Document, body: Mapping[str, Any]) -> Document:
    """A run with what a client sent: texts replaced, tags and properties merged."""
    sent = {**{key: text(body.get(key), key) for key in TEXTS}, "hidden": flag(body.get("hidden"), "hidden")}
    changes: Document = {key: value for key, value in sent.items() if value is not None}
    if body.get("status") is not None:
        status = known_status(body["status"])
        changes = {**entered(found, status), **changes}
    for key in MERGED:
        pairs = section(body.get(key), key)
        changes[key] = {**found[key], **{name: as_text(value) for name, value in pairs.items()}}
    return {**found, **changes}


def known_status(status: Any) -> str:
    if not isinstance(status, str) or status not in STATUSES:
        raise bad_request(f"status '{shortened(status)}' is unknown; one of {', '.join(STATUSES)}")
    return status


def entered(found: Document, status: str) -> Document:
    """What changes with a run's status: when it began or ended, and all that it went through."""
    time = now()
    changes: Document = {"status": status, "phases": [*found.get("phases", ()), [status, time]]}
    if status in FINAL:
        changes["endTimeUtc"] = time
    elif status == "Running":
        changes["startTimeUtc"] = found["startTimeUtc"] or time
    return changes


def as_text(value: Any) -> str | None:
    return None if value is None else str(value)


def change_run(service: Service, run_id: str, **fields: Any) -> Document:
    """Set fields of a run. A run that has ended keeps its status."""
    with service.store.transaction():
        found = require_run(service, run_id)
        if found["status"] in FINAL:
            fields.pop("status", None)
        return service.store.put("run", "", run_id, {**found, **fields})


def set_status(service: Service, run_id: str, status: str, **fields: Any) -> Document:
    """Move a run on, with the times that go with it. Nothing happens to a run that has ended."""
    with service.store.transaction():
        found = require_run(service, run_id)
        if found["status"] in FINAL:
            return found
        changes = {**entered(found, status), **fields}
        return service.store.put("run", "", run_id, {**found, **changes})


def shown(document: Document, *, whole: bool = True) -> Document:
    """A run as the history answers; lists leave out the definition, which is most of its bytes."""
    hidden = {"experimentName", "snapshotId", "phases", *(() if whole else ("runDefinition",))}
    return {key: value for key, value in document.items() if key not in hidden}
