"""JSON for programs, as `json.dumps(value, indent=2)` has it; what thousands of plans share is written once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from json.encoder import encode_basestring_ascii
from typing import Any

from runner.spec import GitState, Plan, SnapshotRef, jsonable

INDENT = "  "


def document(plans: Iterable[Plan], rest: Mapping[str, Any]) -> Iterator[str]:
    """`{"plans": [...], **rest}`, a plan at a time: of ten thousand, not one is kept."""
    shared: dict[tuple[int, int], tuple[Any, str]] = {}
    yield f'{{\n{INDENT}"plans": ['
    for number, plan in enumerate(plans):
        yield f"{',' * (number > 0)}\n{INDENT * 2}{plan_text(plan, 2, shared)}"
    yield f"\n{INDENT}]"
    for key, value in rest.items():
        yield f",\n{INDENT}{encode_basestring_ascii(key)}: {text(value, 1)}"
    yield "\n}"


def plan_text(plan: Plan, depth: int, shared: dict[tuple[int, int], tuple[Any, str]]) -> str:
    """`shared` keeps the parts that were written before, with their text, by identity and depth."""
    often = {id(part) for part in (*plan.config.values(), plan.git) if not isinstance(part, SCALARS)}

    def write(value: Any, depth: int) -> str:
        if id(value) not in often:
            return text(value, depth, write)
        same = (id(value), depth)
        if same not in shared:
            shared[same] = value, text(value, depth)
        return shared[same][1]

    return text(plan.parts(), depth, write)


def text(value: Any, depth: int, write: Any = None) -> str:
    """One value, whose first line is already indented; `write` is asked for what is inside."""
    inside = write or text
    if isinstance(value, (Enum, GitState, SnapshotRef)):
        value = jsonable(value)
    if isinstance(value, str):
        return encode_basestring_ascii(value)
    if value is None or isinstance(value, bool):
        return WORDS[value]
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, float):
        return NUMBERS.get(float.__repr__(value), float.__repr__(value))
    if isinstance(value, Mapping):
        items = [f"{encode_basestring_ascii(str(key))}: {inside(item, depth + 1)}" for key, item in value.items()]
    else:
        items = [inside(item, depth + 1) for item in value]
    first, last = ("{", "}") if isinstance(value, Mapping) else ("[", "]")
    gap = "\n" + INDENT * (depth + 1)
    return f"{first}{gap}{f',{gap}'.join(items)}\n{INDENT * depth}{last}" if items else first + last


SCALARS = (str, bool, int, float, type(None))
WORDS = {None: "null", True: "true", False: "false"}
NUMBERS = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
