"""Stored sweeps: a configuration's `sweep` group as the points that it stands for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from runner.configs import expand
from runner.errors import ConfigError, Place, Problem
from runner.sampling import Interval, Options, Space, drawn, is_interval, listed, read_interval, sweep_text
from runner.spec import Config

# What Hydra's sweepers call something, and how it is called here.
SWEEPER_KEYS = {
    "hydra/sweeper": "sweep.sampler=bayesian (or grid, random), with sweep.params, in a file of configs/sweep/",
    "hydra/launcher": "compute.slots (runs at once here), or compute=gpu-cluster",
    "hydra.sweeper.params": "sweep.params",
    "hydra.sweeper.n_trials": "sweep.max_total",
    "hydra.sweeper.n_jobs": "sweep.max_concurrent",
    "hydra.sweeper.max_batch_size": "sweep.max_concurrent",
    "hydra.sweeper.direction": "sweep.goal",
    "hydra.sweeper.sampler.seed": "sweep.seed",
    "hydra.sweeper.sampler": "sweep.sampler",
    "hydra.sweeper": "the keys of sweep: sampler, params, metric, goal, max_total, max_concurrent, policy",
    "hydra.launcher": "sweep.max_concurrent and compute",
}


def stored_points(config: Config) -> list[list[str]]:
    """The overrides of every point of the configuration's own sweep, none where it has no (usable) sweep.

    The command line wins over the sweep's params, as with Hydra's `hydra.sweeper.params`. Of a sweep whose points
    follow from results only one is known, the first. Raises ConfigError for more points than `max_total`, and for
    what is said to Hydra's own sweepers.
    """
    if refused := of_hydra(config.overrides):
        raise ConfigError(refused)
    sweep = config.values.get("sweep")
    if not isinstance(sweep, dict) or not isinstance(sweep.get("params"), dict):
        return []
    points_of = SAMPLERS.get(str(sweep.get("sampler")))
    return points_of(config, sweep) if points_of else []


def grid(config: Config, sweep: Mapping[str, Any]) -> list[list[str]]:
    if any(is_interval(value) or value in ("", []) for value in sweep["params"].values()):
        return []  # a rule says so
    places = {key: listed(value) for key, value in open_params(config).items() if isinstance(value, list)}
    counted = {**sweep["params"], **{key: f"range({len(texts)})" for key, texts in places.items()}}
    params = [f"{key}={sweep_text(value)}" for key, value in counted.items()]
    items = {f"{key}={place}": f"{key}={text}" for key, texts in places.items() for place, text in enumerate(texts)}
    points = [
        [items.get(text, text) for text in point] for point in expand(config.project, [*params, *config.overrides])
    ]
    limit = sweep.get("max_total")
    if isinstance(limit, int) and len(points) > limit:
        raise refusal(
            config, "max_total", f"the sweep has {len(points)} points, more than {limit}", "raise it, or sweep less"
        )
    return points


def at_random(config: Config, sweep: Mapping[str, Any]) -> list[list[str]]:
    return some(config, sweep, sweep.get("max_total"))


def first(config: Config, sweep: Mapping[str, Any]) -> list[list[str]]:
    return some(config, sweep, 1)


def some(config: Config, sweep: Mapping[str, Any], total: Any) -> list[list[str]]:
    """None where the schema or a rule has something to say."""
    seed, params = sweep.get("seed", 0), sweep["params"].values()
    if not isinstance(total, int) or not isinstance(seed, int) or any(value in ("", []) for value in params):
        return []
    try:
        space = space_of(config)
    except ValueError:
        return []
    return [[*point, *config.overrides] for point in drawn(space, seed, total)]


def space_of(config: Config) -> Space:
    """What each parameter that the command line leaves open can be.

    Raises ValueError for a wrong interval (a rule words it) and ConfigError for what is not in Hydra's grammar.
    """
    return {key: one_of(config, key, value) for key, value in open_params(config).items()}


def open_params(config: Config) -> dict[str, Any]:
    """The sweep's params that the command line does not set."""
    own = {text.partition("=")[0].lstrip("+") for text in config.overrides}
    return {key: value for key, value in config.values["sweep"]["params"].items() if key.lstrip("+") not in own}


def one_of(config: Config, key: str, value: Any) -> Interval | Options:
    if is_interval(value):
        return read_interval(value)
    if isinstance(value, list):
        return Options(listed(value))
    try:
        points = expand(config.project, [f"{key}={sweep_text(value)}"])
    except ConfigError as error:
        place = config.origin("sweep", "params", key).value
        raise ConfigError([replace(each, place=place) for each in error.problems]) from None
    ordered = isinstance(value, str) and value.strip().startswith("range(")
    return Options(tuple(text.partition("=")[2] for (text,) in points), ordered)


def of_hydra(overrides: Sequence[str]) -> list[Problem]:
    """What is said to Hydra's own sweepers, with how it is said here."""
    found = []
    for text in overrides:
        key = text.partition("=")[0].lstrip("+~")
        if not key.startswith("hydra"):
            continue
        known = [name for name in SWEEPER_KEYS if key == name or key.startswith((f"{name}.", f"{name}@"))]
        if known:
            hint = f"write {SWEEPER_KEYS[known[0]]}"
            rest = key.removeprefix(known[0]) if known[0] == "hydra.sweeper.params" else ""
            found.append(Problem(Place.of_override(text), key, "Hydra's sweepers are not used here", hint + rest))
    return found


def refusal(config: Config, key: str, what: str, hint: str) -> ConfigError:
    return ConfigError([Problem(config.origin("sweep", key).value, f"sweep.{key}", what, hint)])


SAMPLERS = {"grid": grid, "random": at_random, "bayesian": first}
