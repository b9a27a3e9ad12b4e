"""Parts of configurations that were found valid before, by content: jsonschema takes a while to be imported.

A part is remembered by its digest under the digest of everything that its verdict depends on: the schemas, the code
that applies them, and jsonschema. It is kept beside the compositions, and switched off with them (AMLRUN_CACHE=off).
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
from dataclasses import dataclass, field
from pathlib import Path

from runner import compose_cache
from runner.resources import packaged

MOST_PARTS = 4000
OURS = ("finding", "schema_check")


@dataclass
class ValidParts:
    """`path` is where they are kept, None for nowhere; `new` are those of this command, in order of appearance."""

    path: Path | None
    known: frozenset[str] = frozenset()
    new: dict[str, None] = field(default_factory=dict)

    def has(self, key: str, text: str) -> bool:
        return self.path is not None and digest(key, text) in self.known

    def add(self, key: str, text: str) -> None:
        if self.path is not None:
            self.new[digest(key, text)] = None

    def save(self) -> None:
        """The newest of them. That they cannot be written is no matter."""
        if self.path is None or not self.new:
            return
        with contextlib.suppress(OSError):
            rows = [*read(self.path), *self.new]  # as another command may have left it meanwhile
            compose_cache.write(self.path, "\n".join(list(dict.fromkeys(rows))[-MOST_PARTS:]))


def load(schemas: Path) -> ValidParts:
    """Those of a project with this folder of schemas."""
    folder = compose_cache.folder()
    if folder is None:
        return ValidParts(None)
    path = folder / f"valid-{dependencies(schemas)}.txt"
    return ValidParts(path, frozenset(read(path)))


def read(path: Path) -> list[str]:
    with contextlib.suppress(OSError, ValueError):
        return path.read_text(encoding="ascii").split()
    return []


def dependencies(schemas: Path) -> str:
    """A digest of what else a verdict depends on."""
    hasher = hashlib.sha256()
    for folder in (schemas, packaged("schemas")):
        for file in sorted(folder.glob("*.json")) if folder.is_dir() else ():
            content = file.read_bytes()
            hasher.update(f"\0{file.name}\0{len(content)}\0".encode() + content)
        hasher.update(b"\0folder\0")
    files = [Path(__file__).with_name(f"{name}.py") for name in OURS]
    spec = importlib.util.find_spec("jsonschema")
    files += [Path(spec.origin)] if spec is not None and spec.origin else []
    for file in files:
        status = file.stat()
        hasher.update(f"\0{file}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    return hasher.hexdigest()


def digest(key: str, text: str) -> str:
    return hashlib.sha256(f"{key}\0{text}".encode("utf-8", "surrogatepass")).hexdigest()[:32]
