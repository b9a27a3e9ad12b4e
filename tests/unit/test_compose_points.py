"""Points of a sweep, composed together, against Hydra's own compose for each: what they share must not show.

A sample runs with the fast tests; `make test-slow` runs hundreds of examples, FULL=1 thousands.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner import compose as composing
from tests.unit.test_compose_property import (
    FULL,
    PLAIN,
    SAMPLE,
    Tree,
    check,
    laid_out,
    overrides,
    points_of,
    project,
    rarely,
    trees,
)

__all__ = ["project"]  # a fixture
MOST_POINTS = 12
# Of points that agree in much: what is laid over a shared configuration, and what may not be.
SWEPT_KEYS = ("a", "b.c", "b.d", "c", "db.a", "db.b", "d.0", "e", "f", "src.a", "net.head.a", "b", "n.m", "1")
SWEPT_VALUES = (
    *("1,2", "range(3)", "choice(x,'a b',null)", "shuffle(1,2,3)", "true,1,1.0,'1'", "7", "[1],[2]", "{c:1},{d:2}"),
    *("${a},5", "${b.c},${a}", "x,???", "\\\\,y", "1e-3,0.001", "sort(2,1)", "tag(t,choice(1,null))", "range(0,1,0.5)"),
    *("interval(0,1)", "'\\${a}',z", "nan,inf"),
)
SWEPT_GROUPS = (
    *("db=one,two", "db=glob(*)", "exp=e1,e2", "exp=e2,null", "net/head=mlp,lin", "+db@x=two,one", "~db", "~b.d"),
    *("db@src=two,three", "~a", "+n.m=1,2", "++a=1,2", "++n.q=x,y", "hydra.job.name=n", "db={a:1},{b:2}"),
    "+net/head@g=lin,mlp",
)
# What is swept over PLAIN, and whether that may be laid over a shared configuration.
LAID = {
    "b.d=1,x,null": True,
    "a=true,1 db.a=0.5,7": True,
    "a=1,true,1.0,'1','true'": True,
    "exp=e1,null a=1,2": True,
    "b.c=4,5": False,  # e reads it
    "b.d=${a},${b.c}": False,
    "+n=1,2": False,
    "b={c:7},3": False,
    "c=1,2": False,
    "e=1,2": False,
    "a=1,2 ~b.d": False,
}


@st.composite
def sweeps(draw: st.DrawFn) -> list[str]:
    values = st.builds("{}={}".format, st.sampled_from(SWEPT_KEYS), st.sampled_from(SWEPT_VALUES))
    given = draw(st.lists(values, min_size=1, max_size=2))
    given += draw(st.lists(st.sampled_from(SWEPT_GROUPS), max_size=2))
    return draw(st.permutations([*given, draw(overrides())] if rarely(draw) else given))


def check_points(project: Path, tree: Tree, given: Sequence[str]) -> None:
    """Every point of a sweep, all composed before the first is looked at, is what Hydra composes for it alone."""
    points = points_of(laid_out(project, tree), given)
    check(project, tree, points[:MOST_POINTS])


@SAMPLE
@given(trees(simple=True), sweeps())
def test_a_sample_of_points_is_as_hydra_has_it(project: Path, tree: Tree, given: list[str]) -> None:
    check_points(project, tree, given)


def test_values_are_laid_over_a_shared_configuration(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the comparisons with Hydra would be of Hydra's own code alone; what may not be laid over is not."""
    laid: list[bool] = []
    lay_over = composing.lay_over
    monkeypatch.setattr(composing, "lay_over", lambda *args: (laid.append(bool(done := lay_over(*args))), done)[1])
    tree = {
        **PLAIN,
        "config": f"{PLAIN['config']}b: {{c: 2, d: 3}}\nc: {{q: 1}}\ne: x ${{b.c}}\n",
        "db/one": "a: ???\n",
    }
    for swept, free in LAID.items():
        laid.clear()
        points = points_of(laid_out(project, tree), swept.split())
        check(project, tree, points)
        assert laid[: len(points)] == [free] * len(points), swept


def test_a_list_that_hydra_replaces_where_it_is_shared_has_no_places_of_items_that_are_gone(project: Path) -> None:
    """What thousands of random trees have found: a file that is read twice, for two packages."""
    tree = {
        **PLAIN,
        "config": "defaults:\n- flat\n- db@src: one\n- _self_\n- db: one\n- net/head: lin\na: 1\nd: []\n",
        "flat": "a: 1\nd:\n- 1\n- a: 3\n",
        "db/one": "defaults:\n- _self_\n- /flat\n",
    }
    check_points(project, tree, ["db.a=7"])


@pytest.mark.slow
@pytest.mark.timeout(7200)
@FULL
@given(st.booleans().flatmap(trees), sweeps())
def test_points_of_trees_are_hydras(project: Path, tree: Tree, given: list[str]) -> None:
    check_points(project, tree, given)
