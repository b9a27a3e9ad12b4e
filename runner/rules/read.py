"""How rules read parts of a configuration: every key may be absent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runner.vm_sizes import VmSize, find_size


def part(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """A group, empty where it is absent or null."""
    found = values.get(key)
    return found if isinstance(found, Mapping) else {}


def on_azure(values: Mapping[str, Any]) -> bool:
    return part(values, "compute").get("kind") == "amlcompute"


def size_of(values: Mapping[str, Any]) -> VmSize | None:
    """The nodes' size, None on this machine and where it is not known."""
    return find_size(part(values, "compute").get("vm_size")) if on_azure(values) else None


def processes_per_node(values: Mapping[str, Any]) -> int | None:
    """Processes on each node, None where `auto` cannot be decided without asking."""
    distribution = part(values, "distribution")
    if distribution.get("kind") == "none":
        return 1
    asked = distribution.get("processes_per_node")
    if isinstance(asked, int):
        return asked
    size = size_of(values)
    return size.processes if size and asked == "auto" else None
