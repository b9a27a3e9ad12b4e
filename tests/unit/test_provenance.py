"""Places follow OmegaConf's merge: mappings merge, lists and scalars replace, `???` yields, `~` removes."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from runner.errors import Place
from runner.provenance import Trail, find_in_defaults, flatten, parse, record_file, record_override


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(textwrap.dedent(text).lstrip("\n"))
    return path


def places(trail: Trail) -> dict[str, str]:
    """`{"a.b": "file:line:column"}` of every node."""
    return {".".join(path): str(origin.value) for path, origin in flatten(trail).items()}


def merged(folder: Path, *texts: str) -> dict[str, str]:
    """The places after merging files named one, two, three, ... in order."""
    trail = Trail()
    for name, text in zip(("one", "two", "three"), texts, strict=False):
        record_file(trail, "", written(folder, name, text), name)
    return places(trail)


# Files in the order of merging, and the place of every leaf and mapping afterwards.
MERGES: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
    "one file": (("a: 1\nb: {c: 2}\n",), {"a": "one:1:4", "b": "one:2:4", "b.c": "one:2:8"}),
    "a later file wins": (("a: 1\n", "a: 2\n"), {"a": "two:1:4"}),
    "mappings merge": (
        ("m:\n  a: 1\n  b: 2\n", "m:\n  b: 3\n  c: 4\n"),
        {"m": "one:2:3", "m.a": "one:2:6", "m.b": "two:2:6", "m.c": "two:3:6"},
    ),
    "a list replaces a list as a whole": (
        ("l: [1, 2, 3]\n", "l: [9]\n"),
        {"l": "two:1:4", "l.0": "two:1:5"},
    ),
    "a scalar replaces a mapping": (("m: {a: 1}\n", "m: 5\n"), {"m": "two:1:4"}),
    "a mapping replaces a scalar": (("m: 5\n", "m: {a: 1}\n"), {"m": "two:1:4", "m.a": "two:1:8"}),
    "null replaces a mapping": (("m: {a: 1}\n", "m: null\n"), {"m": "two:1:4"}),
    "a mapping after null": (("m: null\n", "m: {a: 1}\n"), {"m": "two:1:4", "m.a": "two:1:8"}),
    "missing yields to what is there": (("a: 1\n", "a: ???\n"), {"a": "one:1:4"}),
    "missing where nothing is": (("a: ???\n",), {"a": "one:1:4"}),
    "an empty mapping changes nothing": (("m: {a: 1}\n", "m: {}\n"), {"m": "one:1:4", "m.a": "one:1:8"}),
    "an empty mapping where nothing is": (("m: {}\n",), {"m": "one:1:4"}),
    "mappings in lists": (
        ("l:\n- a: 1\n  b: 2\n- 3\n",),
        {"l": "one:2:1", "l.0": "one:2:3", "l.0.a": "one:2:6", "l.0.b": "one:3:6", "l.1": "one:4:3"},
    ),
    "a merge key's values are where the anchor has them": (
        ("base: &b {x: 1, y: 2}\nuse:\n  <<: *b\n  y: 3\n",),
        {
            "base": "one:1:7",
            "base.x": "one:1:14",
            "base.y": "one:1:20",
            "use": "one:3:3",
            "use.x": "one:1:14",
            "use.y": "one:4:6",
        },
    ),
    "several merge keys: the first named wins": (
        ("a: &a {k: 1}\nb: &b {k: 2}\nc:\n  <<: [*a, *b]\n",),
        {"a": "one:1:4", "a.k": "one:1:11", "b": "one:2:4", "b.k": "one:2:11", "c": "one:4:3", "c.k": "one:1:11"},
    ),
    "an alias": (
        ("a: &x {k: 1}\nb: *x\n",),
        {"a": "one:1:4", "a.k": "one:1:11", "b": "one:1:4", "b.k": "one:1:11"},
    ),
    "defaults are not values": (("defaults: [x]\na: 1\n",), {"a": "one:2:4"}),
    "defaults below the top are": (("m: {defaults: 1}\n",), {"m": "one:1:4", "m.defaults": "one:1:15"}),
    "a block of text": (("t: |\n  one\n  two\n",), {"t": "one:1:4"}),
    "three files": (("a: 1\n", "b: 2\n", "a: 3\n"), {"a": "three:1:4", "b": "two:1:4"}),
}


@pytest.mark.parametrize("case", MERGES)
def test_merging(tmp_path: Path, case: str) -> None:
    texts, expected = MERGES[case]
    assert merged(tmp_path, *texts) == expected


def leaf_paths(node: Any, path: tuple[str, ...] = ()) -> set[str]:
    items: Any = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list) else ()
    found = {".".join(path)} if path else set()
    for key, item in items:
        found |= leaf_paths(item, (*path, str(key)))
    return found


@pytest.mark.parametrize("case", [name for name in MERGES if "defaults" not in name])
def test_what_has_a_place_is_what_omegaconf_has(tmp_path: Path, case: str) -> None:
    texts, _ = MERGES[case]
    value = OmegaConf.to_container(OmegaConf.merge(*(OmegaConf.create(text) for text in texts)))
    assert set(merged(tmp_path, *texts)) == leaf_paths(value)


def test_packages_put_a_file_below_a_path(tmp_path: Path) -> None:
    trail = Trail()
    record_file(trail, "a.b", written(tmp_path, "f", "x: 1\n"), "f")
    record_file(trail, "", written(tmp_path, "g", "a: {c: 2}\n"), "g")
    assert places(trail) == {"a": "f:1:1", "a.b": "f:1:1", "a.b.x": "f:1:4", "a.c": "g:1:8"}


# The override's key and value, and what becomes of `m: {a: 1, l: [1, 2]}` in file f.
OVERRIDES: dict[str, tuple[str, Any, bool, dict[str, str]]] = {
    "a value": ("m.a", 5, False, {"m.a": "override 'm.a=...'"}),
    "a new key": (
        "m.new.deep",
        5,
        False,
        {"m.new": "override 'm.new.deep=...'", "m.new.deep": "override 'm.new.deep=...'"},
    ),
    "an item of a list": ("m.l.1", 5, False, {"m.l.1": "override 'm.l.1=...'", "m.l.0": "f:1:15"}),
    "a whole list": ("m.l", [9], False, {"m.l": "override 'm.l=...'", "m.l.0": "override 'm.l=...'"}),
    "a mapping merges": ("m", {"a": 7}, False, {"m": "f:1:4", "m.a": "override 'm=...'", "m.l": "f:1:14"}),
    "a scalar for a mapping": ("m", None, False, {"m": "override 'm=...'"}),
}


@pytest.mark.parametrize("case", OVERRIDES)
def test_overrides(tmp_path: Path, case: str) -> None:
    key, value, delete, expected = OVERRIDES[case]
    trail = Trail()
    record_file(trail, "", written(tmp_path, "f", "m: {a: 1, l: [1, 2]}\n"), "f")
    record_override(trail, key, value, f"{key}=...", delete=delete)
    found = places(trail)
    assert {path: found.get(path) for path in expected} == expected
    if case in ("a whole list", "a scalar for a mapping"):
        assert "m.l.1" not in found


def test_a_removed_key_has_no_place(tmp_path: Path) -> None:
    trail = Trail()
    record_file(trail, "", written(tmp_path, "f", "m: {a: 1, b: {c: 2}}\n"), "f")
    record_override(trail, "m.b", None, "~m.b", delete=True)
    assert places(trail) == {"m": "f:1:4", "m.a": "f:1:8"}
    record_override(trail, "m.b", 3, "+m.b=3", delete=False)
    assert places(trail)["m.b"] == "override '+m.b=3'"


def test_copies_do_not_share_anything(tmp_path: Path) -> None:
    trail = Trail()
    record_file(trail, "", written(tmp_path, "f", "m: {a: 1}\n"), "f")
    other = trail.copy()
    record_override(other, "m.a", 2, "m.a=2", delete=False)
    record_override(other, "n", 2, "+n=2", delete=False)
    assert places(trail) == {"m": "f:1:4", "m.a": "f:1:8"}


def test_keys_have_places_of_their_own(tmp_path: Path) -> None:
    trail = Trail()
    record_file(trail, "", written(tmp_path, "f", "long_key:   value\n"), "f")
    (origin,) = flatten(trail).values()
    assert (origin.key, origin.value) == (Place("f", 1, 1), Place("f", 1, 13))


@pytest.mark.parametrize("text", ["", "# nothing\n", "[1, 2]\n", "just text\n", "a: [\n", "a: 1\n\tb: 2\n"])
def test_a_file_without_a_mapping_records_nothing(tmp_path: Path, text: str) -> None:
    trail = Trail()
    record_file(trail, "pkg", written(tmp_path, "f", text), "f")
    assert places(trail) == {}


def test_what_cannot_be_read_is_none(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"a: \xe9\n")
    assert parse(tmp_path / "latin") is None
    assert parse(tmp_path / "nowhere") is None


DEFAULTS = """
defaults:
  - _self_
  - db: small
  - optional extra: null
  - override /model@a.b: resnet
  - group/nested: deep
  - plain_file
db: not a default
"""


@pytest.mark.parametrize(
    ("wanted", "place"),
    [
        ("db/small", "4:9"),
        ("small", "4:9"),
        ("model/resnet", "6:26"),
        ("model", "6:5"),
        ("extra", "5:5"),
        ("group/nested/deep", "7:19"),
        ("group/nested", "7:5"),
        ("plain_file", "8:5"),
    ],
)
def test_entries_of_a_defaults_list_are_found(tmp_path: Path, wanted: str, place: str) -> None:
    path = written(tmp_path, "config.yaml", "# first\n" + DEFAULTS.lstrip("\n"))
    found = find_in_defaults(path, "config.yaml", wanted)
    assert str(found) == f"config.yaml:{place}"


@pytest.mark.parametrize("wanted", ["nothing", "db: not a default", "db/big"])
def test_what_no_defaults_list_has_is_not_found(tmp_path: Path, wanted: str) -> None:
    path = written(tmp_path, "config.yaml", DEFAULTS)
    assert find_in_defaults(path, "config.yaml", wanted) is None
