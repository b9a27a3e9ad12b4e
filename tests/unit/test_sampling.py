"""Intervals are read, points are drawn inside them, and the same seed gives the same."""

from __future__ import annotations

import math
import re
from collections import Counter

import pytest

from runner.sampling import Interval, Options, Space, drawn, having, listed, read_interval

TWO = Options(("a", "b"))
MIXED: Space = {"lr": Interval(1e-5, 1e-1, log=True), "model": TWO, "n": Interval(1, 8, whole=True)}


@pytest.mark.parametrize(
    ("text", "interval"),
    [
        ("interval(0.0005, 0.02)", Interval(0.0005, 0.02)),
        (" interval( start=-1 , end=1e3 ) ", Interval(-1, 1000)),
        ("tag(log, interval(1e-5,1e-1))", Interval(1e-5, 1e-1, log=True)),
        ("int(interval(1, 1_000))", Interval(1, 1000, whole=True)),
        ("tag(log, int(interval(1,64)))", Interval(1, 64, log=True, whole=True)),
        ("int(tag(log, interval(1,64)))", Interval(1, 64, log=True, whole=True)),
        ("float(interval(1,64))", Interval(1, 64)),
    ],
)
def test_intervals(text: str, interval: Interval) -> None:
    assert read_interval(text) == interval


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("interval(1)", "is no interval; write interval(0.001, 0.1)"),
        ("interval(a, b)", "is no interval"),
        ("shuffle(interval(0, 1))", "is no interval"),
        ("tag(quantized, interval(0, 1))", "is no interval"),
        ("interval(0, 1), 2", "is no interval"),
        ("interval(1, 1)", "the interval from 1 to 1 is empty"),
        ("tag(log, interval(-1, 1))", "cannot begin at -1"),
        ("int(interval(0.5, 2))", "are not integers: 0.5, 2"),
    ],
)
def test_what_is_no_interval(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        read_interval(text)


def test_points_are_those_of_the_seed_and_inside() -> None:
    points = drawn(MIXED, 3, 50)
    assert points == drawn(MIXED, 3, 50) != drawn(MIXED, 4, 50)
    assert points[:10] == drawn(MIXED, 3, 10)  # more points are these and others
    for rate, _, count in points:
        assert 1e-5 <= float(rate.removeprefix("lr=")) <= 1e-1
        assert 1 <= int(count.removeprefix("n=")) <= 8


def test_this_draw_stays_the_same() -> None:
    assert drawn(MIXED, 0, 2) == [["lr=0.0238609", "model=b", "n=1"], ["lr=0.000108559", "model=b", "n=7"]]


def test_no_point_comes_twice_and_a_small_space_is_used_up() -> None:
    few: Space = {"a": Options(("1", "2", "3")), "b": TWO}
    assert len({tuple(point) for point in drawn(few, 0, 5)}) == 5
    assert len(drawn(few, 0, 100)) == 6
    assert len(drawn({"n": Interval(1, 3, whole=True)}, 0, 100)) == 3
    assert drawn({}, 0, 4) == [[]]


def test_orders_of_magnitude_are_alike_under_log() -> None:
    points = drawn({"x": Interval(1e-4, 1, log=True)}, 0, 400)
    orders = Counter(math.floor(math.log10(float(text.removeprefix("x=")))) for (text,) in points)
    assert set(orders) == {-4, -3, -2, -1}
    assert min(orders.values()) > 70


def test_every_end_and_option_takes_its_turn() -> None:
    assert having(MIXED, ["lr=0.5", "model=b", "n=3"]) == [
        ["lr=1e-05", "model=b", "n=3"],
        ["lr=0.1", "model=b", "n=3"],
        ["lr=0.5", "model=a", "n=3"],
        ["lr=0.5", "model=b", "n=3"],
        ["lr=0.5", "model=b", "n=1"],
        ["lr=0.5", "model=b", "n=8"],
    ]


def test_values_of_a_list_keep_their_types() -> None:
    values = [0.1, "a b", None, "true", "1", "it's", "x/y", [1, 2]]
    assert listed(values) == ("0.1", "'a b'", "null", "'true'", "'1'", r"'it\'s'", "x/y", "[1,2]")
