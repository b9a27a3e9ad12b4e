"""Tags: Azure keeps 50 on a run, and some are ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from runner.finding import Finding, error
from runner.rules.read import on_azure, part

MOST = 50  # docs: resource-limits-capacity.md
OURS = 10  # overrides, two digests, three of git; the rest is kept for sweeps and resuming
PREFIX = "amlrun."


def room(values: Mapping[str, Any], _project: Path) -> Iterator[Finding]:
    count = len(part(values, "tags"))
    if on_azure(values) and count > MOST - OURS:
        message = f"{count} tags, and amlrun keeps {OURS} of Azure's {MOST} for its own"
        yield error("tags", message, f"use at most {MOST - OURS}")


def reserved(values: Mapping[str, Any], _project: Path) -> Iterator[Finding]:
    for name in part(values, "tags"):
        if name.startswith(PREFIX):
            message = f"tags that start with '{PREFIX}' are amlrun's own"
            yield Finding(("tags", name), message, "choose another name", at_key=True)
