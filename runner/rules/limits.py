"""Limits and what the service imposes on top of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from runner.finding import Finding, error, warning
from runner.rules.read import on_azure, part

LOW_PRIORITY_MINUTES = 7 * 24 * 60  # docs: resource-limits-capacity.md
JOB_MINUTES = 21 * 24 * 60


def duration(values: Mapping[str, Any], _project: Path) -> Iterator[Finding]:
    limits = part(values, "limits")
    minutes = limits.get("max_minutes")
    low = part(values, "compute").get("priority") == "lowpriority"
    if not on_azure(values):
        return
    if low and "max_minutes" in limits and minutes is None:
        message = "no limit, and low-priority nodes end a run after 7 days"
        yield warning("limits.max_minutes", message, f"set it, at most {LOW_PRIORITY_MINUTES}")
    elif low and minutes is not None and minutes > LOW_PRIORITY_MINUTES:
        message = f"{minutes} is more than the 7 days ({LOW_PRIORITY_MINUTES} minutes) of a run on low-priority nodes"
        yield error("limits.max_minutes", message, "lower it, or use dedicated nodes")
    elif minutes is not None and minutes > JOB_MINUTES:
        yield warning("limits.max_minutes", f"{minutes} is more than the 21 days that Azure gives a job", "lower it")


def checkpoints(values: Mapping[str, Any], _project: Path) -> Iterator[Finding]:
    """A preempted run starts again: without checkpoints from the beginning."""
    code, trainer = part(values, "code"), part(values, "trainer")
    if part(values, "compute").get("priority") != "lowpriority" or not on_azure(values):
        return
    if code.get("script") or code.get("command"):
        message = "low-priority nodes can be taken away at any time, and the run then starts again"
        yield warning("compute.priority", message, "let the script save and resume checkpoints")
    elif "checkpoint" in trainer and not part(trainer, "checkpoint"):
        message = "off, and low-priority nodes can be taken away at any time"
        yield warning("trainer.checkpoint", message, "save checkpoints")
