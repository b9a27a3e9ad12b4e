"""The filters of run queries, in the part of OData that the SDK writes: comparisons, and, or, not, brackets.

Fields: RunId, Status, ParentRunId, StartTimeUtc, ..., `Tags/x`, `Properties/x`.
Values may stand bare, in "..", in '..', or be null.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from runner.emulator.checking import shortened
from runner.emulator.messages import bad_request

Document = Mapping[str, Any]
Test = Callable[[Document], bool]
TOKEN = re.compile(r"""\s*(?:(?P<bracket>[()])|"(?P<double>[^"]*)"|'(?P<single>(?:[^']|'')*)'|(?P<word>[^\s()"']+))""")
COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "eq": lambda left, right: bool(left == right),
    "ne": lambda left, right: bool(left != right),
    "gt": lambda left, right: left is not None and right is not None and left > right,
    "ge": lambda left, right: left is not None and right is not None and left >= right,
    "lt": lambda left, right: left is not None and right is not None and left < right,
    "le": lambda left, right: left is not None and right is not None and left <= right,
}
COMBINED: Mapping[str, Callable[[list[Test]], Test]] = {
    "and": lambda tests: lambda document: all(test(document) for test in tests),
    "or": lambda tests: lambda document: any(test(document) for test in tests),
    "not": lambda tests: lambda document: not tests[0](document),
}
# The SDK nests two deep; each level costs several frames of Python's stack.
MAX_DEPTH = 50
MAPPINGS = {"tags": "tags", "properties": "properties"}


@dataclass(frozen=True, slots=True)
class Token:
    text: str
    quoted: bool


@dataclass(frozen=True, slots=True)
class Comparison:
    """`wanted` is None for null."""

    field: str
    operator: str
    wanted: str | None


@dataclass(frozen=True, slots=True)
class Combination:
    """`word`: and, or, not (of one part)."""

    word: str
    parts: tuple[Tree, ...]


Tree = Comparison | Combination
EVERYTHING = Combination("and", ())


def matcher(text: str | None) -> Test:
    """A function that says whether a document passes. Raises ServiceError (400) for a filter that makes no sense."""
    return compiled(parsed(text))


def parsed(text: str | None) -> Tree:
    """The filter as a tree; without any, everything passes. Raises ServiceError (400)."""
    if not text or not text.strip():
        return EVERYTHING
    reader = Reader(tokens(text), text)
    tree = reader.either()
    if reader.left:
        raise reader.refuse()
    return tree


def compiled(tree: Tree) -> Test:
    if isinstance(tree, Combination):
        return COMBINED[tree.word]([compiled(part) for part in tree.parts])
    compare = COMPARISONS[tree.operator]
    return lambda document: compare(*alike(field_of(document, tree.field), tree.wanted))


def tokens(text: str) -> list[Token]:
    found, at = [], 0
    text = text.rstrip()
    while at < len(text):
        match = TOKEN.match(text, at)
        if match is None:
            raise refused(text)
        bare = match["bracket"] or match["word"]
        quoted = match["double"] if match["double"] is not None else (match["single"] or "").replace("''", "'")
        found.append(Token(bare, False) if bare is not None else Token(quoted, True))
        at = match.end()
    return found


@dataclass(slots=True)
class Reader:
    """Recursive descent: or < and < not < brackets and comparisons."""

    left: list[Token]
    text: str
    depth: int = 0

    def either(self) -> Tree:
        return self.several("or", self.both)

    def both(self) -> Tree:
        return self.several("and", self.one)

    def several(self, word: str, read: Callable[[], Tree]) -> Tree:
        parts = [read()]
        while self.takes(word):
            parts.append(read())
        return Combination(word, tuple(parts)) if len(parts) > 1 else parts[0]

    def one(self) -> Tree:
        if self.takes("not"):
            return Combination("not", (self.deeper(self.one),))
        if self.takes("("):
            inner = self.deeper(self.either)
            if not self.takes(")"):
                raise self.refuse()
            return inner
        return self.comparison()

    def deeper(self, read: Callable[[], Tree]) -> Tree:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.refuse()
        tree = read()
        self.depth -= 1
        return tree

    def comparison(self) -> Tree:
        if len(self.left) < 3 or self.left[1].text.lower() not in COMPARISONS:
            raise self.refuse()
        field, operator, value = self.left[:3]
        del self.left[:3]
        wanted = None if value.text.lower() == "null" and not value.quoted else value.text
        return Comparison(field.text, operator.text.lower(), wanted)

    def takes(self, word: str) -> bool:
        if self.left and not self.left[0].quoted and self.left[0].text.lower() == word:
            del self.left[0]
            return True
        return False

    def refuse(self) -> Exception:
        return refused(self.text)


def refused(text: str) -> Exception:
    return bad_request(f"the filter '{shortened(text)}' cannot be read", "InvalidFilter")


def field_of(document: Document, name: str) -> Any:
    group, _, key = name.partition("/")
    if key:
        return (document.get(MAPPINGS.get(group.lower(), "")) or {}).get(key)
    spelled = {field.lower(): field for field in document}
    return document.get(spelled.get(name.lower(), ""))


def alike(value: Any, wanted: str | None) -> tuple[Any, Any]:
    """A field and what it is compared with: as numbers where both are, else as texts."""
    if isinstance(value, bool):
        return str(value).lower(), wanted and wanted.lower()
    if isinstance(value, int | float) and wanted is not None:
        with contextlib.suppress(ValueError):
            return value, float(wanted)
    return value if value is None or isinstance(value, str) else str(value), wanted
