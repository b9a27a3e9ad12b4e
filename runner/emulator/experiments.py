"""Experiments, and queries over their runs."""

from __future__ import annotations

import base64
import re
from typing import Any

from runner.emulator import records
from runner.emulator.checking import count, flag, needed, only_known, shortened, text, text_pairs
from runner.emulator.filters import matcher
from runner.emulator.messages import Request, Route, bad_request, now, page
from runner.emulator.service import Service

HISTORY = "/history/v1.0{ws}"
BY_NAME = HISTORY + "/experiments/{experiment}"
BY_ID = HISTORY + "/experimentids/{experiment_id}"
QUERY_FIELDS = ("filter", "orderby", "top", "continuationToken", "viewType", "orderByList", "includeTotalCount")
PAGE_SIZE = 500


def get(service: Service, request: Request) -> dict[str, Any]:
    return records.require_experiment(service, request.parameters)


def create(service: Service, request: Request) -> dict[str, Any]:
    return records.ensure_experiment(service, request.parameters["experiment"])


def change(service: Service, request: Request) -> dict[str, Any]:
    """Tags, description, archived or not."""
    body = only_known(request.object(), ("name", "tags", "description", "archive"), "the body")
    tags = text_pairs(body.get("tags"), "tags")
    with service.store.transaction():
        found = records.require_experiment(service, request.parameters)
        changes: dict[str, Any] = {"tags": {**found["tags"], **tags}}
        if text(body.get("description"), "description") is not None:
            changes["description"] = body["description"]
        if flag(body.get("archive"), "archive") is not None:
            changes["archivedTime"] = now() if body["archive"] else None
        return service.store.put("experiment", "", found["name"], {**found, **changes})


def query_experiments(service: Service, request: Request) -> dict[str, Any]:
    return paged(service.store.all("experiment"), only_known(request.object(), QUERY_FIELDS, "the body"))


def list_experiments(service: Service, request: Request) -> dict[str, Any]:
    return page(service.store.all("experiment"))


def query_runs(service: Service, request: Request) -> dict[str, Any]:
    """The runs of one experiment that pass a filter, newest first unless asked otherwise."""
    known = records.require_experiment(service, request.parameters)
    runs = [item for item in service.store.all("run") if item["experimentId"] == known["experimentId"]]
    body = only_known(request.object(), QUERY_FIELDS, "the body")
    return paged([records.shown(item, whole=False) for item in reversed(runs)], body)


def query_all_runs(service: Service, request: Request) -> dict[str, Any]:
    body = only_known(request.object(), QUERY_FIELDS, "the body")
    return paged([records.shown(item, whole=False) for item in reversed(service.store.all("run"))], body)


def runs_on_compute(service: Service, request: Request) -> dict[str, Any]:
    asked = {name.removeprefix("$").lower(): value for name, value in request.query.items()}
    name = request.parameters["compute"].lower()
    runs = [item for item in service.store.all("run") if str(item["target"]).lower() == name]
    body = {"filter": asked.get("filter"), "top": asked.get("top"), "continuationToken": asked.get("continuationtoken")}
    return paged([records.shown(item, whole=False) for item in reversed(runs)], body)


def paged(items: list[dict[str, Any]], body: dict[str, Any]) -> dict[str, Any]:
    """Filtered, ordered, and cut into pages; a token says where the next one begins."""
    asked = body.get("filter")
    passes = matcher(needed(asked, "filter") if asked else None)
    found = ordered([item for item in items if passes(item)], body.get("orderby"))
    first = start_of(body.get("continuationToken"))
    top = count(body.get("top"), "top", PAGE_SIZE)
    more = first + top < len(found)
    token = base64.urlsafe_b64encode(str(first + top).encode()).decode() if more else None
    return {"value": found[first : first + top], "continuationToken": token, "nextLink": None}


def ordered(items: list[dict[str, Any]], order: Any) -> list[dict[str, Any]]:
    """Runs that have not started come first, as the newest. Raises ServiceError (400) for a field that nobody has."""
    if not order:
        return items
    field, _, direction = needed(order, "orderby").partition(" ")
    spelled = {name.lower(): name for item in items for name in item}
    name = spelled.get(field.lower(), "")
    if (items and not name) or direction.lower() not in ("", "asc", "desc"):
        raise bad_request(f"cannot order by '{shortened(order)}'; a field, and 'asc' or 'desc'")
    return sorted(items, key=lambda item: in_order(item.get(name)), reverse=direction.lower() == "desc")


def in_order(value: Any) -> tuple[bool, float, str]:
    """Numbers by their size, all else by its text, nothing at the end."""
    number = isinstance(value, int | float)
    return (value is None, float(value) if number else 0.0, "" if number else str(value))


def start_of(token: Any) -> int:
    """Where a page begins. Raises ServiceError (400) for what no page has answered."""
    if not token:
        return 0
    try:
        first = base64.b64decode(needed(token, "continuationToken"), b"-_", validate=True).decode()
    except ValueError:
        first = ""
    if not re.fullmatch("[1-9][0-9]{0,17}", first):
        raise bad_request("the continuation token is not one of ours")
    return int(first)


ROUTES = (
    Route("GET", BY_NAME, get, "`Experiment(ws, name)`"),
    Route("POST", BY_NAME, create, "`Experiment(ws, name)`"),
    Route("PATCH", BY_NAME, change, "`Experiment.set_tags`, `.archive`"),
    Route("GET", BY_ID, get, "`Run.get`, `run.experiment` in a job"),
    Route("PATCH", BY_ID, change, "`Experiment.set_tags` in a job"),
    Route("GET", HISTORY + "/experiments", list_experiments, "`ws.experiments`"),
    Route("POST", HISTORY + "/experiments:query", query_experiments, "`Experiment.list`, `ws.experiments`"),
    Route("POST", BY_NAME + "/runs:query", query_runs, "`Experiment.get_runs`"),
    Route("POST", BY_ID + "/runs:query", query_runs, "`Experiment.get_runs` in a job"),
    Route("POST", HISTORY + "/runs:query", query_all_runs, "runs of all experiments"),
    Route("GET", HISTORY + "/computes/{compute}/runs", runs_on_compute, "`AmlCompute.get_active_runs`"),
)
