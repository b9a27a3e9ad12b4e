"""Sweeps: what each sampler and policy needs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from runner.choices import group_options
from runner.finding import Finding, error, meant, show
from runner.rules.read import part
from runner.schema_check import partial, subschema


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
            yield Finding(("sweep", "params", name), "a grid cannot hold every value of an interval", hint)
        if values in ("", []):
            yield Finding(("sweep", "params", name), "no values", "list some")


def names(config: Mapping[str, Any], project: Path) -> Iterator[Finding]:
    """What is varied must be there: a group, or a key. What schemas know counts: a malformed value is not seen here."""
    for name in part(part(config, "sweep"), "params"):
        if name[:1] in "+~" or is_known(name, config, project):
            continue
        others = {key: value for key, value in config.items() if key != "sweep"}
        keys = [*group_options(project), *(path for path, _ in leaves_of(others))]
        hint = meant(name, keys) or f"write +{name} to add a key"
        yield Finding(("sweep", "params", name), "no such key to vary", hint, at_key=True)


def is_known(name: str, config: Mapping[str, Any], project: Path) -> bool:
    if name.partition("@")[0].lstrip("/") in group_options(project):
        return True
    *parents, last = name.split(".")
    here: Any = config
    for key in parents:
        here = here.get(key) if isinstance(here, Mapping) else None
    listed = partial(subschema(tuple(parents), project / "schemas")).get("properties", {})
    return last in listed or (isinstance(here, Mapping) and last in here)


def leaves_of(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from leaves_of(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
