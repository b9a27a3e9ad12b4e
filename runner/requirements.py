"""What amlrun's own package says that it needs, and whether what is installed fits."""

from __future__ import annotations

import operator
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from itertools import zip_longest

PACKAGE = "amlrun"
LINE = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?\s*\(?([^;)]*)\)?\s*(?:;(.*))?")
EXTRA = re.compile(r"extra\s*==\s*['\"]([\w-]+)['\"]")
BOUND = re.compile(r"(>=|<=|==|!=|>|<)\s*([0-9][0-9.]*)")
PYTHON = "Programming Language :: Python :: 3."
COMPARE: Mapping[str, Callable[[tuple[int, ...], tuple[int, ...]], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}


@dataclass(frozen=True, slots=True)
class Requirement:
    """A package, the versions that will do ('>=1.3,<1.4'), and the extra that it belongs to ('': always needed)."""

    name: str
    versions: str
    extra: str = ""

    @property
    def installed(self) -> str | None:
        """The version that is installed, None where it is not."""
        try:
            return metadata.version(self.name)
        except metadata.PackageNotFoundError:
            return None

    @property
    def fits(self) -> bool:
        return fits(self.installed or "", self.versions)


def requirements(extra: str = "") -> list[Requirement]:
    """What the package (or one extra of it) needs; nothing is known where amlrun runs without being installed."""
    try:
        lines = metadata.requires(PACKAGE) or []
    except metadata.PackageNotFoundError:
        return []
    return [found for line in lines if (found := requirement_of(line)) and found.extra == extra]


def requirement_of(line: str) -> Requirement | None:
    """A line of the package's metadata; None where it is for another system."""
    found = LINE.fullmatch(line.strip())
    if found is None:
        return None
    name, versions, marker = found[1], found[2].replace(" ", ""), found[3] or ""
    if "sys_platform" in marker and f"'{sys.platform}'" not in marker.replace('"', "'"):
        return None
    extra = EXTRA.search(marker)
    return Requirement(name, versions, extra[1] if extra else "")


def pythons() -> list[str]:
    """Versions of Python that amlrun is tested with."""
    try:
        found = metadata.metadata(PACKAGE).get_all("Classifier") or []
    except metadata.PackageNotFoundError:
        return []
    return [line.rpartition(" :: ")[2] for line in found if line.startswith(PYTHON)]


def fits(version: str, bounds: str) -> bool:
    """Whether a version ('1.3.2', '2.0.0+cu126') is within bounds ('>=1.3,<1.4'). Only its numbers are compared."""
    have = numbers(version)
    return bool(have) and all(COMPARE[sign](*padded(have, numbers(bound))) for sign, bound in BOUND.findall(bounds))


def numbers(version: str) -> tuple[int, ...]:
    found = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def padded(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    pairs = list(zip_longest(one, other, fillvalue=0))
    return tuple(left for left, _ in pairs), tuple(right for _, right in pairs)
