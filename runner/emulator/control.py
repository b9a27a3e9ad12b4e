"""The control plane: only for who knows the secret of this store, at an address that no SDK asks for."""

from __future__ import annotations

import hmac
from collections import Counter
from typing import Any

from runner.emulator.checking import needed
from runner.emulator.messages import Request, Route, not_found
from runner.emulator.service import Service

CONTROL = "/_emulator/{secret}"


def check(service: Service, request: Request) -> None:
    """An address with a wrong secret does not exist."""
    expected = service.identity.control_secret
    if not hmac.compare_digest(expected.encode(), request.parameters["secret"].encode()):
        raise not_found("there is nothing here")


def status(service: Service, request: Request) -> dict[str, Any]:
    check(service, request)
    store = service.store
    return {
        "origin": service.origin,
        "page": service.page,
        "workspaceId": service.workspace()["id"],
        "workspaces": service.workspace()["names"],
        "python": service.python,
        "runs": dict(Counter(run["status"] for run in store.all("run"))),
        "compute": {cluster["name"]: service.engine.nodes_in_use(cluster["name"]) for cluster in store.all("compute")},
        "experiments": store.count("experiment"),
        "models": store.count("model"),
    }


def adopt(service: Service, request: Request) -> dict[str, Any]:
    """Answer to the names of somebody's config.json as well."""
    check(service, request)
    asked = request.object()
    names = {key: needed(asked.get(key), key) for key in ("subscription", "group", "name")}
    with service.store.transaction():
        known = service.workspace()
        if names not in known["names"]:
            known = service.store.put("workspace", "", "own", {**known, "names": [*known["names"], names]})
    return known


def reset(service: Service, request: Request) -> dict[str, Any]:
    """Stop every run and forget everything: a new workspace, with a new id."""
    check(service, request)
    service.engine.stop()
    service.store.clear()
    return {"workspaceId": service.workspace()["id"]}


def requests(service: Service, request: Request) -> dict[str, Any]:
    """What was asked lately, oldest first: no bodies, no queries, no secrets."""
    check(service, request)
    return {"requests": list(service.requests)}


ROUTES = (
    Route("GET", CONTROL + "/requests", requests, "whoever wants to see what a program asked", open=True),
    Route("GET", CONTROL + "/status", status, "`amlrun emulator status`", open=True),
    Route("POST", CONTROL + "/adopt", adopt, "`amlrun emulator env`", open=True),
    Route("POST", CONTROL + "/reset", reset, "`amlrun emulator reset`", open=True),
)
