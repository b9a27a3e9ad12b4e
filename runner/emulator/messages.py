"""What passes between the HTTP server and the functions that answer: Request, Response, and errors in Azure's shape."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

if TYPE_CHECKING:
    from runner.emulator.service import Service


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `parameters` are what the route's template names, percent-decoded; header names in lower case."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    parameters: Mapping[str, str] = field(default_factory=dict)

    def json(self) -> Any:
        """The body. Raises ServiceError (400) if it is no JSON; an empty body is an empty object."""
        try:
            body = json.loads(self.body) if self.body.strip() else {}
            if b"\\ud" in self.body.lower():  # half a surrogate pair is JSON, and no text that can be kept
                json.dumps(body, ensure_ascii=False).encode()
        except (ValueError, RecursionError):
            raise bad_request("the body is not JSON", "InvalidRequestBody") from None
        return body

    def form(self) -> dict[str, str]:
        return {name: values[-1] for name, values in parse_qs(self.body.decode("utf-8", "replace")).items()}

    def object(self) -> dict[str, Any]:
        """The body as a JSON object."""
        body = self.json()
        if not isinstance(body, dict):
            raise bad_request("the body is not a JSON object", "InvalidRequestBody")
        return body


@dataclass(frozen=True, slots=True)
class Response:
    """`body` is bytes, a file to send, or anything that becomes JSON. `first`, `length`: the part of a file to send.

    `cut` ends the connection instead, as `server.CUTS` says; `seconds` belongs to it.
    """

    body: Any = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    first: int = 0
    length: int | None = None
    cut: str = ""
    seconds: float = 0.0

    def content(self) -> bytes | Path:
        if isinstance(self.body, bytes | Path):
            return self.body
        return json.dumps(self.body).encode()

    def content_type(self) -> str:
        binary = isinstance(self.body, bytes | Path)
        return self.headers.get("Content-Type", "application/octet-stream" if binary else "application/json")


class ServiceError(Exception):
    """A refusal, as Azure words it: an HTTP status, a code, and a message."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message

    def response(self) -> Response:
        return Response(error_body(self.code, self.message), self.status)


Answer = Callable[["Service", Request], Any]


@dataclass(frozen=True, slots=True)
class Route:
    """A row of the route table: `{name}` in the template is one segment, `{name:rest}` all that follow.

    `{ws}` stands for a workspace's ARM id. `call` says which call of the SDK asks for it. `open` routes check the
    caller themselves (a signature or a secret in the address) or answer anybody.
    """

    method: str
    template: str
    answer: Answer
    call: str
    open: bool = False


def error_body(code: str, message: str) -> dict[str, Any]:
    """`details` must be a list: the SDK's own error printing fails without it."""
    error: dict[str, Any] = {"code": code, "message": message, "target": None, "details": [], "innerError": None}
    return {"error": error, "correlation": {}, "environment": "emulator", "location": "emulator", "time": now()}


def bad_request(message: str, code: str = "UserError") -> ServiceError:
    return ServiceError(400, code, message)


def not_found(message: str, code: str = "NotFound") -> ServiceError:
    return ServiceError(404, code, message)


def page(items: list[Any]) -> dict[str, Any]:
    """A list, all of it in one page."""
    return {"value": items, "continuationToken": None, "nextLink": None}


def now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="microseconds").replace("+00:00", "Z")
