"""The control plane: only for who knows the secret of this store, at an address that no SDK asks for."""

from __future__ import annotations

import hmac
import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict
from fnmatch import fnmatchcase
from typing import Any, Protocol, runtime_checkable

from runner.emulator.checking import MAX_DIGITS, count, needed, only_known, shortened, text
from runner.emulator.faults import KINDS, MAX_SECONDS, REPEATS
from runner.emulator.messages import Request, Route, ServiceError, bad_request, not_found
from runner.emulator.scripted import ScriptedEngine, duration, script_from
from runner.emulator.service import Service
from runner.processes import GRACE_SECONDS

CONTROL = "/_emulator/{secret}"
METHODS = ("GET", "PUT", "POST", "PATCH", "DELETE", "HEAD")


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
        "runs": store.tally("run", "status"),
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
    service.faults.clear()
    return {"workspaceId": service.workspace()["id"]}


def requests(service: Service, request: Request) -> dict[str, Any]:
    """What was asked lately, oldest first: no bodies, no queries, no secrets. `path` is a glob, `status` a number."""
    check(service, request)
    asked = only_known(request.query, ("method", "path", "status", "last"), "the query")
    found = [
        seen for seen in service.requests if all(SELECTS[key](seen, asked[key]) for key in SELECTS if key in asked)
    ]
    return {"requests": found[-count(asked.get("last"), "last", len(found) or 1) :]}


SELECTS: Mapping[str, Callable[[Mapping[str, Any], str], bool]] = {
    "method": lambda seen, wanted: seen["method"] == wanted.upper(),
    "path": lambda seen, wanted: fnmatchcase(seen["path"].lower(), wanted.lower()),
    "status": lambda seen, wanted: str(seen["status"]) == wanted,
}


def fail_next(service: Service, request: Request) -> dict[str, Any]:
    """The next `count` requests whose method and path match fail in the way that `kind` says."""
    check(service, request)
    asked = only_known(request.object(), ("kind", "method", "path", "count", "seconds"), "the body")
    kind = one_of(asked.get("kind"), tuple(KINDS), "kind")
    method = one_of((text(asked.get("method"), "method") or "*").upper(), ("*", *METHODS), "method")
    path = text(asked.get("path"), "path") or "*"
    times = count(asked.get("count"), "count", 1 if asked.get("count") is None else 10**MAX_DIGITS)
    added = service.faults.add(kind, method, path, times, seconds(asked.get("seconds", 1.0), "seconds"))
    return asdict(added)


def faults(service: Service, request: Request) -> dict[str, Any]:
    """What is still to fail, and the settings."""
    check(service, request)
    return service.faults.shown()


def clear(service: Service, request: Request) -> dict[str, Any]:
    """Nothing fails any more, nothing takes longer."""
    check(service, request)
    only_known(request.object(), (), "the body")
    service.faults.clear()
    return service.faults.shown()


def latency(service: Service, request: Request) -> dict[str, Any]:
    """Every request takes `least` to `most` seconds longer."""
    check(service, request)
    asked = only_known(request.object(), ("least", "most"), "the body")
    least = seconds(asked.get("least"), "least")
    most = seconds(asked.get("most", least), "most")
    if most < least:
        raise bad_request(f"most is {most}, less than least, {least}")
    service.faults.latency = (least, most)
    return service.faults.shown()


def repeat(service: Service, request: Request) -> dict[str, Any]:
    """How a submission is answered whose run id is taken. None of the answers starts a second run."""
    check(service, request)
    asked = only_known(request.object(), ("answer",), "the body")
    service.faults.repeat = one_of(asked.get("answer"), REPEATS, "answer")
    return service.faults.shown()


def preempt(service: Service, request: Request) -> dict[str, Any]:
    """Take a node (as `AmlCompute.list_nodes` names it) or all nodes of a run away; low priority starts again."""
    check(service, request)
    asked = only_known(request.object(), ("run", "node", "grace"), "the body")
    engine = service.engine
    if not isinstance(engine, Preempting):
        raise bad_request("this emulator runs nothing that has nodes")
    run_id, node = text(asked.get("run"), "run"), text(asked.get("node"), "node")
    if (run_id is None) == (node is None):
        raise bad_request("name a run or a node, exactly one of them")
    found = (run_id, None) if run_id is not None else held(engine, node or "")
    nodes = frozenset(() if found[1] is None else (found[1],))
    if not engine.preempt(str(found[0]), nodes, seconds(asked.get("grace", GRACE_SECONDS), "grace")):
        raise ServiceError(409, "Conflict", f"run '{found[0]}' has no nodes now")
    return {"run": found[0], "nodes": sorted(nodes)}


def advance(service: Service, request: Request) -> dict[str, Any]:
    """Let the virtual clock go on by `seconds` at once, or (null) until nothing is planned any more."""
    engine = scripted_engine(service, request)
    asked = only_known(request.object(), ("seconds",), "the body")
    wanted = asked.get("seconds")
    done = engine.advance(math.inf if wanted is None else duration(wanted, "seconds"))
    return {"clock": engine.clock.seconds, "done": done, "going": len(engine.jobs)}


def script(service: Service, request: Request) -> dict[str, Any]:
    """What every run that is submitted from now on does, unless its tag says something else; and the clock's speed."""
    engine = scripted_engine(service, request)
    asked = only_known(request.object(), ("script", "speed"), "the body")
    if "script" in asked:
        engine.default = script_from(asked["script"])
    if "speed" in asked:
        engine.set_pace(duration(asked["speed"], "speed"))
    return {"script": asdict(engine.default), "speed": engine.speed}


def scripted_engine(service: Service, request: Request) -> ScriptedEngine:
    check(service, request)
    if not isinstance(service.engine, ScriptedEngine):
        raise bad_request("this emulator runs real processes; start it with '--execution scripted'")
    return service.engine


@runtime_checkable
class Preempting(Protocol):
    """An engine whose runs have nodes."""

    def preempt(self, run_id: str, nodes: frozenset[int], grace: float) -> bool: ...

    def holder(self, compute: str, number: int) -> tuple[str, int] | None: ...


def held(engine: Preempting, node: str) -> tuple[str, int]:
    cluster, _, number = node.rpartition("-")
    found = engine.holder(cluster, int(number)) if re.fullmatch("[0-9]{1,4}", number) else None
    if found is None:
        raise not_found(f"no run is on node '{node}'")
    return found


def one_of(value: Any, known: Collection[str], what: str) -> str:
    if isinstance(value, str) and value in known:
        return value
    raise bad_request(f"{what} is '{shortened(value)}'; one of {', '.join(known)}")


def seconds(value: Any, what: str) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MAX_SECONDS:
        return float(value)
    raise bad_request(f"{what} is '{shortened(value)}'; it must be a number from 0 to {MAX_SECONDS:g}")


ROUTES = (
    Route("GET", CONTROL + "/requests", requests, "`amlrun emulator requests`", open=True),
    Route("GET", CONTROL + "/faults", faults, "`amlrun emulator fail`", open=True),
    Route("POST", CONTROL + "/fail-next", fail_next, "`amlrun emulator fail KIND`", open=True),
    Route("POST", CONTROL + "/clear-faults", clear, "`amlrun emulator fail none`", open=True),
    Route("POST", CONTROL + "/latency", latency, "`amlrun emulator latency`", open=True),
    Route("POST", CONTROL + "/advance", advance, "`amlrun emulator advance`", open=True),
    Route("POST", CONTROL + "/script", script, "`amlrun emulator script`", open=True),
    Route("POST", CONTROL + "/preempt", preempt, "`amlrun emulator preempt`", open=True),
    Route("POST", CONTROL + "/repeat", repeat, "`amlrun emulator repeat`", open=True),
    Route("GET", CONTROL + "/status", status, "`amlrun emulator status`", open=True),
    Route("POST", CONTROL + "/adopt", adopt, "`amlrun emulator env`", open=True),
    Route("POST", CONTROL + "/reset", reset, "`amlrun emulator reset`", open=True),
)
