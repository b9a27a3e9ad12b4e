"""The route table: every request that the emulator answers, matched strictly."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any
from urllib.parse import unquote

from runner.emulator import (
    artifacts,
    blobs,
    compute,
    control,
    datasets,
    datastores,
    environments,
    events,
    experiments,
    metrics,
    mlflow,
    mlflow_artifacts,
    mlflow_models,
    models,
    page,
    quotas,
    runs,
    snapshots,
    submission,
    vault,
    workspaces,
)
from runner.emulator.messages import Request, Response, Route, ServiceError, now
from runner.emulator.service import Service

WORKSPACE = (
    "/subscriptions/{subscription}/resourceGroups/{group}"
    "/providers/Microsoft.MachineLearningServices/workspaces/{workspace}"
)
AREAS: Sequence[tuple[str, Sequence[Route]]] = (
    ("Sign-in, workspace, discovery", workspaces.ROUTES),
    ("Compute", (*compute.ROUTES, *quotas.ROUTES)),
    ("Environments", environments.ROUTES),
    ("Datastores", datastores.ROUTES),
    ("Datasets", datasets.ROUTES),
    ("Experiments", experiments.ROUTES),
    ("Snapshots", snapshots.ROUTES),
    ("Submission", submission.ROUTES),
    ("Runs", runs.ROUTES),
    ("What a run reports", events.ROUTES),
    ("Metrics", metrics.ROUTES),
    ("Artifacts and logs", artifacts.ROUTES),
    ("MLflow", (*mlflow.ROUTES, *mlflow_models.ROUTES, *mlflow_artifacts.ROUTES)),
    ("Models", models.ROUTES),
    ("Key vault", vault.ROUTES),
    ("Control plane", control.ROUTES),
    ("Page", page.ROUTES),
    ("Blobs", blobs.ROUTES),
)
PAGE = "/page/"
ROUTES: tuple[Route, ...] = tuple(route for _, routes in AREAS for route in routes)


@dataclass(frozen=True, slots=True)
class Matcher:
    """A route with its template as a regular expression over the raw (still percent-encoded) path."""

    route: Route
    pattern: re.Pattern[str]


def dispatch(service: Service, request: Request) -> Response:
    """Answer, and remember that it was asked. Every refusal comes back in Azure's shape; nothing is raised."""
    started = time.monotonic()
    response, fault = service.faults.around(request, lambda: answer(service, request))
    path = unquote(request.path)
    for secret in (service.identity.path_secret, service.identity.control_secret, service.identity.page_secret):
        path = path.replace(secret, "***")
    seconds = round(time.monotonic() - started, 4)
    seen = {"method": request.method, "path": path, "status": response.status, "seconds": seconds, "time": now()}
    if not request.path.lower().startswith(PAGE):  # an open page asks all day long, and only so many requests are kept
        service.requests.append({**seen, "fault": fault} if fault else seen)
    return response


def answer(service: Service, request: Request) -> Response:
    """Find the route, check the caller, call it."""
    try:
        route, parameters = find(request.method, request.path)
        if not route.open:
            check_token(service, request)
        if "workspace" in parameters:
            service.require_workspace(parameters)
        return as_response(route.answer(service, replace(request, parameters=parameters)))
    except ServiceError as error:
        return error.response()


def find(method: str, path: str) -> tuple[Route, dict[str, str]]:
    """The first row that matches. Raises ServiceError 501: what is not in the table is not answered by chance."""
    for matcher in matchers():
        if matcher.route.method == method and (found := matcher.pattern.fullmatch(path)):
            return matcher.route, {name: unquote(value) for name, value in found.groupdict().items()}
    raise ServiceError(501, "NotImplemented", f"the emulator does not answer {method} {unquote(path)}")


@cache
def matchers() -> tuple[Matcher, ...]:
    return tuple(Matcher(route, compiled(route.template)) for route in ROUTES)


def compiled(template: str) -> re.Pattern[str]:
    """Azure's paths are case-insensitive; names in them keep their case."""
    pattern = ""
    for literal, name, rest in re.findall(r"([^{]*)(?:\{(\w+)(:rest)?\})?", template.replace("{ws}", WORKSPACE)):
        pattern += re.escape(literal) + (f"(?P<{name}>{'.+' if rest else '[^/]+'})" if name else "")
    return re.compile(pattern + "/?", re.IGNORECASE)


def check_token(service: Service, request: Request) -> None:
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or service.identity.claims(token) is None:
        raise ServiceError(401, "AuthenticationFailed", "the request carries no valid token of this emulator")


def as_response(answer: Any) -> Response:
    if isinstance(answer, Response):
        return answer
    return Response(b"" if answer is None else answer)


def coverage() -> str:
    """The route table as Markdown, for docs/emulator.md."""
    lines = [f"{len(ROUTES)} routes. `WS` is a workspace's ARM id, `/subscriptions/.../workspaces/NAME`.", ""]
    for area, routes in AREAS:
        lines += [f"### {area}", "", "| method | path | asked for by |", "|---|---|---|"]
        lines += [f"| {row.method} | `{readable(row.template)}` | {row.call} |" for row in routes]
        lines.append("")
    return "\n".join(lines)


def readable(template: str) -> str:
    return template.replace("{ws}", "/WS").replace(":rest}", "...}")
