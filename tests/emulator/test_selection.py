"""What SQLite finds is what Python's own filter, sort and slice find: any documents, filters, orders and pages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.emulator.filters import COMPARISONS, Combination, Comparison, Tree, compiled, parsed
from runner.emulator.selection import OrderError, Selection, condition_of, has, place, selected
from runner.emulator.store import Store

# Of texts that compare otherwise in bytes, in UTF-16, without case or as numbers.
VALUES = ["", "a", "A", "b", "null", "é", "\uffff", "\U0001f600", "a\0b", "10", "9", "false", "FALSE", "it's"]
TEXTS = st.none() | st.sampled_from(VALUES)
PAIRS = st.dictionaries(st.sampled_from(["k", "K", "a/b", "q'"]), TEXTS, max_size=3)
DOCUMENTS = st.fixed_dictionaries(
    {
        **dict.fromkeys(("status", "parentRunId", "target", "startTimeUtc", "name"), TEXTS),
        "experimentId": st.sampled_from(["e1", "e2"]),
        "hidden": st.booleans(),
        "runNumber": st.integers(0, 12),
        "tags": PAIRS,
        "properties": PAIRS,
    }
)
FIELDS = [
    *("status", "STATUS", "ParentRunId", "target", "StartTimeUtc", "Name", "Hidden", "runNumber", "tags", "nothing"),
    *("Tags/k", "tags/K", "Tags/a/b", "Properties/k", "properties/q'", "Nothing/k", "status/", "target/k"),
]
TREES: st.SearchStrategy[Tree] = st.recursive(
    st.builds(Comparison, st.sampled_from(FIELDS), st.sampled_from(sorted(COMPARISONS)), TEXTS),
    lambda inner: (
        st.builds(Combination, st.sampled_from(["and", "or"]), st.lists(inner, min_size=1, max_size=4).map(tuple))
        | st.builds(Combination, st.just("not"), inner.map(lambda part: (part,)))
    ),
    max_leaves=8,
)
ORDERS = st.sampled_from(["", "startTimeUtc", "Status", "hidden", "runNumber", "NAME", "tags", "nothing"])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    found = Store(tmp_path_factory.mktemp("selection"))
    yield found
    found.close()


def fill(store: Store, documents: list[dict[str, Any]]) -> None:
    store.clear()
    with store.transaction():
        for number, document in enumerate(documents):
            store.put("run", "", str(number), document)


def expected(documents: list[dict[str, Any]], tree: Tree, order: str, descending: bool) -> list[dict[str, Any]] | None:
    """None where the order is of a field that nobody has."""
    passes = compiled(tree)
    found = [document for document in reversed(documents) if document["experimentId"] == "e1" and passes(document)]
    name = {key.lower(): key for document in found for key in document}.get(order.lower())
    if not order or not found:
        return found
    return (name and sorted(found, key=lambda item: place(item[name]), reverse=descending)) or None


@settings(max_examples=150, deadline=None, database=None)
@given(st.lists(DOCUMENTS, max_size=12), TREES, ORDERS, st.booleans(), st.integers(0, 5), st.integers(1, 6))
def test_as_python_finds_them(
    store: Store,
    documents: list[dict[str, Any]],
    tree: Tree,
    order: str,
    descending: bool,
    first: int,
    top: int,
) -> None:
    fill(store, documents)
    whole = expected(documents, tree, order, descending)
    wanted = Selection("run", tree, order, descending, has("experimentid", "e1"))
    if whole is None:
        with pytest.raises(OrderError):
            selected(store, wanted, first, top)
    else:
        assert selected(store, wanted, first, top) == (whole[first : first + top], len(whole) > first + top)


@pytest.mark.parametrize("field", ["Tags/k", "status", "Hidden"])
@pytest.mark.parametrize("operator", sorted(COMPARISONS))
def test_every_comparison_of_every_value(operator: str, field: str, store: Store) -> None:
    base = {"hidden": False, "experimentId": "e1"}
    documents = [{**base, "status": value, "tags": {"k": value}} for value in (None, *VALUES)]
    fill(store, [*documents, {**base, "hidden": True, "status": None, "tags": {}}])
    for wanted in (None, "FaLse", "TRUE", *VALUES):
        tree = Comparison(field, operator, wanted)
        assert condition_of(tree, "run").exact
        passes = compiled(tree)
        whole = [document for _, document in store.bodies(store.numbers("run")) if passes(document)]
        assert selected(store, Selection("run", tree), 0, 99) == (whole, False)


@settings(max_examples=40, deadline=None, database=None)
@given(st.lists(st.tuples(st.integers(0, 3), DOCUMENTS), max_size=12))
def test_what_changes_or_goes_is_found_as_it_is(store: Store, changes: list[tuple[int, dict[str, Any]]]) -> None:
    store.clear()
    there: dict[int, Mapping[str, Any]] = {}
    for key, document in changes:
        if document["hidden"] and key in there:
            store.delete("run", "", str(key))
            there.pop(key)
        else:
            store.put("run", "", str(key), document)
            there[key] = document
    for status in VALUES:
        found = store.having("run", "status", status)
        assert len(found) == sum(document["status"] == status for document in there.values())
        assert all(document["status"] == status for document in found)


@pytest.mark.parametrize(
    ("text", "exact"),
    [
        ('((Tags/sweep eq "s1") and (ParentRunId eq null))', True),
        ("(Tags/sweep ne null or Tags/sweep eq null)", True),
        ("not (RunType eq azureml.scriptrun) and StartTimeUtc ge 2026-01-01", True),
        (" or ".join(f"RunId eq r{number}" for number in range(500)), True),
        (" or ".join(f"RunId eq r{number}" for number in range(2000)), False),
        (" or ".join(f"RunId gt r{number}" for number in range(2000)), False),
        (" or ".join("RunId gt null" for number in range(2000)), False),
        (f"{'(' * 49}{' or '.join(f'Tags/x{number} eq a' for number in range(300))}{')' * 49}", True),
        ("RunNumber eq 1", False),
        ("not RunNumber eq 1", False),
        ("Status eq Running and RunNumber eq 1", False),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_sqlite_can_say(text: str, exact: bool, store: Store) -> None:
    """The filters of the SDK cost no look at each run; the longest ones are no error."""
    document = {"runId": "r1", "runNumber": 1, "status": "Running", "tags": {"x7": "a", "sweep": "s1"}}
    fill(store, [document, {**document, "runId": "q", "runNumber": 2}])
    tree = parsed(text)
    assert condition_of(tree, "run").exact is exact
    passes = compiled(tree)
    wanted = [item for item in store.having("run", "status", "Running")[::-1] if passes(item)]
    assert selected(store, Selection("run", tree), 0, 9) == (wanted, False)


def test_a_state_of_an_earlier_version(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put("run", "", "r1", {"status": "Running", "odd": float("nan")})
    store.database.executescript("DROP TABLE fields; PRAGMA user_version=0")
    store.close()
    again = Store(tmp_path)
    assert [run["status"] for run in again.having("run", "status", "Running")] == ["Running"]
    assert again.tally("run", "status") == {"Running": 1}
    again.close()
