"""Experiments, and queries over their runs."""

from __future__ import annotations

import base64
import re
from typing import Any

from runner.emulator import records
from runner.emulator.checking import count, flag, needed, only_known, shortened, text, text_pairs
from runner.emulator.filters import Tree, compiled, parsed
from runner.emulator.messages import Request, Route, ServiceError, bad_request, now, page
from runner.emulator.selection import EVERY, Condition, OrderError, Selection, has, place, selected
from runner.emulator.service import Service

HISTORY = "/history/v1.0{ws}"
BY_NAME = HISTORY + "/experiments/{experiment}"
BY_ID = HISTORY + "/experimentids/{experiment_id}"
QUERY_FIELDS = ("filter", "orderby", "top", "continuationToken", "viewType", "orderByList", "includeTotalCount")
PAGE_SIZE = 500
# Which experiments are shown: those that are archived (True), those that are not.
VIEWS = {"Default": (False,), "ActiveOnly": (False,), "ArchivedOnly": (True,), "All": (False, True)}


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
    body = only_known(request.object(), QUERY_FIELDS, "the body")
    view = text(body.get("viewType"), "viewType") or "Default"
    if view not in VIEWS:
        raise bad_request(f"viewType '{shortened(view)}' is unknown; one of {', '.join(VIEWS)}")
    return paged(
        [found for found in service.store.all("experiment") if bool(found["archivedTime"]) in VIEWS[view]], body
    )


def list_experiments(service: Service, request: Request) -> dict[str, Any]:
    return page(service.store.all("experiment"))


def query_runs(service: Service, request: Request) -> dict[str, Any]:
    """The runs of one experiment that pass a filter, newest first unless asked otherwise."""
    known = records.require_experiment(service, request.parameters)
    return page_of_runs(service, request.object(), has("experimentid", known["experimentId"]))


def query_all_runs(service: Service, request: Request) -> dict[str, Any]:
    return page_of_runs(service, request.object())


def runs_on_compute(service: Service, request: Request) -> dict[str, Any]:
    asked = {name.removeprefix("$").lower(): value for name, value in request.query.items()}
    body = {"filter": asked.get("filter"), "top": asked.get("top"), "continuationToken": asked.get("continuationtoken")}
    return page_of_runs(service, body, has("target", request.parameters["compute"], any_case=True))


def page_of_runs(service: Service, asked: dict[str, Any], where: Condition = EVERY) -> dict[str, Any]:
    """`paged` over the runs that meet a condition, of which it reads no more than it must."""
    body = only_known(asked, QUERY_FIELDS, "the body")
    field, descending = order_of(body)
    wanted = Selection("run", filter_of(body), field, descending, where, shown_in_list)
    first, top = start_of(body.get("continuationToken")), count(body.get("top"), "top", PAGE_SIZE)
    try:
        found, more = selected(service.store, wanted, first, top)
    except OrderError:
        raise unordered(body) from None
    return cut(found, first + top if more else 0)


def shown_in_list(run: dict[str, Any]) -> dict[str, Any]:
    return records.shown(run, whole=False)


def paged(items: list[dict[str, Any]], body: dict[str, Any]) -> dict[str, Any]:
    """Filtered, ordered, and cut into pages; a token says where the next one begins."""
    passes = compiled(filter_of(body))
    found = ordered([item for item in items if passes(item)], body)
    first = start_of(body.get("continuationToken"))
    top = count(body.get("top"), "top", PAGE_SIZE)
    return cut(found[first : first + top], first + top if first + top < len(found) else 0)


def filter_of(body: dict[str, Any]) -> Tree:
    asked = body.get("filter")
    return parsed(needed(asked, "filter") if asked else None)


def cut(items: list[dict[str, Any]], following: int) -> dict[str, Any]:
    """One page; `following` is where the next begins, 0 if there is none."""
    token = base64.urlsafe_b64encode(str(following).encode()).decode() if following else None
    return {"value": items, "continuationToken": token, "nextLink": None}


def ordered(items: list[dict[str, Any]], body: dict[str, Any]) -> list[dict[str, Any]]:
    field, descending = order_of(body)
    if not field:
        return items
    spelled = {name.lower(): name for item in items for name in item}
    name = spelled.get(field.lower(), "")
    if items and not name:
        raise unordered(body)
    return sorted(items, key=lambda item: place(item.get(name)), reverse=descending)


def order_of(body: dict[str, Any]) -> tuple[str, bool]:
    """A field, and whether its greatest value comes first. Raises ServiceError (400) for what is no order."""
    if not body.get("orderby"):
        return "", False
    field, _, direction = needed(body["orderby"], "orderby").partition(" ")
    if direction.lower() not in ("", "asc", "desc") or not field:
        raise unordered(body)
    return field, direction.lower() == "desc"


def unordered(body: dict[str, Any]) -> ServiceError:
    return bad_request(f"cannot order by '{shortened(body['orderby'])}'; a field, and 'asc' or 'desc'")


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
