"""The nouns: what they promise, and that history reads back exactly what was written."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.errors import Place
from runner.spec import (
    Config,
    Failure,
    GitState,
    Layout,
    Origin,
    Plan,
    Run,
    SnapshotRef,
    State,
    decode_argument,
    digest,
    encode_argument,
    jsonable,
)

TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
NAMES = st.dictionaries(TEXT, TEXT, max_size=2)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=5,
)
PLANS = st.builds(
    Plan,
    id=TEXT,
    name=TEXT,
    target=st.sampled_from(["local", "azureml"]),
    created=TEXT,
    project=TEXT,
    overrides=st.lists(TEXT, max_size=2).map(tuple),
    frozen=st.lists(TEXT, max_size=2).map(tuple),
    choices=NAMES,
    config=st.dictionaries(TEXT, JSON, max_size=2),
    digests=NAMES,
    layout=st.builds(Layout, st.just("mpi"), st.integers(1, 3), st.integers(1, 3), st.sampled_from(["gloo", None])),
    python=TEXT,
    script=st.none() | TEXT,
    arguments=st.lists(TEXT, max_size=2).map(tuple),
    command=st.lists(TEXT, max_size=2).map(tuple),
    shell=TEXT,
    environment=NAMES,
    secrets=st.lists(TEXT, max_size=2).map(tuple),
    inputs=st.dictionaries(TEXT, NAMES, max_size=2),
    limits=st.dictionaries(TEXT, st.none() | st.integers(), max_size=2),
    tags=NAMES,
    resolved=NAMES,
    snapshot=st.builds(SnapshotRef, TEXT, st.integers(0), st.integers(0)),
    git=st.builds(GitState, st.none() | TEXT, st.none() | TEXT, st.lists(TEXT, max_size=2).map(tuple), TEXT),
    not_checked=st.lists(TEXT, max_size=2).map(tuple),
    not_asked=st.lists(TEXT, max_size=2).map(tuple),
    request=st.dictionaries(TEXT, JSON, max_size=2),
    cost=st.dictionaries(TEXT, JSON, max_size=2),
    resumes=st.none() | TEXT,
)
RUNS = st.builds(
    Run,
    id=TEXT,
    url=TEXT,
    name=TEXT,
    target=TEXT,
    state=st.sampled_from(State),
    created=TEXT,
    phases=st.lists(st.tuples(TEXT, TEXT), max_size=3).map(tuple),
    ended=st.none() | TEXT,
    failure=st.none() | st.builds(Failure, TEXT, st.none() | st.integers(0), st.none() | st.integers(), TEXT),
    note=TEXT,
)


few = settings(max_examples=30)


@given(PLANS)
@few
def test_plan_to_json_to_plan(plan: Plan) -> None:
    text = json.dumps(plan.as_json())
    assert Plan.from_json(json.loads(text)) == plan
    assert json.dumps(Plan.from_json(json.loads(text)).as_json()) == text


@given(RUNS)
@few
def test_run_to_json_to_run(run: Run) -> None:
    assert Run.from_json(json.loads(json.dumps(run.as_json()))) == run


@given(JSON)
def test_an_argument_survives_and_is_one_plain_word(value: Any) -> None:
    word = encode_argument(value)
    assert decode_argument(word) == value
    assert set(word) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@given(JSON, JSON)
def test_digests_are_equal_for_equal_values_only(one: Any, two: Any) -> None:
    assert len(digest(one)) == 64
    same = json.dumps(one, sort_keys=True) == json.dumps(two, sort_keys=True)
    assert (digest(one) == digest(two)) == same


@pytest.mark.parametrize(
    ("layout", "ranks"),
    [
        (Layout("none", 1, 1), [(0, 0, 0)]),
        (Layout("mpi", 1, 3), [(0, 0, 0), (1, 0, 1), (2, 0, 2)]),
        (Layout("pytorch", 3, 1), [(0, 0, 0), (1, 1, 0), (2, 2, 0)]),
        (Layout("pytorch", 2, 2), [(0, 0, 0), (1, 0, 1), (2, 1, 0), (3, 1, 1)]),
    ],
)
def test_ranks_of_a_node_are_consecutive(layout: Layout, ranks: list[tuple[int, int, int]]) -> None:
    assert [(r["rank"], r["node"], r["local_rank"]) for r in layout.ranks()] == ranks
    assert layout.world_size == len(ranks)


def test_final_states() -> None:
    assert {state for state in State if state.final} == {State.COMPLETED, State.FAILED, State.CANCELED}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ((1, (2, 3)), [1, [2, 3]]),
        ({"a": (1,), 2: State.FAILED}, {"a": [1], "2": "failed"}),
        ([State.RUNNING, None, 1.5, "x"], ["running", None, 1.5, "x"]),
    ],
)
def test_jsonable(value: Any, expected: Any) -> None:
    assert jsonable(value) == expected
    assert json.loads(json.dumps(jsonable(value))) == expected


def origin(line: int) -> Origin:
    return Origin(Place("f", line, 3), Place("f", line, 1))


def test_a_value_without_a_place_has_its_parents() -> None:
    config = Config(Path("/p"), {}, origins={("a",): origin(1), ("a", "b"): origin(2)})
    assert config.origin("a", "b") == origin(2)
    assert config.origin("a", "b", "c", "0") == origin(2)
    assert config.origin("a", "other") == origin(1)
    assert str(config.origin("nowhere").value) == "configs/config.yaml:1:1"


@given(PLANS)
@few
def test_nouns_are_frozen_and_urls_name_the_target(plan: Plan) -> None:
    with pytest.raises(FrozenInstanceError):
        plan.id = "other"  # type: ignore[misc]
    local = replace(plan, target="local", id="r-1", name="n")
    assert (local.url, replace(local, target="azureml", workspace="w").url) == (
        "local://r-1",
        "azureml://w/n/r-1",
    )


@given(PLANS)
@few
def test_every_field_of_a_plan_is_in_its_json(plan: Plan) -> None:
    assert set(plan.as_json()) == {field.name for field in fields(Plan)}


@pytest.mark.parametrize(
    ("place", "text", "kind"),
    [
        (Place("configs/a.yaml", 4, 3), "configs/a.yaml:4:3", "file"),
        (Place("l.json"), "l.json", "file"),
        (Place.of_override("a=b"), "override 'a=b'", "override"),
    ],
)
def test_places(place: Place, text: str, kind: str) -> None:
    assert (str(place), place.kind) == (text, kind)
