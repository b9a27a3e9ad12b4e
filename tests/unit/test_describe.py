"""Text for people: annotated YAML that parses back, times, tables, plans, failures, differences."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from runner import describe, history
from runner.compare import ABSENT, Difference
from runner.compose import compose
from runner.errors import Place
from runner.snapshot import File, LeftOut, Snapshot
from runner.spec import Config, Failure, GitState, Layout, Origin, Run, State
from tests.conftest import write
from tests.plans import make_plan

START = "2026-01-01T00:00:00+00:00"
PROJECT = Path("/p")

# Annotated YAML

TEXTS = st.text(st.characters(codec="utf-8"), max_size=8) | st.sampled_from(
    (
        "",
        "null",
        "~",
        "1",
        "1e3",
        "on",
        "a: b",
        "- a",
        "# x",
        "a #b",
        "...",
        "a...",
        "---",
        "???",
        "'",
        '"',
        "\\",
        "{",
        "&a",
    )
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS
VALUES = st.dictionaries(
    TEXTS,
    st.recursive(
        SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=5
    ),
    max_size=3,
)


def config(values: Mapping[str, Any], **origins: str) -> Config:
    """The values, all from line 1 of a file but for those of `origins`, which an override has set."""
    first = Place("configs/config.yaml", 1, 1)
    places = {(): first} | {tuple(key.split("__")): Place.of_override(text) for key, text in origins.items()}
    return Config(PROJECT, values, origins={path: Origin(place, place) for path, place in places.items()})


@settings(max_examples=80, deadline=None, derandomize=True, database=None)
@given(VALUES)
def test_annotated_yaml_parses_back_to_the_values(values: dict[str, Any]) -> None:
    text = describe.annotated_yaml(config(values))
    assert (yaml.safe_load(text) or {}) == values
    assert len(text.split("\n")) == max(lines_of(values), 1)


def lines_of(value: Any) -> int:
    """A line for each leaf and each mapping or list with something in it."""
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return sum(1 + lines_of(item) for item in items)


@pytest.mark.parametrize(
    "value",
    [
        *("\x85", "a\u2028b", "a\nb\u2029c", "\ufeff", "x\n\x7f", "\t", " \n ", "😀\n", "\r\n", "é\n\x85"),
        pytest.param("a" * 200_000, id="a long word"),
        pytest.param("a b " * 50_000, id="long"),
    ],
)
def test_texts_that_yaml_would_break_or_fold(value: str) -> None:
    text = describe.annotated_yaml(config({"a": value, "b": {value[:100]: 1}}))
    assert yaml.safe_load(text) == {"a": value, "b": {value[:100]: 1}}
    assert len(text.splitlines()) == 3


@pytest.mark.parametrize("value", [math.inf, -math.inf, 10**40, -0.0, 1e-300, 1e22, 123456789012345678])
def test_numbers_keep_their_value_and_type(value: float) -> None:
    loaded = yaml.safe_load(describe.annotated_yaml(config({"a": value})))["a"]
    assert (loaded, type(loaded), math.copysign(1, loaded)) == (value, type(value), math.copysign(1, value))


def test_nan_stays_nan() -> None:
    assert math.isnan(yaml.safe_load(describe.annotated_yaml(config({"a": math.nan})))["a"])


def test_an_override_of_several_lines_stays_on_its_line() -> None:
    text = describe.annotated_yaml(config({"a": "x\ny"}, a="a='x\ny: 1'"))
    assert yaml.safe_load(text) == {"a": "x\ny"}
    assert text == "a: \"x\\ny\"  # override 'a='x\\ny: 1''"


def test_places_stand_in_one_column_and_long_lines_push_theirs() -> None:
    values = {"a": 1, "nested": {"list": [1, {"b": []}], "long": "x" * 60}, "empty": {}}
    assert describe.annotated_yaml(config(values, nested__list__1__b="b=[]")).splitlines() == [
        f"{'a: 1':<48}  # configs/config.yaml:1:1",
        "nested:",
        "  list:",
        f"{'    - 1':<48}  # configs/config.yaml:1:1",
        "    -",
        f"{'      b: []':<48}  # override 'b=[]'",
        f"  long: {'x' * 60}  # configs/config.yaml:1:1",
        f"{'empty: {}':<48}  # configs/config.yaml:1:1",
    ]


def test_a_composed_configuration_parses_back(tmp_path: Path) -> None:
    text = "defaults: [_self_]\na: {b: [1, {c: 'x # y'}], d: ~, t: \"1\\n2\"}\nn: '08'\n"
    [composed] = compose(write(tmp_path, {"configs/config.yaml": text}), [["+a.e='p\nq'"]])
    assert composed.problems == ()
    shown = describe.annotated_yaml(composed)
    assert yaml.safe_load(shown) == composed.values
    assert [line.split("# ")[-1] for line in shown.splitlines() if "e:" in line] == ["override '+a.e='p\\nq''"]


# Times


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.9, "0 s"),
        (59.999, "59 s"),
        (60, "1 min 00 s"),
        (61, "1 min 01 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h 00 min"),
        (3661, "1 h 01 min"),
        (86_399, "23 h 59 min"),
        (90_000, "25 h 00 min"),
        (-5, "0 s"),  # clocks of two machines
    ],
)
def test_durations(seconds: float, text: str) -> None:
    end = datetime.fromisoformat(START) + timedelta(seconds=seconds)
    assert describe.duration(START, end.isoformat()) == text


def test_a_duration_crosses_zones_and_a_running_one_ends_now() -> None:
    assert describe.duration("2026-01-01T01:00:00+01:00", "2025-12-31T19:00:30-05:00") == "30 s"
    begun = datetime.now(timezone.utc) - timedelta(hours=2, minutes=3, seconds=30)
    assert describe.duration(begun.isoformat(), None) == "2 h 03 min"


# Tables


def row(name: str, state: str = "completed", **metrics: Any) -> dict[str, Any]:
    return {"id": name, "state": state, "created": START, "ended": START, "metrics": metrics}


@pytest.mark.parametrize("name", ["digits-1", "x" * 120, "a", "zahlen-größe"])
def test_columns_of_runs_line_up_however_long_a_name_is(name: str) -> None:
    lines = describe.runs_table([row(name, test_accuracy=0.5), row("other", "failed")]).split("\n")
    found = [line.index(word) for line, word in zip(lines, ("STATE", "completed", "failed"), strict=True)]
    assert found == [max(len(name), 5) + 2] * 3


def test_a_table_of_no_runs_is_its_header_and_lines_have_no_end_of_spaces() -> None:
    assert describe.runs_table([]) == "RUN  STATE  CREATED  TOOK  METRICS"
    assert not any(line.endswith(" ") for line in describe.runs_table([row("a"), row("b", x=1)]).split("\n"))


def test_of_many_metrics_the_held_out_ones_are_listed() -> None:
    text = describe.runs_table([row("a", lr=0.1, epoch=3, test_accuracy=0.987654, val_loss=2, done=True, note="x")])
    assert text.endswith("test accuracy 0.9877  val loss 2")


def test_a_name_that_repeats_is_left_blank() -> None:
    assert describe.table([("a", "1"), ("a", "2"), ("long", "3"), ("a", "4")]) == "a     1\n      2\nlong  3\na     4"
    assert describe.table([]) == ""


# Plans


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, "processes    1 node x 1 processes, distribution none"),
        ({"layout": Layout("mpi", 2, 4, "nccl")}, "2 nodes x 4 processes, distribution mpi, backend nccl"),
        ({"overrides": ("a=1", "b='x y'", "c=$d")}, "overrides    a=1 'b='\"'\"'x y'\"'\"'' 'c=$d'"),
        ({}, "overrides    none"),
        ({"frozen": ("++a=1", "++b=2")}, "pinned here  ++a=1\n             ++b=2"),
        ({}, "command      python script.py"),
        ({"arguments": ("--x", "a b", "y" * 100)}, f"python script.py --x 'a b' '{'y' * 40}...(100 characters)'"),
        ({"command": ("make", "it"), "script": None}, "command      make it"),
        ({"shell": "a | b > c", "script": None}, "command      a | b > c"),
        ({}, "git          no commit: this run cannot be traced to code in git"),
        ({"git": GitState("a" * 40, "main")}, f"git          {'a' * 12} on main, clean"),
        ({"git": GitState("a" * 40, None, ("? x",))}, f"git          {'a' * 12} on no branch, 1 files not committed"),
        ({"git": GitState("a" * 40, "m", ("? x", "M y"))}, "on m, 2 files not committed"),
        (
            {"resolved": {"env": "here", "distribution.backend": "gloo (x)"}},
            "auto         distribution.backend: gloo (x)",
        ),
        ({"resolved": {"env": "here"}}, "environment  here"),
        ({"digests": {"config": "c" * 64}}, f"digests      config {'c' * 12}"),
        ({"not_checked": ("this", "that")}, "not checked  this\n             that"),
        ({"target": "azureml", "config": {"compute": {"name": "gpu"}}}, "azureml, cluster gpu (size not said, None)"),
    ],
)
def test_lines_of_a_plan(changes: dict[str, Any], line: str) -> None:
    assert line in describe.plan_text(make_plan(PROJECT, "r-1", **changes))


def test_what_travels_and_what_stays() -> None:
    files = tuple(File(f"f{n}.py", "0", 10 * n, executable=False) for n in range(30))
    left = tuple(LeftOut(f"x{n}", "x*", ".gitignore") for n in range(14))
    lines = describe.snapshot_text(Snapshot(PROJECT, files, {}, left, digest="d" * 64)).split("\n")
    assert lines[0].startswith("code      30 files of at most")
    assert lines[0].endswith(f"digest {'d' * 12}")
    assert lines[1].startswith("biggest   f29.py")
    assert lines[-1].strip() == "and 2 more (--json lists all)"
    assert [line for line in lines if "(x*, .gitignore)" in line] == lines[-13:-1]


# Failures

COPY = history.files(PROJECT, "r-1").work  # where the run has its code
RUN = Run("r-1", "local://r-1", "r", "local", State.FAILED, START, ended=START)


@pytest.mark.parametrize(
    ("failure", "text"),
    [
        (None, "r-1 failed"),
        (Failure("boom"), "r-1 failed: boom"),
        (Failure("boom", 1, 3), "r-1 failed: rank 1 of 4: boom (exit code 3)"),
        (Failure("ended with exit code 3", 0, 3), "r-1 failed: rank 0 of 4: ended with exit code 3"),
        (
            Failure("boom", None, None, f'x\n  File "{COPY / "a.py"}"\n\n', "logs/rank_0.log", "mend it"),
            'r-1 failed: boom\n    x\n      File "/p/src/a.py"\nwhat to do: mend it\nlog: /p/.runs/r-1/logs/rank_0.log',
        ),
    ],
)
def test_failures(failure: Failure | None, text: str) -> None:
    plan = make_plan(PROJECT, "r-1", layout=Layout("mpi", 2, 2), config={"code": {"root": "src"}})
    assert describe.failure_text(dataclasses.replace(RUN, failure=failure), plan) == text


def test_the_end_of_a_run_that_went_well() -> None:
    done = dataclasses.replace(RUN, state=State.COMPLETED, note="kept work/")
    lines = describe.result_text(done, {"test_accuracy": 0.5, "best": math.nan}, Path("/out")).split("\n")
    assert lines[:3] == ["r-1 completed in 0 s", "test accuracy  0.5", "best           nan"]
    assert lines[3:] == ["outputs        /out", "note           kept work/"]


# Differences


def test_differences_are_old_to_new_in_yaml() -> None:
    found = [
        Difference("config.lr", 0.1, 1),
        Difference("config.name", "a\nb", None),
        Difference("config.x", ABSENT, [1, "a b"]),
        Difference("config.y", ["a\nb"], {"k": ["c\nd"]}),
        Difference("overrides", [], ["lr=1"]),
    ]
    assert describe.differences_text("r-1", "r-2", found, ["--- old/a", "+++ new/a"]) == (
        'r-1 -> r-2\nlr         0.1 -> 1\nname       "a\\nb" -> null\nx          (not there) -> [1, a b]\n'
        'y          ["a\\nb"] -> {"k": ["c\\nd"]}\n'
        "overrides  [] -> [lr=1]\n\ncode\n--- old/a\n+++ new/a"
    )
    assert describe.differences_text("r-1", "r-2", [], []) == "r-1 and r-2 are the same plan"
