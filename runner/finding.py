"""What a check found, before it is known which configuration and which place it belongs to.

The same finding can hold for a thousand points of a sweep: it is made once per distinct part of a configuration, and
`runner.validate` gives it a place in each.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from runner.errors import Place, Severity

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """`path` is the key in the configuration; `at_key`: the key itself is wrong, not its value.

    `place`, where set, is the place to show instead of the one that set the value (a line of a conda file).
    """

    path: Path
    message: str
    hint: str = ""
    severity: Severity = "error"
    at_key: bool = False
    place: Place | None = None


def error(path: str, message: str, hint: str = "", place: Place | None = None) -> Finding:
    return Finding(tuple(path.split(".")), message, hint, "error", place=place)


def warning(path: str, message: str, hint: str = "", place: Place | None = None) -> Finding:
    return Finding(tuple(path.split(".")), message, hint, "warning", place=place)


def meant(word: Any, known: Iterable[Any]) -> str:
    """`did you mean 'x'?`, or '' where nothing known is close."""
    names = [str(name) for name in known if name is not None]
    close = difflib.get_close_matches(str(word), names, n=1, cutoff=0.6)
    if not close:
        lower = {name.lower(): name for name in names}
        close = [lower[name] for name in difflib.get_close_matches(str(word).lower(), list(lower), n=1, cutoff=0.6)]
    return f"did you mean '{close[0]}'?" if close else ""


def show(value: Any) -> str:
    """A value as messages name it: as YAML would have it, short."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        bits = value.bit_length() if isinstance(value, int) else 0
        return str(value) if bits <= 128 else f"a number of about {int(bits * 0.30103)} digits"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(value))
    return f"'{text}'" if len(text) <= 80 else f"'{text[:77]}...'"


def one_of(values: Iterable[Any]) -> str:
    """`'a', 'b' or null`."""
    words = [show(value) for value in values]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
