"""What differs between two plans: configuration, overrides, code, layout, environment, git."""

from __future__ import annotations

import difflib
import hashlib
import json
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner import history
from runner.spec import Plan, jsonable

ABSENT = "(not there)"
MAX_DIFF_LINES = 200
# What is never the same and says nothing.
IGNORED = ("id", "created", "request", "digests", "project", "snapshot", "tags", "resumes", "arguments")


@dataclass(frozen=True, slots=True)
class Difference:
    """One value, by its dotted path: `old` and `new` are JSON values, ABSENT where there is none."""

    path: str
    old: Any
    new: Any


def differences(old: Plan, new: Plan) -> list[Difference]:
    """Every leaf of the plans that differs, the configuration first."""
    before, after = (
        flat({key: value for key, value in plan.as_json().items() if key not in IGNORED}) for plan in (old, new)
    )
    paths = [*before, *(path for path in after if path not in before)]
    found = [Difference(path, before.get(path, ABSENT), after.get(path, ABSENT)) for path in paths]
    changed = [item for item in found if as_text(item.old) != as_text(item.new)]
    return sorted(changed, key=lambda item: not item.path.startswith("config."))


def as_text(value: Any) -> str:
    """What tells 1 from 1.0 and from true, as digests do."""
    return json.dumps(value, sort_keys=True)


def code_differences(project: Path, old: Plan, new: Plan) -> list[str]:
    """Lines of a unified diff of the two codes, cut at MAX_DIFF_LINES; empty where they are the same.

    Where one of them is not staged any more, one line says so.
    """
    if old.snapshot.digest == new.snapshot.digest:
        return []
    folders = [history.snapshot_dir(project, plan.snapshot.digest) for plan in (old, new)]
    for plan, folder in zip((old, new), folders, strict=True):
        if not folder.is_dir():
            return [f"the code {plan.snapshot.digest[:12]} of {plan.id} is not staged here (any more)"]
    lines = list(folder_diff(*folders))
    return lines[:MAX_DIFF_LINES] + ["..."] * (len(lines) > MAX_DIFF_LINES)


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """Leaves by dotted path; empty mappings and lists are leaves, lists are whole."""
    if isinstance(value, Mapping) and value:
        found: dict[str, Any] = {}
        for key, item in value.items():
            found |= flat(item, f"{path}.{key}" if path else str(key))
        return found
    return {path: jsonable(value)}


def folder_diff(old: Path, new: Path) -> Iterator[str]:
    names = sorted({path.relative_to(folder).as_posix() for folder in (old, new) for path in files_in(folder)})
    for name in names:
        before, after = (lines_of(folder / name) for folder in (old, new))
        if before != after:
            yield from difflib.unified_diff(before, after, f"old/{name}", f"new/{name}", lineterm="")


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def lines_of(path: Path) -> list[str]:
    """The lines of a file as a diff shows them, none where there is no file; what they do not show is said in words."""
    if not path.is_file():
        return []
    content = path.read_bytes()
    mode = ["(executable)"] * bool(path.stat().st_mode & stat.S_IXUSR)
    try:
        *lines, last = content.decode("utf-8").split("\n")
    except UnicodeDecodeError:
        return [*mode, f"(binary, {len(content)} bytes, sha256 {hashlib.sha256(content).hexdigest()[:12]})"]
    end = [last, "(no line break at the end)"] if last else [] if lines else ["(empty)"]
    return [*mode, *(line.replace("\r", "\\r") for line in [*lines, *end])]
