"""Sweeps: what each sampler and policy needs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from runner.finding import Finding, error, show
from runner.rules.read import part


def enough(values: Mapping[str, Any], _project: Path) -> Iterator[Finding]:
    sweep = part(values, "sweep")
    sampler, total, at_once = sweep.get("sampler"), sweep.get("max_total"), sweep.get("max_concurrent")
    if sampler in ("random", "bayesian") and total is None:
        yield error("sweep.max_total", f"no value, and {show(sampler)} draws points until it is reached", "set it")
    if sampler == "bayesian" or part(sweep, "policy").get("kind") not in (None, "none"):
        for key in ("metric", "goal"):
            if sweep.get(key) is None:
                yield error(f"sweep.{key}", "no value, and points are compared by it", "set it")
    if total is not None and at_once is not None and at_once > total:
        yield error("sweep.max_concurrent", f"{at_once} is more than sweep.max_total, {total}", "lower it")


def policy(values: Mapping[str, Any], _project: Path) -> Iterator[Finding]:
    chosen = part(part(values, "sweep"), "policy")
    if chosen.get("kind") != "bandit":
        return
    given = [key for key in ("slack_factor", "slack_amount") if chosen.get(key) is not None]
    if len(given) != 1:
        message = "both slack_factor and slack_amount" if given else "neither slack_factor nor slack_amount"
        yield error("sweep.policy", message, "give one of them")


def values(config: Mapping[str, Any], _project: Path) -> Iterator[Finding]:
    sweep = part(config, "sweep")
    for name, values in part(sweep, "params").items():
        text = values if isinstance(values, str) else ""
        if sweep.get("sampler") == "grid" and re.match(r"\s*(tag\(.*,)?\s*interval\(", text):
            hint = "use choice(...) or range(...), or sampler: random"
            yield error(f"sweep.params.{name}", "a grid cannot hold every value of an interval", hint)
        if values in ("", []):
            yield error(f"sweep.params.{name}", "no values", "list some")
