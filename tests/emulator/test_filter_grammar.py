"""Filters against Python's own logic: any tree of and, or, not, in any brackets, over any values."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.emulator.filters import MAX_DEPTH, matcher
from runner.emulator.messages import ServiceError

RUN = {
    "runId": "exp_1",
    "status": "Running",
    "parentRunId": None,
    "runNumber": 9,
    "hidden": False,
    "startTimeUtc": "2026-01-02T00:00:00Z",
    "tags": {"lr": "0.1", "note": 'it\'s "so" (and or) not', "none": None, "a/b": "deep"},
    "properties": {"k": "v"},
}
TEXTS: dict[str, str | None] = {
    **{
        "RunId": "exp_1",
        "status": "Running",
        "PARENTRUNID": None,
        "Tags/lr": "0.1",
        "tags/note": 'it\'s "so" (and or) not',
    },
    **{
        "Tags/none": None,
        "Tags/missing": None,
        "Tags/a/b": "deep",
        "Properties/k": "v",
        "Nothing/k": None,
        "Nothing": None,
    },
}
ORDER: dict[str, Callable[[Any, Any], bool]] = {name: getattr(operator, name) for name in ("gt", "ge", "lt", "le")}


@dataclass(frozen=True)
class Said:
    """A filter, and what it must say about RUN."""

    text: str
    passes: bool


def comparison(field: str, name: str, value: str | None, quote: str) -> Said:
    have = TEXTS[field]
    if name in ORDER:
        passes = have is not None and value is not None and ORDER[name](have, value)
    else:
        passes = (have == value) is (name == "eq")
    return Said(f"{field} {name} {written(value, quote)}", passes)


def written(value: str | None, quote: str) -> str:
    if value is None:
        return "null"
    if quote == '"' and '"' not in value:
        return f'"{value}"'
    return "'" + value.replace("'", "''") + "'"


def joined(word: str, sides: list[Said]) -> Said:
    holds = all if word == "and" else any
    return Said("(" + f" {word} ".join(side.text for side in sides) + ")", holds(side.passes for side in sides))


COMPARISONS = st.builds(
    comparison,
    st.sampled_from(sorted(TEXTS)),
    st.sampled_from(["eq", "ne", *ORDER]),
    st.sampled_from([*TEXTS.values(), "", "null", "x", "exp_2", "''", "é"]),
    st.sampled_from("'\""),
)
WORDS = [*"ab ()'\"/\0é", "eq ", "and ", "or ", "not ", "null"]
FILTERS = st.recursive(
    COMPARISONS,
    lambda inner: (
        st.builds(joined, st.sampled_from(["and", "or"]), st.lists(inner, min_size=1, max_size=3))
        | st.builds(lambda said: Said(f"not {said.text}", not said.passes), inner)
        | st.builds(lambda said: Said(f" ( {said.text}) ", said.passes), inner)
    ),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None, database=None)
@given(FILTERS)
def test_a_filter_says_what_logic_says(said: Said) -> None:
    assert matcher(said.text)(RUN) is said.passes
    assert (
        matcher(said.text.replace(" and ", " AND ").replace(" or ", " Or "))(RUN) is said.passes or "note" in said.text
    )


@settings(max_examples=150, deadline=None, database=None)
@given(st.lists(st.sampled_from(WORDS), max_size=20).map("".join))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        passes = matcher(text)
    except ServiceError as error:
        refusal = error
        passes = None
    assert (refusal.status, refusal.code) == (400, "InvalidFilter") if passes is None else passes(RUN) in (True, False)


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ("RunNumber gt 10", False),
        ("RunNumber lt 10", True),
        ("RunNumber eq 9.0", True),
        ("RunNumber ge '9'", True),
        ("RunNumber eq null", False),
        ("RunNumber ne null", True),
        ("RunNumber eq nine", False),
        ("Hidden eq false", True),
        ("Hidden eq False", True),
        ("Hidden ne true", True),
        ("StartTimeUtc ge 2026-01-02T00:00:00Z", True),
        ("Tags/lr eq 0.10", False),
        ("Status eq Running and not Status eq Running or RunId eq exp_1", True),
        ("Status eq Queued and Status eq Running or RunId eq exp_1", True),
        ("RunId eq exp_1 or Status eq Queued and Status eq Running", True),
        ("(RunId eq exp_1 or Status eq Queued) and Status eq Queued", False),
        ('Tags/lr eq "0.1"', True),
        ("\tRunId\n eq\r exp_1 ", True),
        ("RunId eq \"it''s\"", False),
    ],
)
def test_numbers_truth_and_precedence(text: str, passes: bool) -> None:
    assert matcher(text)(RUN) is passes


def test_two_quotes_are_one_only_between_single_ones() -> None:
    assert matcher("RunId eq 'it''s'")({"runId": "it's"})
    assert matcher("RunId eq \"it''s\"")({"runId": "it''s"})


@pytest.mark.parametrize(
    "text",
    [
        *(
            "()",
            "(",
            ")",
            "a",
            "a eq",
            "eq a b",
            "a eq b)",
            "(a eq b",
            "a eq b and",
            "and a eq b",
            "a eq b or or c eq d",
        ),
        *("not", "a not eq b", "a eq 'b", 'a eq "b', "a eq b c eq d", "a = b", "a eq b, c eq d", "contains(a, 'b')"),
        *('a eq b "or" c eq d', "a eq b 'and' c eq d", '"not" a eq b', '"(" a eq b ")"'),
        "(" * 60 + "a eq b" + ")" * 60,
        "not " * 60 + "a eq b",
        "(" * 20_000,
    ],
    ids=lambda text: text[:20],
)
def test_what_cannot_be_read(text: str) -> None:
    with pytest.raises(ServiceError, match=r"^the filter '") as refusal:
        matcher(text)
    assert (refusal.value.status, refusal.value.code) == (400, "InvalidFilter")
    assert len(refusal.value.message) < 200


def test_the_deepest_filter() -> None:
    assert matcher("(" * MAX_DEPTH + "RunId eq exp_1" + ")" * MAX_DEPTH)(RUN)


def test_as_many_runs_as_a_page_has() -> None:
    """`get_runs_by_run_ids` asks for all in one filter."""
    asked = " or ".join(f"RunId eq r{number}" for number in range(500))
    assert not matcher(asked)(RUN)
    assert matcher(f"{asked} or RunId eq exp_1")(RUN)
