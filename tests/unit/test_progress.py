"""How following looks: on a terminal, on a plain stream, quiet; one run and many; odd metrics never stop it."""

from __future__ import annotations

import io
import math
import re
from dataclasses import replace
from typing import Any

import pytest

from runner.progress import PHASES, Live, Plain, Quiet, brief, clock, reporter
from runner.spec import Run, State

START = "2026-01-01T10:20:30.5+00:00"
RUN = Run("r-1", "local://r-1", "digits", "local", State.RUNNING, START, (("running", START),))
OTHER = replace(RUN, id="r-2")
KNOWN = {"r-1", "r-2", "running", "failed"}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "quiet", "kind"),
    [(Terminal(), False, Live), (io.StringIO(), False, Plain), (Terminal(), True, Quiet), (io.StringIO(), True, Quiet)],
)
def test_where_it_is_shown_decides_how(stream: io.StringIO, quiet: bool, kind: type) -> None:
    made = reporter(1, quiet=quiet, stream=stream)
    made.close()
    assert isinstance(made, kind)


def test_standard_output_unless_told(capsys: pytest.CaptureFixture[str]) -> None:
    reporter(2, quiet=False).line(RUN, "x")
    assert capsys.readouterr().out == "r-1  x\n"


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    silent = reporter(1, quiet=True)
    silent.phase(RUN)
    silent.line(RUN, "x")
    silent.metrics(RUN, {"a": 1})
    silent.close()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("state", [state for state in State if state is not State.PLANNED])
def test_every_phase_has_words_and_a_time(state: State) -> None:
    stream = io.StringIO()
    Plain(stream, several=False).phase(replace(RUN, state=state, phases=((state.value, START),)))
    assert stream.getvalue() == f"[{clock(RUN)}] {PHASES[state]}\n"


@pytest.mark.parametrize(
    ("phases", "same_as"),
    [
        ((("running", START),), (("running", START),)),
        ((("running", "2025-01-01T00:00:00+00:00"), ("running", START)), (("running", START),)),  # entered twice
        ((("running", "2026-01-01T11:20:30+01:00"),), (("running", START),)),
    ],
)
def test_the_time_is_that_of_the_last_entry(phases: Any, same_as: Any) -> None:
    assert clock(replace(RUN, phases=phases)) == clock(replace(RUN, phases=same_as))


def test_a_state_that_was_never_entered_has_no_time() -> None:
    assert clock(replace(RUN, phases=(("queued", START),))) == "--:--:--"


def test_lines_of_many_runs_are_told_apart_in_the_order_they_come() -> None:
    stream = io.StringIO()
    plain = Plain(stream, several=True)
    for run, text in ((RUN, "a"), (OTHER, "b"), (RUN, "")):
        plain.line(run, text)
    plain.metrics(RUN, {"epoch": 1})
    plain.close()
    assert stream.getvalue() == "r-1  a\nr-2  b\nr-1  \n"


def shown(*rows: tuple[Run, dict[str, Any]], several: bool = False) -> str:
    stream = Terminal()
    live = Live(stream, several=several)
    for run, row in rows:
        live.phase(run)
        live.metrics(run, row)
    live.close()
    return stream.getvalue()


def test_a_terminal_shows_each_of_many_runs_and_no_lines_of_theirs() -> None:
    stream = Terminal()
    live = Live(stream, several=True)
    for run in (RUN, OTHER, replace(OTHER, state=State.FAILED)):
        live.phase(run)
        live.line(run, "a line of a log")
    live.close()
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", stream.getvalue()).split("\n")
    words = [[word for word in line.split() if word in KNOWN] for line in lines]
    assert [found[-2:] for found in words if found][-2:] == [["r-1", "running"], ["r-2", "failed"]]
    assert "a line of a log" not in stream.getvalue()


def test_a_terminal_names_a_run_alone_by_its_name() -> None:
    text = shown((RUN, {"epoch": 2, "epochs": 4}))
    assert "digits" in text
    assert "r-1" not in text
    assert "epoch 2/4" in text


@pytest.mark.parametrize(
    ("row", "epochs"),
    [
        ({"epoch": 1, "epochs": 0}, "epoch 1/0"),
        ({"epoch": 5, "epochs": 3}, "epoch 5/3"),
        ({"epoch": 0.5, "epochs": 3}, "epoch 0.5/3"),
        ({"epoch": math.nan, "epochs": 3}, ""),
        ({"epoch": 1, "epochs": math.inf}, ""),
        ({"epoch": 10**400, "epochs": 3}, ""),
        ({"epoch": "one", "epochs": 3}, ""),
        ({"epoch": None, "epochs": None}, ""),
        ({"epoch": True, "epochs": 3}, ""),
        ({"epochs": 3}, ""),
        ({}, ""),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_odd_epochs_stop_nothing(row: dict[str, Any], epochs: str) -> None:
    text = shown((RUN, row))
    assert epochs in text
    assert ("epoch " in text) == bool(epochs)


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ({}, ""),
        ({"epoch": 1, "epochs": 2, "step": 3, "seconds": 4.0}, ""),
        ({"b": 1, "a": 2, "val_x": 3, "test_y": 4}, "test y 4  val x 3  a 2"),
        ({"loss": math.nan, "lr": math.inf}, "loss nan  lr inf"),
        ({"a": 1e-10, "b": 123456789, "c": -0.00001}, "a 1e-10  b 1.235e+08  c -1e-05"),
        ({"done": True, "note": "x", "list": [1], "none": None, "big": 10**400}, ""),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_brief(row: dict[str, Any], text: str) -> None:
    assert brief(row) == text


def test_what_a_script_prints_is_no_markup() -> None:
    stream = Terminal()
    live = Live(stream, several=False)
    for text in ("[bold]x[/bold]", "[/]", ":smile:", "a" * 500, "ü 数字"):
        live.line(RUN, text)
    live.phase(replace(RUN, name="[red]name"))
    live.metrics(RUN, {"[red]a": 1})
    live.close()
    assert "[red]name" in stream.getvalue()
    assert "[red]a 1" in stream.getvalue()
    for text in ("[bold]x[/bold]", "[/]", ":smile:", "a" * 500, "ü 数字"):
        assert f"{text}\n" in stream.getvalue()
