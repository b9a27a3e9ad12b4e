"""Stored sweeps: a configuration's `sweep` group as the points that it stands for."""

from __future__ import annotations

from runner.compose import expand
from runner.errors import ConfigError, Problem
from runner.spec import Config

WHOLE = ("grid",)


def stored_points(config: Config) -> list[list[str]]:
    """The overrides of every point of the configuration's own sweep, none where it has no (usable) sweep.

    The command line wins over the sweep's params, as with Hydra's `hydra.sweeper.params`. Raises ConfigError for a
    sampler whose points are not known beforehand, and for more points than `max_total`.
    """
    sweep = config.values.get("sweep")
    if not isinstance(sweep, dict) or not isinstance(sweep.get("params"), dict):
        return []
    if sweep.get("sampler") not in WHOLE:
        hint = f"this version sends {', '.join(WHOLE)} sweeps; or write the points with -m"
        raise refused(config, "sampler", f"'{sweep.get('sampler')}' draws its points while it runs", hint)
    params = [f"{key}={value}" for key, value in sweep["params"].items()]
    points = expand(config.project, [*params, *config.overrides])
    limit = sweep.get("max_total")
    if isinstance(limit, int) and len(points) > limit:
        raise refused(
            config, "max_total", f"the sweep has {len(points)} points, more than {limit}", "raise it, or sweep less"
        )
    return points


def refused(config: Config, key: str, what: str, hint: str) -> ConfigError:
    return ConfigError([Problem(config.origin("sweep", key).value, f"sweep.{key}", what, hint)])
