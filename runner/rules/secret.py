"""Values that look like keys: a configuration is kept in history, tags and git, where no secret may be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from runner.finding import Finding, error
from runner.redact import looks_secret

HINT = "put its name into env.secrets and let the script read the variable"


def values(values: Mapping[str, Any], _project: Path) -> Iterator[Finding]:
    for path in secrets_in(values, ()):
        yield error(".".join(path), "looks like a secret, and configurations are kept", HINT)


def secrets_in(node: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if isinstance(node, Mapping):
        for key, item in node.items():
            yield from secrets_in(item, (*path, str(key)))
    elif isinstance(node, (list, tuple)):
        for index, item in enumerate(node):
            yield from secrets_in(item, (*path, str(index)))
    elif isinstance(node, str) and looks_secret(node):
        yield path
