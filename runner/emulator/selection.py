"""A page of the documents that pass a filter, ordered: by SQLite where it says the same as `filters`, else one by one.

A filter becomes a condition over the fields that the store keeps. What has no counterpart there (other fields, a text
compared as a number) becomes a condition that more documents meet, and each of them is then asked in Python.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from runner.emulator.filters import EVERYTHING, MAPPINGS, Comparison, Tree, compiled
from runner.emulator.store import SOUGHT, Store

Document = dict[str, Any]
# What SQLite takes in one statement has an end: of nesting (1000), and of values in old versions (999). Each
# comparison has one value at least, and a page of run ids (500) is one comparison.
MOST_VALUES = 700
HAS = "number IN (SELECT number FROM fields WHERE name=?"
ORDERED: Mapping[str, str] = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
# The one sought field that is true or false: the filter's word may be in any case.
FLAGS = frozenset({"hidden"})


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition of SQLite. If it is not `exact`, it is met by every document that passes, and by others."""

    text: str = "1"
    values: tuple[str, ...] = ()
    exact: bool = True


EVERY = Condition()
UNSAID = Condition(exact=False)
NEVER = Condition("? IS NULL", ("",))


@dataclass(frozen=True, slots=True)
class Selection:
    """Which documents of a sought kind. `shown` is what the filter and the order see of each.

    `order`: a field's name in any case; none: newest first. `where` is a condition besides the filter.
    """

    kind: str
    filter: Tree = EVERYTHING
    order: str = ""
    descending: bool = False
    where: Condition = EVERY
    shown: Callable[[Document], Document] = dict


class OrderError(Exception):
    """None of the documents has the field by which they are to be ordered."""


def selected(store: Store, wanted: Selection, first: int, top: int) -> tuple[list[Document], bool]:
    """The documents from `first` on, `top` at most, and whether there are more. Raises OrderError."""
    condition = both(wanted.where, condition_of(wanted.filter, wanted.kind))
    if condition.exact and (not wanted.order or wanted.order.lower() in scalars(wanted.kind)):
        numbers = in_order(store, wanted, condition, f"LIMIT {top + 1} OFFSET {first}")
        found = [wanted.shown(document) for _, document in store.bodies(numbers)]
    elif not wanted.order:
        numbers = store.numbers(wanted.kind, condition.text, condition.values)
        found = [document for _, document in islice(passing(store, wanted, numbers), first, first + top + 1)]
    else:
        numbers = sorted_by_value(store, wanted, condition)[first : first + top + 1]
        found = [wanted.shown(document) for _, document in store.bodies(numbers)]
    return found[:top], len(found) > top


def in_order(store: Store, wanted: Selection, condition: Condition, cut: str) -> list[int]:
    """As `sorted` does it: what has no value comes last (first, if descending), and of equals the newest first."""
    if not wanted.order:
        return store.numbers(wanted.kind, condition.text, condition.values, f"ORDER BY number DESC {cut}")
    field = wanted.order.lower()
    value = f"(SELECT value FROM fields WHERE fields.number=documents.number AND name='{field}')"  # noqa: S608 - SOUGHT
    way = "DESC" if wanted.descending else "ASC"
    tail = f"ORDER BY {value} IS NULL {way}, {value} {way}, number DESC {cut}"
    return store.numbers(wanted.kind, condition.text, condition.values, tail)


def passing(store: Store, wanted: Selection, numbers: Sequence[int]) -> Iterator[tuple[int, Document]]:
    passes = compiled(wanted.filter)
    for number, document in store.bodies(numbers):
        if passes(shown := wanted.shown(document)):
            yield number, shown


def sorted_by_value(store: Store, wanted: Selection, condition: Condition) -> list[int]:
    """Of each document only its place is kept until all are seen."""
    found, name = [], ""
    for number, document in passing(store, wanted, store.numbers(wanted.kind, condition.text, condition.values)):
        if name not in document:
            name = {key.lower(): key for key in document}.get(wanted.order.lower(), name)
        found.append((place(document.get(name)), number))
    if found and not name:
        raise OrderError
    found.sort(key=lambda item: item[0], reverse=wanted.descending)
    return [number for _, number in found]


def place(value: Any) -> tuple[bool, float, str]:
    """Numbers by their size, all else by its text, nothing at the end."""
    number = isinstance(value, int | float)
    return (value is None, float(value) if number else 0.0, "" if number else str(value))


def has(field: str, value: str, *, any_case: bool = False) -> Condition:
    """A sought field (its name in lower case) has this value. Looked up for each document: most may have it."""
    text = "EXISTS (SELECT 1 FROM fields WHERE fields.number=documents.number AND name=? AND value=?"
    return Condition(f"{text}{' COLLATE NOCASE' if any_case else ''})", (field, value))


def both(*parts: Condition) -> Condition:
    return combined("and", parts)


def combined(word: str, parts: Sequence[Condition]) -> Condition:
    values = tuple(value for part in parts for value in part.values)
    text = f" {word} ".join(f"({part.text})" for part in parts)
    return Condition(text or "1", values, all(part.exact for part in parts))


def negated(part: Condition) -> Condition:
    return Condition(f"NOT ({part.text})", part.values) if part.exact else UNSAID


def condition_of(tree: Tree, kind: str) -> Condition:
    """A condition for a filter; one that would be too long says nothing."""
    if isinstance(tree, Comparison):
        return compared(tree, kind)
    if tree.word == "not":
        return negated(condition_of(tree.parts[0], kind))
    parts = alternatives(tree.parts, kind) if tree.word == "or" else [condition_of(part, kind) for part in tree.parts]
    whole = combined(tree.word, parts)
    return whole if len(whole.values) <= MOST_VALUES else UNSAID


def alternatives(parts: Sequence[Tree], kind: str) -> list[Condition]:
    """Many values of one field, as a query for runs by their ids has them, are looked up together."""
    equals: dict[str, list[str]] = {}
    others = []
    for part in parts:
        name = sought_name(part.field, kind) if isinstance(part, Comparison) else ""
        if isinstance(part, Comparison) and name and part.operator == "eq" and part.wanted is not None:
            equals.setdefault(name, []).append(as_kept(name, part.wanted))
        else:
            others.append(condition_of(part, kind))
    marks = {name: ",".join("?" * len(values)) for name, values in equals.items()}
    return [
        *(Condition(f"{HAS} AND value IN ({marks[name]}))", (name, *values)) for name, values in equals.items()),
        *others,
    ]


def compared(tree: Comparison, kind: str) -> Condition:
    name = sought_name(tree.field, kind)
    if not name:
        return UNSAID
    wanted = None if tree.wanted is None else as_kept(name, tree.wanted)
    if tree.operator in ORDERED:
        sign = ORDERED[tree.operator]
        return NEVER if wanted is None else Condition(f"{HAS} AND value{sign}?)", (name, wanted))
    there = Condition(f"{HAS})", (name,)) if wanted is None else Condition(f"{HAS} AND value=?)", (name, wanted))
    return there if (tree.operator == "eq") is (wanted is not None) else negated(there)


def as_kept(name: str, wanted: str) -> str:
    return wanted.lower() if name in FLAGS else wanted


def sought_name(field: str, kind: str) -> str:
    """The name under which the store keeps a filter's field; empty if it does not."""
    group, _, key = field.partition("/")
    if key:
        mapping = MAPPINGS.get(group.lower(), "")
        return f"{mapping}/{key}" if mapping in SOUGHT[kind] else ""
    return field.lower() if field.lower() in scalars(kind) else ""


def scalars(kind: str) -> frozenset[str]:
    return frozenset(field.lower() for field in SOUGHT[kind] if field not in MAPPINGS.values())
