"""The page for people: experiments, runs as they go, their metrics and logs, models, compute. It only reads.

Its address holds a secret of its own, which is why the portal URL of a run opens here and nowhere else. Whatever runs
wrote is data to it: JSON for the script, plain text or an image for the browser, never a document of this origin.
"""

from __future__ import annotations

import hmac
import json
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from runner.emulator import artifacts, curves, records
from runner.emulator.blobs import file_of
from runner.emulator.checking import MAX_DIGITS, count
from runner.emulator.environments import CURATED
from runner.emulator.messages import Request, Response, Route, ServiceError, not_found
from runner.emulator.runs import LOG_FOLDERS
from runner.emulator.selection import both, has, negated
from runner.emulator.service import Service
from runner.emulator.store import Store

BASE = "/page/{secret}"
WEB = Path(__file__).with_name("web")
ASSETS = ("page.js", "lists.js", "run.js", "log.js", "chart.js", "dom.js", "page.css")
MOST_RUNS = 100
MOST_REQUESTS = 200
MOST_BYTES = 1 << 20
KEPT_DRAWINGS = 100
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
IMAGES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif", ".webp": "image/webp"}
# The page's own files and its own data: no other origin, nothing inline, nobody's frame.
POLICY = "; ".join(
    (
        *("default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' data:", "connect-src 'self'"),
        *("base-uri 'self'", "form-action 'none'", "frame-ancestors 'none'"),
    )
)
SAFELY = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
WHERE = "This is an Azure ML workspace on this machine. 'amlrun emulator status' shows the address of its page.\n"
IN_SHORT = ("runId", "displayName", "experimentName", "status", "createdUtc", "startTimeUtc", "endTimeUtc", "target")
OF_DEFINITION = ("script", "arguments", "command", "nodeCount", "communicator", "framework", "layout")

Seen = Callable[[Service, Request], Response]


def guarded(answer: Seen) -> Seen:
    """An address with a wrong secret does not exist; a refusal is as safe as any other answer."""

    @wraps(answer)
    def checked(service: Service, request: Request) -> Response:
        try:
            if not hmac.compare_digest(service.identity.page_secret.encode(), request.parameters["secret"].encode()):
                raise not_found("there is nothing here; 'amlrun emulator status' shows the page's address")
            return answer(service, request)
        except ServiceError as error:
            return Response(error.response().body, error.status, SAFELY)

    return checked


def front(service: Service, request: Request) -> Response:
    """What people open first has no secret, so it shows nothing but the way."""
    return Response(WHERE.encode(), headers={**SAFELY, "Content-Type": "text/plain; charset=utf-8"})


@guarded
def index(service: Service, request: Request) -> Response:
    text = (WEB / "index.html").read_bytes()
    base = BASE.format(secret=service.identity.page_secret)  # a run's page is deeper than the workspace's
    return own(text.replace(b"BASE", base.encode()), ".html")


@guarded
def asset(service: Service, request: Request) -> Response:
    if request.parameters["file"] not in ASSETS:
        raise not_found(f"the page has no file '{request.parameters['file']}'")
    path = WEB / request.parameters["file"]
    return own(path.read_bytes(), path.suffix)


def own(content: bytes, suffix: str) -> Response:
    kind = f"{TYPES[suffix]}; charset=utf-8"
    return Response(content, headers={**SAFELY, "Content-Type": kind, "Cache-Control": "no-cache"})


@guarded
def listed(service: Service, request: Request) -> Response:
    """One of LISTS: what the workspace has of it."""
    if request.parameters["list"] not in LISTS:
        raise not_found(f"the page lists {', '.join(LISTS)}")
    return data(LISTS[request.parameters["list"]](service, request.query))


def runs(service: Service, query: Mapping[str, str]) -> dict[str, Any]:
    """Newest first: `top` runs after the first `skip` of those that pass `experiment`, `state` and `text`."""
    store, shown = service.store, has("hidden", "false")
    tallied = {field: store.tally("run", field, shown.text, shown.values) for field in ("experimentid", "status")}
    names = {item["experimentId"]: item["name"] for item in store.all("experiment")}
    numbers = chosen(store, query, {name: identifier for identifier, name in names.items()})
    skip = digits(query.get("skip"))
    part = numbers[skip : skip + count(query.get("top"), "top", MOST_RUNS)]
    return {
        "experiments": {names[identifier]: many for identifier, many in tallied["experimentid"].items()},
        "states": tallied["status"],
        "runs": [in_short(run) for _, run in store.bodies(part)],
        "total": len(numbers),
    }


def chosen(store: Store, query: Mapping[str, str], experiments: Mapping[str, str]) -> list[int]:
    conditions = [has("hidden", "false")]
    state, experiment = query.get("state"), query.get("experiment")
    if experiment:
        conditions.append(has("experimentid", experiments.get(experiment, "")))
    if state == "active":
        conditions += [negated(has("status", status)) for status in sorted(records.FINAL)]
    elif state:
        conditions.append(has("status", state))
    condition = both(*conditions)
    numbers = store.numbers("run", condition.text, condition.values)
    words = query.get("text", "").casefold().split()
    return [number for number, run in store.bodies(numbers) if mentions(run, words)] if words else numbers


def mentions(run: Mapping[str, Any], words: Sequence[str]) -> bool:
    pairs = (f"{name}={value}" for name, value in run["tags"].items())
    texts = "\n".join((run["runId"], str(run["displayName"]), run["experimentName"], *pairs)).casefold()
    return all(word in texts for word in words)


def in_short(run: dict[str, Any]) -> dict[str, Any]:
    return {**{name: run[name] for name in IN_SHORT}, "parent": run["parentRunId"], "tags": run["tags"]}


def models(service: Service, query: Mapping[str, str]) -> dict[str, Any]:
    return {"models": service.store.all("model")[::-1]}


def compute(service: Service, query: Mapping[str, str]) -> dict[str, Any]:
    clusters = service.store.all("compute")
    in_use = {cluster["name"]: service.engine.nodes_in_use(cluster["name"]) for cluster in clusters}
    return {"python": service.python, "compute": [{**item, "inUse": in_use[item["name"]]} for item in clusters]}


def environments(service: Service, query: Mapping[str, str]) -> dict[str, Any]:
    found = [*service.store.all("environment")[::-1], *CURATED]
    return {
        "environments": [
            {
                "name": item["name"],
                "version": item["version"],
                "image": within(item, "docker", "baseImage"),
                "conda": within(item, "python", "condaDependencies", "dependencies") or [],
            }
            for item in found
        ]
    }


def within(value: Any, *keys: str) -> Any:
    """What a definition has there; None where any part of the way is missing."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def requests(service: Service, query: Mapping[str, str]) -> dict[str, Any]:
    """The latest, newest first. This page's own are kept nowhere."""
    return {"requests": list(service.requests)[: -MOST_REQUESTS - 1 : -1]}


LISTS: Mapping[str, Callable[[Service, Mapping[str, str]], dict[str, Any]]] = {
    "runs": runs,
    "models": models,
    "compute": compute,
    "environments": environments,
    "requests": requests,
}


@guarded
def one_run(service: Service, request: Request) -> Response:
    """A run: what it is and was, its program, its children, and the names and sizes of its files."""
    run = records.require_run(service, request.parameters["run"])
    names = ("description", "parentRunId", "phases", "properties", "error", "warnings")
    definition = run["runDefinition"] or {}
    parent = records.run(service, run["parentRunId"]) if run["parentRunId"] else None
    files = files_of(service, run["dataContainerId"])
    return data(
        {
            "run": {**in_short(run), **{name: run[name] for name in names}},
            "definition": {name: definition.get(name) for name in OF_DEFINITION},
            "environment": {name: within(definition, "environment", name) for name in ("name", "version")},
            "parent": in_short(parent) if parent else None,
            "files": files,
            "logs": [item["path"] for item in files if item["path"].startswith(LOG_FOLDERS)],
            "children": [in_short(item) for item in service.store.having("run", "parentrunid", run["runId"])],
        }
    )


def files_of(service: Service, container: str) -> list[dict[str, Any]]:
    found = []
    for item in service.store.all("artifact", container):
        path = file_of(service, artifacts.CONTAINER, item["blob"])
        if path is not None:
            found.append({"path": item["path"], "bytes": path.stat().st_size})
    return sorted(found, key=lambda item: str(item["path"]))


@guarded
def curves_of(service: Service, request: Request) -> Response:
    """Every metric of a run, as it is drawn."""
    run = records.require_run(service, request.parameters["run"])
    names = [metric["name"] for metric in service.store.all("metric", run["runId"])]
    return data({"metrics": {name: drawing(service, run, name) for name in names}})


@dataclass(slots=True)
class Drawn:
    """A metric as far as it has been read: a page asks every other second, and rows never change."""

    series: curves.Series
    seen: int = 0
    drawing: dict[str, Any] | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


DRAWINGS: dict[tuple[str, str, str], Drawn] = {}
DRAWINGS_LOCK = threading.Lock()


def drawing(service: Service, run: dict[str, Any], name: str) -> dict[str, Any]:
    key = (service.workspace()["id"], run["runUuid"], name)
    with DRAWINGS_LOCK:
        known = DRAWINGS.pop(key) if key in DRAWINGS else Drawn(curves.Series(run["dataContainerId"]))
        DRAWINGS[key] = known  # the last of those that are kept
        for old in list(DRAWINGS)[:-KEPT_DRAWINGS]:
            del DRAWINGS[old]
    with known.lock:
        for number, row in service.store.following("row", f"{run['runId']}/{name}", known.seen):
            known.series.add([row])
            known.seen, known.drawing = number, None
        if known.drawing is None:
            known.drawing = known.series.drawn()
        return known.drawing


@guarded
def content(service: Service, request: Request) -> Response:
    """A file of a run, `path`: to keep (`download`), an image as one, anything else as a part of a text.

    The part begins at `offset`, or `tail` bytes before the end, and has `size` bytes (a megabyte at most).
    """
    run, path = records.require_run(service, request.parameters["run"]), request.query.get("path", "")
    found = service.store.get("artifact", run["dataContainerId"], path)
    file = file_of(service, artifacts.CONTAINER, found["blob"]) if found else None
    if file is None:
        raise not_found(f"run '{run['runId']}' has no file '{path}'")
    name, size = PurePosixPath(path), file.stat().st_size
    if request.query.get("download"):
        headers = {"Content-Type": "application/octet-stream", "Content-Disposition": kept_as(name.name)}
        return Response(file, headers={**SAFELY, **headers}, length=size)
    if name.suffix.lower() in IMAGES:
        return Response(file, headers={**SAFELY, "Content-Type": IMAGES[name.suffix.lower()]}, length=size)
    tail = request.query.get("tail")
    first = max(0, size - digits(tail)) if tail else min(digits(request.query.get("offset")), size)
    length = min(size - first, digits(request.query.get("size")) or MOST_BYTES, MOST_BYTES)
    headers = {"Content-Type": "text/plain; charset=utf-8", "X-Size": str(size), "X-First": str(first)}
    return Response(file, headers={**SAFELY, **headers}, first=first, length=length)


def kept_as(name: str) -> str:
    """A name that every browser takes, and the true one (RFC 6266)."""
    safe = (letter.isascii() and letter.isprintable() and letter not in '"\\' for letter in name)
    plain = "".join(letter if fine else "_" for letter, fine in zip(name, safe, strict=True))
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def digits(text: str | None) -> int:
    """A number of an address; 0 for whatever is none."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS else 0


def data(value: dict[str, Any]) -> Response:
    try:
        body = json.dumps(value, allow_nan=False)
    except ValueError:  # what runs sent may hold NaN, and then no browser reads it
        body = json.dumps(finite(value), allow_nan=False)
    return Response(body.encode(), headers={**SAFELY, "Content-Type": "application/json"})


def finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


ROUTES = (
    Route("GET", "/", front, "a browser", open=True),
    Route("GET", BASE, index, "a browser", open=True),
    Route("GET", BASE + "/runs/{run}", index, "a browser, from `run.get_portal_url()`", open=True),
    Route("GET", BASE + "/web/{file}", asset, "the page", open=True),
    Route("GET", BASE + "/data/{list}", listed, "the page", open=True),
    Route("GET", BASE + "/data/runs/{run}", one_run, "the page", open=True),
    Route("GET", BASE + "/data/runs/{run}/metrics", curves_of, "the page", open=True),
    Route("GET", BASE + "/data/runs/{run}/file", content, "the page", open=True),
)
