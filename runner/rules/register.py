"""The model to register: Azure keeps what lies under outputs/ only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from runner.finding import Finding, error, show
from runner.rules.read import part


def path(values: Mapping[str, Any], _project: Path) -> Iterator[Finding]:
    name = part(values, "register").get("path")
    if not isinstance(name, str):
        return
    parts = PurePosixPath(name).parts
    if parts[:1] != ("outputs",) or ".." in parts or len(parts) < 2:
        message = f"{show(name)} is not under outputs/, and nothing else of a run is kept"
        yield error("register.path", message, f"for example outputs/{PurePosixPath(name).name or 'model.pt'}")
