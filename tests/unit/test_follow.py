"""Following: phases in order, lines once, noise of a failing run held back. No process, no clock."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from runner.follow import HOLD_SECONDS, follow
from runner.progress import Live, Plain, brief, reporter
from runner.spec import Failure, Log, Plan, Run, State

START = "2026-01-01T00:00:00.000+00:00"
RUN = Run("r-1", "local://r-1", "r", "local", State.PREPARING, START, (("planned", START), ("preparing", START)))


def at(state: State, run: Run = RUN, failure: Failure | None = None) -> Run:
    return replace(run, state=state, phases=(*run.phases, (state.value, START)), failure=failure)


@dataclass
class Script:
    """A target that plays steps: (run, rank 0's log so far, metrics so far); the last step stays."""

    steps: Sequence[tuple[Run, bytes, list[dict[str, Any]]]]
    now: int = -1

    def states(self, runs: list[Run]) -> list[Run]:
        self.now = min(self.now + 1, len(self.steps) - 1)
        return [self.steps[self.now][0]]

    def logs(self, run: Run) -> list[Log]:
        content = self.steps[self.now][1]
        return [Log("logs/rank_0.log", 0, lambda offset: content[offset:]), Log("launcher", None, lambda offset: b"no")]

    def metrics(self, run: Run) -> list[dict[str, Any]]:
        return self.steps[self.now][2]

    def request(self, plan: Plan) -> dict[str, Any]:
        raise AssertionError

    def check(self, plans: list[Plan]) -> list[Any]:
        raise AssertionError

    def submit(self, plans: list[Plan]) -> list[Run]:
        raise AssertionError

    def cancel(self, run: Run) -> None:
        raise AssertionError

    def fetch(self, run: Run, destination: Path) -> list[Path]:
        raise AssertionError


@dataclass
class Heard:
    said: list[Any] = field(default_factory=list)

    def phase(self, run: Run) -> None:
        self.said.append(run.state)

    def line(self, run: Run, text: str) -> None:
        self.said.append(text)

    def metrics(self, run: Run, row: dict[str, Any]) -> None:
        self.said.append(row)

    def close(self) -> None:
        self.said.append("closed")


def ticking(step: float) -> Callable[[], float]:
    now = [0.0]

    def clock() -> float:
        now[0] += step
        return now[0]

    return clock


def heard(*steps: tuple[Run, bytes, list[dict[str, Any]]], step: float = 0.1) -> list[Any]:
    ear = Heard()
    follow(Script(steps), [RUN], ear, sleep=lambda _: None, clock=ticking(step))
    return ear.said


RUNNING, DONE = at(State.RUNNING), at(State.COMPLETED, at(State.FINALIZING, at(State.RUNNING)))
FAILED = at(State.FAILED, RUNNING, Failure("ValueError: boom", 1))


def test_phases_lines_and_metrics_once_and_in_order() -> None:
    said = heard(
        (RUN, b"", []),
        (RUNNING, b"epoch 1\nepo", [{"epoch": 1}]),
        (RUNNING, b"epoch 1\nepoch 2\n", [{"epoch": 1}, {"epoch": 2}]),
        (DONE, b"epoch 1\nepoch 2\nlast", [{"epoch": 1}, {"epoch": 2}]),
    )
    assert said == [
        State.PREPARING,
        State.RUNNING,
        {"epoch": 1},
        "epoch 1",
        {"epoch": 2},
        "epoch 2",
        "last",
        State.FINALIZING,
        State.COMPLETED,
        "closed",
    ]


def test_split_characters_and_carriage_returns() -> None:
    text = "50%\r100%\r\nüñ\n".encode()
    said = heard((RUNNING, text[:12], []), (DONE, text, []))
    assert [item for item in said if type(item) is str] == ["100%", "üñ", "closed"]


@pytest.mark.parametrize("first", [b"Traceback (most recent call last):\n", b"[rank0]:[W1124 01:02:03] NCCL\n"])
def test_noise_of_a_run_that_fails_is_not_shown(first: bytes) -> None:
    said = heard((RUNNING, b"epoch 1\n" + first, []), (FAILED, b"epoch 1\n" + first + b"more\nRuntimeError\n", []))
    assert [item for item in said if type(item) is str] == ["epoch 1", "closed"]


def test_a_handled_traceback_is_shown_when_the_run_goes_on() -> None:
    noise = b"Traceback (most recent call last):\nValueError: handled\n"
    still = (RUNNING, noise, [])
    said = heard(still, still, still, still, (RUNNING, noise + b"epoch 2\n", []), (DONE, noise + b"epoch 2\n", []))
    lines = [item for item in said if type(item) is str]
    assert lines == ["Traceback (most recent call last):", "ValueError: handled", "epoch 2", "closed"]
    early = heard(still, (RUNNING, noise + b"epoch 2\n", []), (FAILED, noise, []), step=HOLD_SECONDS / 10)
    assert "epoch 2" not in early


def test_a_completed_run_shows_everything_it_held() -> None:
    said = heard((DONE, b"Traceback (most recent call last):\nhandled\n", []))
    lines = [item for item in said if type(item) is str]
    assert lines == ["Traceback (most recent call last):", "handled", "closed"]


def test_interrupt_closes_the_reporter() -> None:
    ear = Heard()

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        follow(Script([(RUNNING, b"", [])]), [RUN], ear, sleep=interrupt)
    assert ear.said[-1] == "closed"


def test_plain_lines_name_the_run_only_when_there_are_several() -> None:
    one, many = io.StringIO(), io.StringIO()
    Plain(one, several=False).line(RUN, "epoch 1")
    Plain(many, several=True).line(RUN, "epoch 1")
    assert (one.getvalue(), many.getvalue()) == ("epoch 1\n", "r-1  epoch 1\n")


def test_terminal_shows_phase_epochs_and_metrics() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    live = reporter(1, quiet=False, stream=stream)
    assert isinstance(live, Live)
    live.phase(RUNNING)
    live.line(RUNNING, "[red]not markup[/red]")
    live.metrics(RUNNING, {"epoch": 3, "epochs": 20, "test_accuracy": 0.97512, "train_loss": 0.1})
    live.close()
    text = stream.getvalue()
    assert "[red]not markup[/red]" in text
    assert "running" in text
    assert "epoch 3/20" in text
    assert "test accuracy 0.9751" in text


def test_brief_puts_held_out_metrics_first() -> None:
    assert brief({"epoch": 1, "lr": 0.1, "train_loss": 2, "test_accuracy": 0.5}).startswith("test accuracy 0.5")
