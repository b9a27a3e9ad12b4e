"""Sweeps: what each sampler and policy needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from runner.choices import group_options
from runner.finding import Finding, error, meant, one_of, show, warning
from runner.rules.read import part
from runner.sampling import is_interval, read_interval
from runner.schema_check import partial, subschema

# Columns of metrics.jsonl that a point can be judged by (train/loop.py).
WRITTEN_BY_TRAIN = ("test_accuracy", "test_loss", "test_top5_accuracy", "train_loss")


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
        if is_interval(values):
            yield from interval(name, values, sweep.get("sampler"))
        if values in ("", []):
            yield Finding(("sweep", "params", name), "no values", "list some")


def interval(name: str, text: str, sampler: Any) -> Iterator[Finding]:
    path = ("sweep", "params", name)
    if sampler == "grid":
        hint = "use choice(...) or range(...), or sampler: random"
        yield Finding(path, "a grid cannot hold every value of an interval", hint)
        return
    try:
        read_interval(text)
    except ValueError as problem:
        what, _, hint = str(problem).partition("; ")
        yield Finding(path, what, hint)


def metric(config: Mapping[str, Any], _project: Path) -> Iterator[Finding]:
    """Points are compared by a column that the training script writes; what any other script writes is not known."""
    code, name = part(config, "code"), part(config, "sweep").get("metric")
    if name is None or code.get("script") or code.get("command") or code.get("module") != "train":
        return
    if name not in WRITTEN_BY_TRAIN:
        hint = meant(name, WRITTEN_BY_TRAIN) or f"use {one_of(WRITTEN_BY_TRAIN)}"
        yield warning("sweep.metric", f"{show(name)} is no column that train writes", hint)


def live(config: Mapping[str, Any], _project: Path) -> Iterator[Finding]:
    """On Azure metrics.jsonl arrives when the run has ended, and then a policy has nothing to stop."""
    code, policy = part(config, "code"), part(part(config, "sweep"), "policy")
    trackers = part(config, "tracking").get("trackers")
    is_train = code.get("module") == "train" and not code.get("script") and not code.get("command")
    if policy.get("kind") in (None, "none") or part(config, "compute").get("kind") == "local" or not is_train:
        return
    if isinstance(trackers, list) and not {"azureml", "mlflow"} & {str(name) for name in trackers}:
        yield warning("sweep.policy", "on Azure it sees metrics only when a run has ended", "set tracking=azureml")


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
