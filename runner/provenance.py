"""Which line of which file, or which override, set each value of a composed configuration.

Hydra merges files in the order of its defaults list and then applies overrides; nothing in the result says where a
value came from. This module walks the same files in the same order with PyYAML's marks and repeats the merge on
places instead of values. It is a side channel: it never decides a value (docs/decisions/0002).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from runner.errors import Place
from runner.spec import Origin

Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
MERGE_TAG = "tag:yaml.org,2002:merge"


@dataclass(slots=True)
class Trail:
    """A tree of places, shaped like the configuration."""

    origin: Origin | None = None
    children: dict[str, Trail] = field(default_factory=dict)

    def at(self, path: tuple[str, ...], origin: Origin) -> Trail:
        """The node at `path`, made (with `origin`) where missing."""
        node = self
        for key in path:
            if key not in node.children:
                node.children[key] = Trail(origin)
            node = node.children[key]
        return node

    def copy(self) -> Trail:
        return Trail(self.origin, {key: child.copy() for key, child in self.children.items()})


def record_file(trail: Trail, package: str, path: Path, source: str) -> None:
    """Merge the places of the YAML file `path`, named `source` in messages, into `trail` under `package`."""
    node = parse(path)
    if not isinstance(node, yaml.MappingNode):
        return
    here = place(node, source)
    target = trail.at(tuple(filter(None, package.split("."))), Origin(here, here))
    for key, key_node, value in pairs(node):
        if key != "defaults":
            merge(target, key, key_node, value, source)


def record_override(trail: Trail, key: str, value: Any, text: str, *, delete: bool) -> None:
    """Merge one value override: mappings merge, everything else replaces, `~key` removes."""
    here = Place.of_override(text)
    path = tuple(key.split("."))
    if delete:
        parent = trail.at(path[:-1], Origin(here, here))
        parent.children.pop(path[-1], None)
    else:
        write(trail.at(path, Origin(here, here)), value, Origin(here, here))


def flatten(trail: Trail) -> dict[tuple[str, ...], Origin]:
    """The tree as `{path: origin}`, mappings and lists included."""
    return dict(walk(trail, ()))


def present(trail: Trail, values: Any) -> dict[tuple[str, ...], Origin]:
    """The same, of what `values` has.

    A file that is read twice in one composition shares its lists in Hydra, and what replaces one replaces the other:
    such a list is not the one that the file has (what is interpolated has no items there), so its place is not told.
    """
    return dict(walk_with(trail, (), values))


def find_in_defaults(path: Path, source: str, wanted: str) -> Place | None:
    """The place of `wanted` in the defaults list of a file: an option, a `group/option`, or a group."""
    node = parse(path)
    for key, _, value in pairs(node) if isinstance(node, yaml.MappingNode) else ():
        if key == "defaults" and isinstance(value, yaml.SequenceNode):
            for scalar in scalars(value):
                words = scalar.value.split("@")[0].split()
                if words and words[-1].lstrip("/") in (wanted, wanted.rsplit("/", 1)[-1]):
                    return place(scalar, source)
    return None


def find_odd_default(path: Path, source: str) -> Place | None:
    """The place of a defaults list that is none, or of the first item in it that is neither text nor one choice."""
    node = parse(path)
    for key, _, value in pairs(node) if isinstance(node, yaml.MappingNode) else ():
        items = value.value if isinstance(value, yaml.SequenceNode) else []
        odd = [item for item in items if not is_default(item)]
        if key == "defaults" and (odd or not isinstance(value, yaml.SequenceNode)):
            return place((odd or [value])[0], source)
    return None


def is_default(node: yaml.Node) -> bool:
    if isinstance(node, yaml.MappingNode):
        return len(node.value) == 1 and isinstance(node.value[0][0], yaml.ScalarNode)
    return isinstance(node, yaml.ScalarNode) and str(node.tag).endswith(":str")


def find_scalar(path: Path, source: str, wanted: str) -> Place | None:
    """The place of the first text in a file that holds `wanted`."""
    node = parse(path)
    found = (scalar for scalar in scalars(node) if wanted in scalar.value) if node is not None else iter(())
    return next((place(scalar, source) for scalar in found), None)


def place(node: yaml.Node, source: str) -> Place:
    return Place(source, node.start_mark.line + 1, node.start_mark.column + 1)


def pairs(node: yaml.MappingNode, above: tuple[yaml.Node, ...] = ()) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
    """Key, key node, value node of a mapping; what `<<` brings comes first, so that the mapping's own keys win."""
    for key_node, value in node.value:
        if key_node.tag == MERGE_TAG:
            merged = value.value if isinstance(value, yaml.SequenceNode) else [value]
            for mapping in reversed(merged):
                if isinstance(mapping, yaml.MappingNode) and mapping not in (node, *above):
                    yield from pairs(mapping, (node, *above))
    for key_node, value in node.value:
        if key_node.tag != MERGE_TAG and isinstance(key_node, yaml.ScalarNode):
            yield key_node.value, key_node, value


def merge(parent: Trail, key: str, key_node: yaml.Node, value: yaml.Node, source: str) -> None:
    """Repeat OmegaConf's merge of one key: mappings merge, lists and scalars replace, `???` yields to what is there."""
    old = parent.children.get(key)
    if isinstance(value, yaml.ScalarNode) and value.value == "???" and old is not None:
        return
    origin = Origin(place(value, source), place(key_node, source))
    if isinstance(value, yaml.MappingNode) and old is not None and (old.children or not value.value):
        target = old
    else:
        target = parent.children[key] = Trail(origin)
    if isinstance(value, yaml.MappingNode):
        for child_key, child_node, child in pairs(value):
            merge(target, child_key, child_node, child, source)
    elif isinstance(value, yaml.SequenceNode):
        for index, item in enumerate(value.value):
            merge(target, str(index), item, item, source)


def write(node: Trail, value: Any, origin: Origin) -> None:
    if isinstance(value, dict):
        node.origin = node.origin or origin
        for key, item in value.items():
            write(node.at((str(key),), origin), item, origin)
        return
    node.origin, node.children = origin, {}
    if isinstance(value, list):
        for index, item in enumerate(value):
            write(node.at((str(index),), origin), item, origin)


def walk(trail: Trail, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Origin]]:
    if trail.origin is not None:
        yield path, trail.origin
    for key, child in trail.children.items():
        yield from walk(child, (*path, key))


def walk_with(trail: Trail, path: tuple[str, ...], value: Any) -> Iterator[tuple[tuple[str, ...], Origin]]:
    if isinstance(value, list) and trail.children and len(value) != len(trail.children):
        return
    if trail.origin is not None:
        yield path, trail.origin
    pairs_of = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    items = {str(key): item for key, item in pairs_of}
    for key, child in trail.children.items():
        if key in items:
            yield from walk_with(child, (*path, key), items[key])


def scalars(node: yaml.Node) -> Iterator[yaml.ScalarNode]:
    """Every text below the node, once: an alias may lead back to what holds it. Keys come after their values."""
    todo, seen = [node], set()
    while todo:
        here = todo.pop()
        if id(here) in seen:
            continue
        seen.add(id(here))
        if isinstance(here, yaml.ScalarNode):
            yield here
        elif isinstance(here, yaml.SequenceNode):
            todo += reversed(here.value)
        elif isinstance(here, yaml.MappingNode):
            todo += reversed([item for key, value in here.value for item in (value, key)])


def parse(path: Path) -> yaml.Node | None:
    """The file's node tree, with marks; None where it is empty or no YAML (Hydra words that error)."""
    try:
        return _parse(path.read_bytes())
    except (OSError, yaml.YAMLError, UnicodeError, RecursionError):
        return None


@lru_cache(maxsize=1024)
def _parse(content: bytes) -> yaml.Node | None:
    node: yaml.Node | None = yaml.compose(content.decode("utf-8"), Loader=Loader)
    return node
