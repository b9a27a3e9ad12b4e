"""Markdown pages as something to execute: files that a page tells to write, and commands that it tells to run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

BLOCK = re.compile(r"(?:^`(?P<path>[^`\n]+)`\n\n)?^```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Step:
    """A file to write (`path` is set) or a command to run, which should end with `code`."""

    text: str
    path: str | None = None
    code: int = 0

    @property
    def argv(self) -> list[str]:
        return shlex.split(self.text)


def steps(page: Path) -> Iterator[Step]:
    """The steps of a page, in order."""
    for found in BLOCK.finditer(page.read_text()):
        if found["path"]:
            yield Step(found["text"], found["path"])
        elif found["kind"] == "console":
            yield from commands(found["text"])


def commands(text: str) -> Iterator[Step]:
    for line in text.splitlines():
        if line.startswith("$ "):
            command, _, note = line[2:].partition("  # ")
            code = re.search(r"exit (\d+)", note)
            yield Step(command.strip(), code=int(code.group(1)) if code else 0)
