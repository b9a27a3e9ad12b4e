"""Composing against Hydra itself, on random trees and overrides: the same values, or both refuse; the places hold.

A sample runs with the fast tests; `make test-slow` runs hundreds of examples, FULL=1 thousands.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from runner.compose import compose, expand
from runner.errors import ConfigError, Place
from runner.provenance import Loader
from runner.spec import Config

MANY = 3000 if os.environ.get("FULL") else 150
SAMPLE = settings(max_examples=3, deadline=None, derandomize=True, database=None)
SAMPLE_OF_POINTS = settings(SAMPLE, max_examples=6)
FULL = settings(max_examples=MANY, deadline=None, database=None, suppress_health_check=list(HealthCheck))
Tree = Mapping[str, str]
Paths = dict[tuple[str, ...], Any]

# A value, a mapping, a list, anything: what overrides and interpolations take for granted, in most files.
BASE = {"a": 1, "b": {"c": 2, "d": 3}, "d": [1, {"a": 3}], "c": None}
LITERALS = (
    *(None, True, False, 0, -3, 7, 0.5, 1e-3, 1e10, "x", "", "it's", "a, b", "1", "null", "{x}", "ü"),
    *("two\nlines", "???"),
    *("\\${a}", "# no comment", " x ", "on", "2026-01-01", "a: b", "- x", "~", "\\", "$", "x" * 90),
)
INTERPOLATIONS = (
    *("${a}", "${b.c}", "${b}", "${d}", "t ${a}-${b.c}", "${.a}", "${d.0}", "${d[1].a}", "${db}", "${oc.select:zz,3}"),
    *("${oc.env:AMLRUN_NOT_SET,none}", "${oc.decode:'[1,2]'}", "${oc.dict.keys:b}", "${oc.select:b}"),
    *("${oc.create:{q:1}}",),
)
SIMPLE = ("${a}", "${b.c}", "${b}", "t ${a}-${b.c}", "${d.0}", "${d[1].a}", "${db}")
UNRESOLVABLE = ("${nope}", "${oc.env:AMLRUN_NOT_SET}", "${d.a.b}", "${", "${a", "${gone:1}", "${a.b}", "${e}", "${f}")
# Of files that a tree may hold twice, none moves values to the other place: Hydra's cache shares nodes between both.
HEADERS = ("# @package _global_\n", "# @package a.z\n", "# @package _group_\n", "# @package db\n", "# @package b\n")
# What a file of each kind may have in its defaults list. None of it leads back to the file.
ENTRIES: Mapping[str, tuple[Any, ...]] = {
    "config": (
        *({"db@src": "one"}, {"optional db@b.c": "gone"}, "flat", {"net/head@head": "mlp"}, {"db@e": ["one", "two"]}),
        *({"optional extra": None}, {"db@s2": "${db}"}, {"/db@g.h": "three"}),
    ),
    "db/one": ("two", "three", {"/net/head@part": "lin"}, "/flat", "three@_here_", "two@r.s"),
    "db/two": ("three", {"/net/head@_global_.q": "lin"}, {"optional gone": "x"}, "three@r", "three@_group_"),
    "exp/e1": ({"override /db": "two"}, {"override /net/head": "mlp"}, {"/db@new": "two"}, {"optional /db@new2": "z"}),
    "exp/e2": ("e1", {"override /db": None}, {"override /db": "three"}, {"/net/head@h2": "mlp"}, "once/it@y"),
}
WRONG: Mapping[str, tuple[Any, ...]] = {
    "config": ({"db": "gone"}, {"override net/head": "mlp"}, {"db": "two"}, "gone", {"no": "x"}, 1, {"a": 1, "b": 2}),
    "exp/e1": ({"override /db": "gone"}, {"override /nothing": "x"}, {"override /exp": "e2"}, {"override db": "two"}),
}
GROUPED = ("db/one", "db/two", "db/three", "net/head/lin", "net/head/mlp", "exp/e1", "exp/e2", "once/it")
FILES = ("config", "flat", *GROUPED)
CHOICES = (
    *("db=one", "db=two", "db=three", "db=null", "net/head=mlp", "net/head=lin", "exp=e1", "exp=e2", "~db"),
    *("~net/head",),
    *("+db@x.y=one", "db=[one,three]", "+net/head@g=mlp", "hydra/job_logging=none", "hydra.job.name=n", "++db=two"),
    *("exp=null", "db={a:1}", "+db@x=two", "+db@x={a:1}", "db@src=two", "~db@src", "++hydra.job.env_set={}"),
)
WRONG_CHOICES = (
    *("+exp=e2", "+db=two", "db@e=three", "~db=one", "~db=two", "db=gone", "db=", "net=lin", "db@:x=one"),
    *("db=1", "+flat=x"),
    *("db@src:b=one", "exp=e3", "++exp=e1", "~exp=e1", "db=true", "~db=null", "db@src=gone", "db=[one,gone]"),
    *("~nothing",),
)
HERE = ("a", "b", "b.c", "b.d", "d", "d.0", "d.1.a", "c", "db.a", "db.b", "d.1", "e", "db.c", "b", "a", "net.head.a")
NEW = ("n", "n.m", "b.n", "c.n", "db.n", "a", "b.d.n", "d.2", "d[0]", "b[d]", "1", "b.1", "é", "a-b", "src.n", "d.x")
VALUES = (
    *("1", "-2.5", "1e3", "true", "null", "abc", "a b", "", "'a, b'", '"it\'s"', "'it\\'s'", "a=b", "???"),
    *("[1,x,{a:2}]",),
    *("{}", "[]", "{a:1,b:{c:null}}", "{a:{b:[1]},c:${a}}", "${a}", "${b.c}", "x ${b.c} y", "'${a}'", "\\${a}", "${b}"),
    *("nan", "inf", "int('3')", "str(1)", "0x10", "1_000", "$x", "ü", "{c:4}", "{d:[5]}", "{1:2}", "{true:x,null:y}"),
    *("${oc.env:AMLRUN_NOT_SET,no}", "{d:[{b:1}]}", "[[1,2],[3]]", "' x '", "a:b", "/p/q.txt"),
    *("json_str({a:1})", "\\\\"),
)
WRONG_VALUES = ("1,2", "choice(1,2)", "range(3)", "[", "{a", "${", "${nope}", "'", "[range(1,2)]", "{a:glob(*)}")
SWEEPS = (
    *("a=1,2", "b=choice(1,2,3)", "a.b=range(1,4)", "b=range(3,0,-1)", "c=range(0,1,0.5)", "db=glob(*)", "db=glob(t*)"),
    *("db=glob([t*,o*],exclude=two)", "a=sort(3,1,2)", "a=sort(b,a,reverse=true)", "b=shuffle(1)", "d='a,b','c d'"),
    *("a=tag(x,choice(1,2))", "b=[1,2],[3]", "c={a:1},{a:2}", "d=7", "db=one,two", "+new=x,y", "~b", "a=''"),
    *("net/head=lin",),
    *("a=interval(0,1)", "b=glob(*)", "db=glob(z*)", "a=1,", "c=choice()", "b=str(1,2)", "a=${b},1"),
    *("++c=null,true", "nope"),
    *("+net/head@p=mlp,lin", "exp=e1,e2,null", "d=range(0)", "a=range(1,3),5", "c=\\,,x", "a=tag(interval(0,1))"),
)


def literals() -> st.SearchStrategy[Any]:
    return st.sampled_from(LITERALS) | st.recursive(
        st.sampled_from(LITERALS),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=3),
        max_leaves=4,
    )


@st.composite
def contents(draw: st.DrawFn, simple: bool) -> dict[str, Any]:
    """What a file has of the keys of BASE, mostly of their types, and of interpolations."""
    scalar = st.sampled_from(LITERALS)
    mapping = st.dictionaries(st.sampled_from("cdn"), scalar | st.lists(scalar, max_size=2), max_size=3)
    text = st.sampled_from(SIMPLE if simple else UNRESOLVABLE if rarely(draw) else INTERPOLATIONS)
    mixed = (
        text | st.lists(text | scalar, max_size=2) | st.dictionaries(st.sampled_from("ab"), text | scalar, max_size=2)
    )
    typed = {"a": scalar, "b": mapping, "c": literals(), "d": st.lists(literals(), max_size=3), "e": mixed, "f": mixed}
    drawn = {key: draw(typed[key]) for key in draw(st.lists(st.sampled_from("abcdef"), max_size=3, unique=True))}
    return drawn | ({draw(st.sampled_from("abd")): draw(literals())} if rarely(draw) else {})


@st.composite
def files(draw: st.DrawFn, name: str, simple: bool) -> str:
    entries: list[Any] = []
    if name == "config":
        chosen = [{"db": draw(st.sampled_from(("one", "two", "three")))}, {"net/head": "lin"}, {"once": "it"}]
        entries = [*draw(st.permutations(chosen)), {"exp": draw(st.sampled_from((None, None, "e1", "e2")))}]
    if name in ENTRIES:
        entries = [*draw(st.lists(st.sampled_from(ENTRIES[name]), max_size=2, unique_by=str)), *entries]
    if name == "config" and draw(st.booleans()):
        entries.append({"override hydra/job_logging": "none"})
    if name in WRONG and rarely(draw):
        entries.append(draw(st.sampled_from(WRONG[name])))
    content: dict[str, Any] = {}
    if entries:
        at = 0 if rarely(draw) else draw(st.integers(1, len(entries) + 1))
        content["defaults"] = [*entries[: at - 1], "_self_", *entries[at - 1 :]] if at else entries
    content |= (BASE if name == "config" or draw(st.booleans()) else {}) | draw(contents(simple))
    header = {"exp": HEADERS[0], "once": draw(st.sampled_from(HEADERS))}.get(name.partition("/")[0], "")
    text = yaml.safe_dump(content, allow_unicode=True, sort_keys=False, default_flow_style=draw(st.booleans()))
    return header + text


def rarely(draw: st.DrawFn) -> bool:
    return draw(st.integers(0, 29)) == 7


def trees(simple: bool = False) -> st.SearchStrategy[Tree]:
    """`simple`: with interpolations that say by themselves what they read."""
    return st.fixed_dictionaries({name: files(name, simple) for name in FILES})


@st.composite
def overrides(draw: st.DrawFn) -> str:
    if draw(st.integers(0, 2)) == 0:
        return draw(st.sampled_from(WRONG_CHOICES if rarely(draw) else CHOICES))
    prefix = draw(st.sampled_from(("", "", "", "+", "++", "~")))
    keys = HERE if (prefix in ("", "~")) != rarely(draw) else NEW
    value = draw(st.sampled_from(WRONG_VALUES if rarely(draw) else VALUES))
    return f"{prefix}{draw(st.sampled_from(keys))}" + ("" if prefix == "~" and not rarely(draw) else f"={value}")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("property")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("runner.compose.packaged", lambda name: folder / name)
        patch.delenv("AMLRUN_NOT_SET", raising=False)
        patch.setenv("AMLRUN_CACHE", "off")  # what is composed here is composed anew
        yield folder


def laid_out(project: Path, tree: Tree) -> Path:
    shutil.rmtree(project / "configs", ignore_errors=True)
    for name, text in tree.items():
        path = project / "configs" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return project


def from_hydra(project: Path, given: Sequence[str]) -> Any:
    """What Hydra composes, resolved; None where it refuses."""
    GlobalHydra.instance().clear()
    try:
        with warnings.catch_warnings(), initialize_config_dir(str(project / "configs"), version_base=None):
            warnings.simplefilter("ignore")
            return as_json(OmegaConf.to_container(hydra_compose("config", list(given)), resolve=True))
    except Exception:  # noqa: BLE001 - Hydra raises bare exceptions of several classes
        return None


def as_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_json(item) for item in value]
    return "nan" if isinstance(value, float) and math.isnan(value) else value


def refused(config: Config) -> bool:
    return any(problem.severity == "error" for problem in config.problems)


def check(project: Path, tree: Tree, points: Sequence[Sequence[str]]) -> None:
    configs = compose(laid_out(project, tree), points)
    for config, point in zip(configs, points, strict=True):
        expected = from_hydra(project, point)
        assert refused(config) == (expected is None), (point, config.problems, expected)
        if expected is not None:
            assert as_json(config.values) == expected
            assert json.dumps(as_json(config.values), sort_keys=True) == json.dumps(expected, sort_keys=True)  # 1, true
            assert list(config.values) == list(expected)
            check_places(project, config)
            check_frozen(project, config, expected)


def check_frozen(project: Path, config: Config, expected: Any) -> None:
    """With what is pinned the node composes the same."""
    if config.frozen:
        [again] = compose(project, [[*config.overrides, *config.frozen]])
        assert as_json(again.values) == expected, config.frozen


def check_places(project: Path, config: Config) -> None:
    """Nothing that is gone has a place; a leaf's place is an override, or where a file has that very value."""
    there = {(), *nodes(config.values)}
    assert set(config.origins) <= there, set(config.origins) - there
    for path, value in nodes(config.values).items():
        place = config.origin(*path).value
        if place.kind == "override":
            assert place.source.removeprefix("override '").removesuffix("'") in config.overrides
        elif path in config.origins and not isinstance(value, dict):
            assert same(written(project, place), value), (path, place, value)


def nodes(value: Any, path: tuple[str, ...] = ()) -> Paths:
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found: Paths = {path: value} if path else {}
    for key, item in items:
        found |= nodes(item, (*path, str(key)))
    return found


def written(project: Path, place: Place) -> Any:
    """What the YAML file has at a place."""
    root = yaml.compose((project / place.source).read_text(encoding="utf-8"), Loader=Loader)
    todo: list[Any] = [root]
    while todo:
        node = todo.pop()
        if (node.start_mark.line + 1, node.start_mark.column + 1) == (place.line, place.column) and node is not root:
            return Loader("").construct_document(node)
        if isinstance(node, yaml.CollectionNode):
            todo += [part for item in node.value for part in (item if isinstance(item, tuple) else (item,))]
    raise AssertionError(f"nothing at {place}")


def same(text: Any, value: Any) -> bool:
    """Whether YAML has the value, but for interpolations in it."""
    if isinstance(text, str) and "${" in text:
        return True
    if isinstance(text, list) and isinstance(value, list):
        return len(text) == len(value)  # an item may be set by an override; each has a place of its own
    return bool(as_json(text) == as_json(value))


def check_sweep(project: Path, given: Sequence[str]) -> None:
    """The points are those of Hydra's own sweeper; where it fails on one, so do we, and say why."""
    try:
        parsed = OverridesParser.create(config_loader=loader_of(project)).parse_overrides(list(given))
        expected = BasicSweeper.split_arguments(parsed, max_batch_size=None)[0]
    except Exception:  # noqa: BLE001 - see from_hydra
        expected = [[]] * bool(not given)
    assert points_of(project, given) == expected


def points_of(project: Path, given: Sequence[str]) -> list[list[str]]:
    try:
        return expand(project, given)
    except ConfigError:
        return []


def loader_of(project: Path) -> Any:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(project / "configs"), version_base=None):
        return GlobalHydra.instance().config_loader()


POINTS = st.lists(st.lists(overrides(), max_size=4), min_size=1, max_size=2)
SWEPT = st.lists(st.sampled_from(SWEEPS), max_size=3)
# With something of everything, and nothing wrong.
RICH: Tree = {
    "config": """\
defaults: [{db: one}, {net/head: lin}, {db@src: two}, flat, _self_, {once: it}, {exp: null}]
a: 1
b: {c: 2, d: 3}
c: {a: [x, {b: "${a}"}], b: "???"}
d: [1, {a: 3}]
e: {a: "${b.c}", b: "t ${a}", c: "${oc.env:AMLRUN_NOT_SET,none}"}
""",
    "db/one": "defaults: [two, _self_, {/net/head@part: lin}]\na: ???\nc: {z: 1}\n",
    "db/two": "defaults: [three, _self_]\na: 2\nb: &x {c: 4, d: [5]}\ng: {<<: *x, d: 6}\n",
    "db/three": "b: {c: 7, n: null}\nc: 8\n",
    "net/head/lin": "a: [1, 2, 3]\n",
    "net/head/mlp": "a: [4]\nb: {}\n",
    "exp/e1": "# @package _global_\ndefaults: [{override /db: three}, {override /net/head: mlp}]\nb: {d: [9]}\n",
    "exp/e2": "# @package _global_\ndefaults: [e1, _self_, {/db@new: two}]\nc: null\nd: []\n",
    "flat": "a: 0\nf: {}\nb: {c: 0, e: 0}\n",
    "once/it": '# @package a2.z\na: x\nb: {c: "${a}"}\n',
}
PLAIN: Tree = {"config": "defaults: [{db: one}, {net/head: lin}, {exp: null}, _self_]\na: 1\n"} | {
    name: "a: 1\n" for name in FILES if name != "config"
}


@SAMPLE
@given(trees(), POINTS)
def test_a_sample_is_as_hydra_has_it(project: Path, tree: Tree, points: list[list[str]]) -> None:
    check(project, tree, points)


@pytest.mark.slow
def test_what_is_right_is_composed(project: Path) -> None:
    """Else both refusing would prove nothing."""
    points = [
        [],
        ["exp=e1"],
        ["exp=e2", "db=one"],
        ["net/head=mlp", "a=2", "~b.d"],
        ["db=two", "~net/head", "+n.m=[1]"],
    ]
    check(project, RICH, points)
    assert [config.problems for config in compose(project, points)] == [()] * len(points)


@SAMPLE_OF_POINTS
@given(st.lists(overrides(), max_size=4))
@pytest.mark.slow
def test_a_sample_of_overrides_is_as_hydra_has_it(project: Path, point: list[str]) -> None:
    check(project, RICH, [point])


@settings(SAMPLE, max_examples=40)
@given(SWEPT)
def test_a_sample_of_sweeps(project: Path, given: list[str]) -> None:
    check_sweep(laid_out(project, PLAIN), given)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@FULL
@given(trees(), POINTS)
def test_values_places_and_refusals_are_hydras(project: Path, tree: Tree, points: list[list[str]]) -> None:
    check(project, tree, points)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@FULL
@given(SWEPT)
def test_points_of_sweeps_are_hydras(project: Path, given: list[str]) -> None:
    check_sweep(laid_out(project, PLAIN), given)
