"""One pause for all threads: what the service asks one to wait, all wait. No clock, no network."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from runner.errors import TargetError
from runner.targets.azureml_posting import MAX_PAUSE_SECONDS, TRIES, Pause, refusal, retry_after


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def paused(base: float = 1.0) -> tuple[Pause, Clock]:
    clock = Clock()
    return Pause(base, clock=clock, sleep=clock.sleep), clock


def refused(status: int, headers: Mapping[str, str] | None = None) -> TargetError:
    """As `service_errors` makes it of an answer."""
    cause = Exception("theirs")
    cause.response = SimpleNamespace(status_code=status, headers=headers or {})  # type: ignore[attr-defined]
    error = TargetError("ours")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [({"Retry-After": "7"}, 7.0), ({"Retry-After": "0.5"}, 0.5), ({"Retry-After": "-1"}, 0.0), ({}, None)],
)
def test_what_an_answer_asks_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(refused(429, headers)) == seconds


@pytest.mark.parametrize("text", ["Wed, 21 Oct 2026 07:28:00 GMT", "soon"])
def test_a_wait_that_is_no_number_is_ours_to_choose(text: str) -> None:
    assert retry_after(refused(503, {"Retry-After": text})) is None


def test_all_wait_until_the_latest_moment_that_was_asked_for() -> None:
    pause, clock = paused()
    pause.ask(refused(429, {"Retry-After": "5"}), 0)
    pause.ask(refused(429, {"Retry-After": "2"}), 0)
    pause.wait()

    assert clock.now == 5.0
    pause.wait()
    assert clock.now == 5.0


def test_where_nothing_is_asked_the_pause_doubles_and_has_an_end() -> None:
    lengths = []
    for attempt in range(12):
        pause, clock = paused()
        pause.ask(refused(503), attempt)
        pause.wait()
        lengths.append(clock.now)

    assert all(2**attempt / 2 <= length <= 2**attempt for attempt, length in enumerate(lengths[:6]))
    assert max(lengths) == MAX_PAUSE_SECONDS


@pytest.mark.parametrize(("status", "asked"), [(500, TRIES), (429, TRIES), (400, 1), (403, 1)])
def test_what_may_be_done_twice_is_tried_again_where_that_can_help(status: int, asked: int) -> None:
    pause, _ = paused()
    calls: list[int] = []

    def ask() -> Any:
        calls.append(1)
        raise refused(status)

    with pytest.raises(TargetError, match="ours"):
        pause.tried(ask)
    assert len(calls) == asked


def test_an_answer_after_a_refusal_is_the_answer() -> None:
    pause, _ = paused()
    left = [refused(503), refused(500)]

    def ask() -> str:
        if left:
            raise left.pop()
        return "here"

    assert pause.tried(ask) == "here"


@pytest.mark.parametrize(
    ("content", "words"),
    [({"error": {"message": "no such size"}}, "400 no such size"), (["?"], "400 Bad Request"), ({}, "400 Bad Request")],
)
def test_a_refusal_has_the_words_of_the_service(content: Any, words: str) -> None:
    pytest.importorskip("requests", reason="comes with azureml-core")
    answer = SimpleNamespace(status_code=400, reason="Bad Request", json=lambda: content)

    assert str(refusal(answer)) == words
