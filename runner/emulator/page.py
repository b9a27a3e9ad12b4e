"""The page for people: experiments, runs as they go, their metrics and logs, models, compute. It only reads.

Its address holds a secret of its own, which is why the portal URL of a run opens here and nowhere else. Whatever runs
wrote is data to it: JSON for the script, plain text or an image for the browser, never a document of this origin.
"""

from __future__ import annotations

import hmac
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Any

from runner.emulator import artifacts, metrics, records
from runner.emulator.blobs import file_of
from runner.emulator.checking import count
from runner.emulator.messages import Request, Response, Route, not_found
from runner.emulator.runs import LOG_FOLDERS
from runner.emulator.service import Service

BASE = "/page/{secret}"
WEB = Path(__file__).with_name("web")
ASSETS = ("page.js", "page.css")
MOST_RUNS = 500
MOST_BYTES = 1 << 20
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
IMAGES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif"}
# The page's own files and its own data: no other origin, nothing inline, nobody's frame.
POLICY = "; ".join(
    (
        *("default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' data:", "connect-src 'self'"),
        *("base-uri 'self'", "form-action 'none'", "frame-ancestors 'none'"),
    )
)
SAFELY = {"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}


def check(service: Service, request: Request) -> None:
    """An address with a wrong secret does not exist."""
    if not hmac.compare_digest(service.identity.page_secret.encode(), request.parameters["secret"].encode()):
        raise not_found("there is nothing here; 'amlrun emulator status' shows the page's address")


def index(service: Service, request: Request) -> Response:
    check(service, request)
    text = (WEB / "index.html").read_bytes()
    base = BASE.format(secret=service.identity.page_secret)  # a run's page is deeper than the workspace's
    return own(text.replace(b"BASE", base.encode()), ".html")


def asset(service: Service, request: Request) -> Response:
    check(service, request)
    if request.parameters["file"] not in ASSETS:
        raise not_found(f"the page has no file '{request.parameters['file']}'")
    path = WEB / request.parameters["file"]
    return own(path.read_bytes(), path.suffix)


def own(content: bytes, suffix: str) -> Response:
    kind = f"{TYPES[suffix]}; charset=utf-8"
    return Response(content, headers={**SAFELY, "Content-Type": kind, "Cache-Control": "no-cache"})


def overview(service: Service, request: Request) -> Response:
    """The newest runs (of one experiment, if asked), and everything else that the workspace has."""
    check(service, request)
    store, wanted = service.store, request.query.get("experiment")
    runs = store.all("run")
    of_experiment = Counter(run["experimentName"] for run in runs)
    chosen = [run for run in reversed(runs) if wanted in (None, "", run["experimentName"])]
    return data(
        {
            "workspace": service.workspace()["names"],
            "python": service.python,
            "experiments": [
                {"name": item["name"], "created": item["createdUtc"], "runs": of_experiment[item["name"]]}
                for item in store.all("experiment")
            ],
            "runs": [in_short(run) for run in chosen[: count(request.query.get("top"), "top", MOST_RUNS)]],
            "total": len(chosen),
            "models": store.all("model"),
            "compute": [
                {**cluster, "inUse": service.engine.nodes_in_use(cluster["name"])} for cluster in store.all("compute")
            ],
        }
    )


def in_short(run: dict[str, Any]) -> dict[str, Any]:
    names = ("runId", "displayName", "experimentName", "status", "createdUtc", "startTimeUtc", "endTimeUtc", "target")
    return {**{name: run[name] for name in names}, "parent": run["parentRunId"], "tags": run["tags"]}


def one_run(service: Service, request: Request) -> Response:
    """A run with its definition, values of every metric in order, and the names and sizes of its files."""
    check(service, request)
    run = records.require_run(service, request.parameters["run"])
    files = []
    for item in artifacts.listed(service, run["dataContainerId"]):
        path = file_of(service, artifacts.CONTAINER, item["blob"])
        files.append({"path": item["path"], "bytes": path.stat().st_size if path else 0})
    return data(
        {
            "run": {**run, "cancelUri": None},
            "metrics": {metric["name"]: points(service, run["runId"], metric) for metric in metrics_of(service, run)},
            "files": files,
            "logs": [item["path"] for item in files if item["path"].startswith(LOG_FOLDERS)],
            "children": [in_short(item) for item in service.store.all("run") if item["parentRunId"] == run["runId"]],
        }
    )


def metrics_of(service: Service, run: dict[str, Any]) -> list[dict[str, Any]]:
    return service.store.all("metric", run["runId"])


def points(service: Service, run_id: str, metric: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of a metric in the order in which they were made: what each column holds."""
    rows = sorted(service.store.all("row", f"{run_id}/{metric['name']}"), key=metrics.moment)
    return [row.get("data") or {} for row in rows]


def content(service: Service, request: Request) -> Response:
    """A file of a run: an image as one, everything else as text from `offset` on (a megabyte at most), or to keep."""
    check(service, request)
    run, path = records.require_run(service, request.parameters["run"]), request.parameters["path"]
    found = service.store.get("artifact", run["dataContainerId"], path)
    file = file_of(service, artifacts.CONTAINER, found["blob"]) if found else None
    if file is None:
        raise not_found(f"run '{run['runId']}' has no file '{path}'")
    name, size = PurePosixPath(path), file.stat().st_size
    if request.query.get("download"):
        kept = "".join(letter if letter.isascii() and letter not in '"\\' else "_" for letter in name.name)
        headers = {"Content-Type": "application/octet-stream", "Content-Disposition": f'attachment; filename="{kept}"'}
        return Response(file, headers={**SAFELY, **headers}, length=size)
    if name.suffix.lower() in IMAGES:
        return Response(file, headers={**SAFELY, "Content-Type": IMAGES[name.suffix.lower()]}, length=size)
    asked = request.query.get("offset", "0")
    first = min(int(asked), size) if asked.isascii() and asked.isdigit() else 0
    headers = {**SAFELY, "Content-Type": "text/plain; charset=utf-8", "X-Size": str(size)}
    return Response(file, headers=headers, first=first, length=min(size - first, MOST_BYTES))


def data(value: dict[str, Any]) -> Response:
    return Response(value, headers={**SAFELY, "Cache-Control": "no-store"})


ROUTES = (
    Route("GET", BASE, index, "a browser", open=True),
    Route("GET", BASE + "/runs/{run}", index, "a browser, from `run.get_portal_url()`", open=True),
    Route("GET", BASE + "/web/{file}", asset, "the page", open=True),
    Route("GET", BASE + "/data", overview, "the page", open=True),
    Route("GET", BASE + "/data/runs/{run}", one_run, "the page", open=True),
    Route("GET", BASE + "/data/runs/{run}/files/{path:rest}", content, "the page", open=True),
)
