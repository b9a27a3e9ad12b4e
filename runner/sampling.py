"""What the parameters of a sweep can be, and points drawn from it: the same seed gives the same points."""

from __future__ import annotations

import itertools
import math
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runner.override_text import literal

PLAIN_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
RESERVED = {"null", "true", "false", "nan", "inf"}
WRAPPED = re.compile(r"(?P<name>int|float|tag)\((?P<inner>.*)\)", re.DOTALL)
NUMBER = r"[+-]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
BOUNDS = re.compile(rf"interval\(\s*(?:start\s*=\s*)?({NUMBER})\s*,\s*(?:end\s*=\s*)?({NUMBER})\s*\)")
# At the beginning, perhaps inside of calls: a quoted text that says 'interval(...)' is none.
INTERVAL = re.compile(r"\s*(?:\w+\(\s*(?:\w+\s*,\s*)*)*interval\s*\(")
GRAMMAR = "write interval(0.001, 0.1), tag(log, interval(...)) or int(interval(1, 8))"
# How many draws in a row may give points that are there already, before the space counts as used up.
MOST_REPEATS = 1000


@dataclass(frozen=True, slots=True)
class Interval:
    """Every number from `low` to `high`, both included; `log`: each order of magnitude alike; `whole`: integers."""

    low: float
    high: float
    log: bool = False
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Options:
    """Values as overrides write them; `ordered`: neighbours are alike, as the steps of a range are."""

    texts: tuple[str, ...]
    ordered: bool = False


Space = Mapping[str, Interval | Options]


def is_interval(value: Any) -> bool:
    return isinstance(value, str) and INTERVAL.match(value) is not None


def read_interval(text: str) -> Interval:
    """Raises ValueError (`what; what to do`) for what is no interval of numbers."""
    inner, names = text.strip(), set[str]()
    while found := WRAPPED.fullmatch(inner):
        names.add(found["name"])
        inner = found["inner"].strip()
        if found["name"] == "tag":
            *tags, inner = (part.strip() for part in split_once_at_interval(inner))
            names.update(tags)
    bounds = BOUNDS.fullmatch(inner)
    if bounds is None or names - {"int", "float", "tag", "log"}:
        raise ValueError(f"'{text}' is no interval; {GRAMMAR}")
    low, high = (float(bound.replace("_", "")) for bound in bounds.groups())
    whole, log = "int" in names, "log" in names
    if not low < high:
        raise ValueError(f"the interval from {low:g} to {high:g} is empty; the smaller number comes first")
    if log and low <= 0:
        raise ValueError(f"a log interval cannot begin at {low:g}; begin above 0")
    if whole and not (low.is_integer() and high.is_integer()):
        raise ValueError(f"the ends of an interval of integers are not integers: {low:g}, {high:g}; round them")
    return Interval(low, high, log, whole)


def split_once_at_interval(text: str) -> list[str]:
    """`log, interval(1, 2)` as the tags and the rest."""
    tags = re.match(r"(?:\s*\w+\s*,)*", text)
    end = tags.end() if tags else 0
    return [*(part for part in text[:end].split(",") if part.strip()), text[end:]]


def sweep_text(value: Any) -> str:
    """What `sweep.params` holds, in Hydra's sweep grammar."""
    return value if isinstance(value, str) else literal(value, word)


def listed(values: Sequence[Any]) -> tuple[str, ...]:
    """The items of a list, as values of overrides. Hydra's sweeper would make a number of '1' and null of 'null'."""
    return tuple(literal(item, word) for item in values)


def word(text: str) -> str:
    if PLAIN_WORD.fullmatch(text) and text.lower() not in RESERVED:
        return text
    inside = re.sub(r"(\\*)'", lambda found: found[1] * 2 + r"\'", text)
    return f"'{inside}'"


def drawn(space: Space, seed: int, total: int) -> list[list[str]]:
    """At most `total` different points, as overrides; fewer where there are no more."""
    source = random.Random(seed)  # noqa: S311 - points of a sweep, no secrets
    sizes = [len(each.texts) for each in space.values() if isinstance(each, Options)]
    if len(sizes) == len(space) and math.prod(sizes) <= total:
        every = itertools.product(*(texts_of(each) for each in space.values()))
        return [overrides(space, point) for point in every]
    points: dict[tuple[str, ...], None] = {}
    repeats = 0
    while len(points) < total and repeats < MOST_REPEATS:
        before = len(points)
        points.setdefault(tuple(draw(each, source) for each in space.values()))
        repeats = repeats + 1 if len(points) == before else 0
    return [overrides(space, point) for point in points]


def draw(one: Interval | Options, source: random.Random) -> str:
    if isinstance(one, Options):
        return one.texts[source.randrange(len(one.texts))]
    if one.log:
        # Half a step more at each end, so that the first and the last integer are as likely as their neighbours.
        edge = 0.5 if one.whole else 0.0
        value = math.exp(source.uniform(math.log(one.low - edge), math.log(one.high + edge)))
    else:
        value = source.randint(int(one.low), int(one.high)) if one.whole else source.uniform(one.low, one.high)
    return value_text(one, value)


def value_text(one: Interval, value: float) -> str:
    """Inside the interval, with as many digits as anybody reads."""
    inside = min(max(value, one.low), one.high)
    return str(round(inside)) if one.whole else f"{min(max(float(f'{inside:.6g}'), one.low), one.high)!r}"


def overrides(space: Space, texts: Sequence[str]) -> list[str]:
    return [f"{key}={text}" for key, text in zip(space, texts, strict=True)]


def texts_of(one: Interval | Options) -> tuple[str, ...]:
    return one.texts if isinstance(one, Options) else (value_text(one, one.low), value_text(one, one.high))


def having(space: Space, point: Sequence[str]) -> list[list[str]]:
    """The point with each option, and both ends of each interval, in the place of its own value."""
    every = [(index, f"{key}={text}") for index, (key, one) in enumerate(space.items()) for text in texts_of(one)]
    return [[*point[:index], override, *point[index + 1 :]] for index, override in every]
