"""What goes wrong on purpose: the next requests that match fail, every request takes longer. In memory, for tests."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

from runner.emulator.messages import Request, Response, ServiceError, error_body

Answer = Callable[[], Response]
# Whoever disturbs must be able to see and to end it, and the page for people is no client of the service.
EXEMPT = ("/_emulator/", "/page/")
REPEATS = ("accept", "409", "merge")
MAX_SECONDS = 600.0


@dataclass(slots=True)
class Fault:
    """The next `left` requests of this method whose path matches the glob. `seconds`: of a stall, of Retry-After."""

    number: int
    kind: str
    method: str
    path: str
    left: int
    seconds: float

    def matches(self, request: Request) -> bool:
        return self.method in ("*", request.method) and fnmatchcase(request.path.lower(), self.path.lower())


@dataclass(slots=True)
class Faults:
    """What is to happen. `latency` is a range in seconds; `repeat` says how a run id that is sent again is answered."""

    waiting: list[Fault] = field(default_factory=list)
    latency: tuple[float, float] = (0.0, 0.0)
    repeat: str = REPEATS[0]
    lock: threading.Lock = field(default_factory=threading.Lock)
    made: int = 0

    def add(self, kind: str, method: str, path: str, count: int, seconds: float) -> Fault:
        with self.lock:
            self.made += 1
            self.waiting.append(Fault(self.made, kind, method, path, count, seconds))
            return self.waiting[-1]

    def take(self, request: Request) -> Fault | None:
        """The first that matches, once: several requests at a time do not share one."""
        with self.lock:
            found = next((fault for fault in self.waiting if fault.matches(request)), None)
            if found is not None:
                found.left -= 1
                self.waiting = [fault for fault in self.waiting if fault.left > 0]
            return found

    def clear(self) -> None:
        with self.lock:
            self.waiting, self.latency, self.repeat = [], (0.0, 0.0), REPEATS[0]

    def shown(self) -> dict[str, Any]:
        with self.lock:
            faults = [asdict(fault) for fault in self.waiting]
        return {"faults": faults, "latency": list(self.latency), "repeat": self.repeat}

    def around(self, request: Request, answer: Answer) -> tuple[Response, str]:
        """The answer, or what a fault makes of it, and the fault's kind ('' for none)."""
        if request.path.startswith(EXEMPT):
            return answer(), ""
        if self.latency[1]:
            time.sleep(random.uniform(*self.latency))  # noqa: S311 - no secret
        fault = self.take(request)
        return (answer(), "") if fault is None else (KINDS[fault.kind](fault, answer), fault.kind)


def refusing(status: int, code: str, message: str, header: str = "") -> Callable[[Fault, Answer], Response]:
    """An answer in place of the effect; `header` is one that holds the fault's seconds."""

    def refuse(fault: Fault, answer: Answer) -> Response:
        headers = {header: f"{fault.seconds:g}"} if header else {}
        return Response(error_body(code, message), status, headers)

    return refuse


def before(cut: str) -> Callable[[Fault, Answer], Response]:
    """The connection ends, and nothing was done."""
    return lambda fault, answer: Response(status=0, cut=cut, seconds=fault.seconds)


def after(cut: str) -> Callable[[Fault, Answer], Response]:
    """It was done, and the answer does not arrive whole."""
    return lambda fault, answer: replace(answer(), cut=cut)


def stall(fault: Fault, answer: Answer) -> Response:
    time.sleep(fault.seconds)
    return answer()


KINDS: Mapping[str, Callable[[Fault, Answer], Response]] = {
    "500": refusing(500, "InternalServerError", "a fault that was asked for"),
    "502": refusing(502, "BadGateway", "a fault that was asked for"),
    "503": refusing(503, "ServiceUnavailable", "a fault that was asked for"),
    "429": refusing(429, "TooManyRequests", "a fault that was asked for", "Retry-After"),
    "expired": refusing(401, "AuthenticationFailed", "the token has expired; a fault that was asked for"),
    "refused": before("refused"),
    "reset-before": before("reset"),
    "reset-after": after("reset"),
    "stall": stall,
    "truncated": after("truncated"),
}


def repeated(faults: Faults, run_id: str) -> bool:
    """Whether a run that is sent again takes the tags of the new one. Raises ServiceError (409)."""
    if faults.repeat == "409":
        raise ServiceError(409, "Conflict", f"run '{run_id}' exists already")
    return faults.repeat == "merge"
