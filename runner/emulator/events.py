"""What a run says about itself: started, completed, failed, canceled, errors and warnings."""

from __future__ import annotations

from typing import Any

from runner.emulator import records
from runner.emulator.checking import needed, only_known, rows, section, text
from runner.emulator.experiments import BY_ID, BY_NAME
from runner.emulator.messages import Request, Response, Route, not_found
from runner.emulator.runs import IN_EXPERIMENT, found
from runner.emulator.service import Service

PREFIX = "Microsoft.MachineLearning.Run."
FIELDS = ("timestamp", "name", "projectId", "experimentId", "containerName", "data")
STATUSES = {"start": "Running", "completed": "Completed", "failed": "Failed", "canceled": "Canceled"}


def event(service: Service, request: Request) -> Response:
    """A submitted run's end is its process's end: only interactive and child runs end by an event."""
    take(service, found(service, request), only_known(request.object(), FIELDS, "the event"))
    return Response()


def events(service: Service, request: Request) -> dict[str, Any]:
    """Several at once, of any runs of the experiment."""
    known = records.require_experiment(service, request.parameters)
    sent = rows(only_known(request.object(), ("events",), "the body").get("events"), "events")
    with service.store.transaction():
        for item in sent:
            body = only_known(item, FIELDS, "an event")
            data = section(body.get("data"), "data")
            run = records.require_run(service, needed(data.get("RunId") or data.get("runId"), "RunId"))
            if run["experimentId"] != known["experimentId"]:
                raise not_found(f"run '{run['runId']}' is not in experiment '{known['name']}'", "RunNotFound")
            take(service, run, body)
    return {"errors": []}


def take(service: Service, run: dict[str, Any], body: dict[str, Any]) -> None:
    kind = str(body.get("name", "")).removeprefix(PREFIX).lower()
    data = section(body.get("data"), "data")
    if kind == "error":
        error = section(data.get("ErrorResponse") or data.get("errorResponse"), "ErrorResponse")
        records.change_run(service, run["runId"], error=error)
    elif kind == "warning":
        said = {"source": text(data.get("Source"), "Source"), "message": text(data.get("Message"), "Message")}
        warning = {"source": said["source"] or "run", "message": said["message"] or ""}
        with service.store.transaction():
            known = records.require_run(service, run["runId"])["warnings"] or []
            records.change_run(service, run["runId"], warnings=[*known, warning])
    elif kind in STATUSES and run["runType"] != records.SCRIPT_RUN:
        records.set_status(service, run["runId"], STATUSES[kind])


ROUTES = (
    Route("POST", IN_EXPERIMENT[0] + "/events", event, "`run.complete`, `.fail`, `.start`"),
    Route("POST", IN_EXPERIMENT[1] + "/events", event, "`run.complete`, `.fail`, `.start` in a job"),
    Route("POST", BY_NAME + "/batch/events", events, "`run.create_children`"),
    Route("POST", BY_ID + "/batch/events", events, "`run.create_children` in a job"),
)
