"""Plain values laid over a composed configuration: containers of its own where something changed, else shared ones.

What is laid over what is decided in runner.compose, where Hydra can be asked (docs/decisions/0010). Everything here is
plain containers, and nothing that was given is changed.
"""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from runner.compose_errors import uses_resolver
from runner.errors import Place
from runner.spec import Origin

Path = tuple[str, ...]
REFERENCE = re.compile(r"\$\{([A-Za-z_]\w*(?:\.\w+|\[\w+\])*)\}")
PARTS = re.compile(r"\w+")


class Absent:
    """What is in no mapping."""


@dataclass(frozen=True, slots=True)
class Laid:
    """One override of a leaf that is there already: where, what, and its own text."""

    path: Path
    value: Any
    text: str


@dataclass(frozen=True, slots=True)
class Ground:
    """A configuration without interpolations that depend on more than itself, and what each of its values reads.

    `parts` keeps what was laid over, by top-level key and the overrides' texts (1, 1.0 and true are equal, their texts
    are not): points that agree in a part share it.
    """

    values: Mapping[str, Any]
    origins: Mapping[Path, Origin]
    reads: frozenset[Path]
    parts: dict[tuple[str, ...], Any] = field(default_factory=dict)
    places: dict[str, Origin] = field(default_factory=dict)

    def leaves(self) -> list[Path]:
        """The paths of what is neither a mapping nor a list, nor in a list."""
        return [path for path in self.origins if not isinstance(self.at(path), (dict, list, Absent))]

    def at(self, path: Path) -> Any:
        node: Any = self.values
        for key in path:
            node = node.get(key, Absent()) if isinstance(node, dict) else Absent()
        return node

    def is_free(self, path: Path) -> bool:
        """Whether the place of the leaf is known, nothing lies below it, and no interpolation reads it."""
        taken = any(path[: len(read)] == read[: len(path)] for read in self.reads)
        below = any(len(known) > len(path) and known[: len(path)] == path for known in self.origins)
        return path in self.origins and not taken and not below


def references(raw: Any) -> frozenset[Path] | None:
    """The paths that interpolations in `raw` (not resolved) read; None where that cannot be told from their text."""
    found: set[Path] = set()
    for text in texts(raw):
        if "${" in text:
            found |= {tuple(PARTS.findall(path)) for path in REFERENCE.findall(text)}
            if "${" in REFERENCE.sub("", text):  # a resolver, a relative or a nested one, an escaped sign
                return None
    return frozenset(found)


def plain(value: Any) -> Any:
    """Keys become strings, as they are in JSON."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def resolver_values(raw: Any, value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Path and value of each text in `raw` (not resolved) that asks a resolver."""
    if isinstance(raw, str) and uses_resolver(raw):
        yield path, value
    elif isinstance(raw, dict) and isinstance(value, dict):
        for key, item in raw.items():
            yield from resolver_values(item, value.get(str(key)), (*path, str(key)))
    elif isinstance(raw, list) and isinstance(value, list):
        for index, item in enumerate(raw):
            yield from resolver_values(item, value[index] if index < len(value) else None, (*path, str(index)))


def lay(ground: Ground, given: Sequence[Laid]) -> tuple[dict[str, Any], Mapping[Path, Origin]]:
    """The values with what is given, in order, and the places of all."""
    values = dict(ground.values)
    tops: dict[str, list[Laid]] = {}
    for each in given:
        tops.setdefault(each.path[0], []).append(each)
    for top, inside in tops.items():
        key = (top, *(each.text for each in inside))
        if key not in ground.parts:
            ground.parts[key] = changed(values[top], [(each.path[1:], each.value) for each in inside])
        values[top] = ground.parts[key]
    return values, ChainMap({each.path: place(ground, each.text) for each in given}, ground.origins)  # type: ignore[arg-type]  # read only


def changed(node: Any, leaves: Sequence[tuple[Path, Any]]) -> Any:
    for path, value in leaves:
        node = with_leaf(node, path, value)
    return node


def with_leaf(node: Any, path: Path, value: Any) -> Any:
    return {**node, path[0]: with_leaf(node[path[0]], path[1:], value)} if path else value


def place(ground: Ground, text: str) -> Origin:
    if text not in ground.places:
        here = Place.of_override(text)
        ground.places[text] = Origin(here, here)
    return ground.places[text]


def texts(node: Any) -> Iterator[str]:
    """Every text in it, the items of lists and the values of mappings."""
    items: Any = node.values() if isinstance(node, Mapping) else node if isinstance(node, list) else ()
    for item in items:
        yield from texts(item)
    if isinstance(node, str):
        yield node
