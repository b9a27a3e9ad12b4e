"""`input:NAME` in a configuration value: the path at which this machine has that input."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from train.errors import TrainError

PREFIX = "input:"


def with_paths(value: Any, inputs: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> Any:
    """`value` with every string `input:NAME` in it replaced by a path.

    The runner says where an input is in AMLRUN_INPUT_NAME; started by hand, `inputs.NAME.path` is taken as it is.
    """
    if isinstance(value, str) and value.startswith(PREFIX):
        return _path(value[len(PREFIX) :], inputs, environment)
    if isinstance(value, Mapping):
        return {key: with_paths(item, inputs, environment) for key, item in value.items()}
    if isinstance(value, list):
        return [with_paths(item, inputs, environment) for item in value]
    return value


def _path(name: str, inputs: Mapping[str, Any], environment: Mapping[str, str]) -> str:
    variable = f"AMLRUN_INPUT_{name.upper().replace('-', '_')}"
    given = environment.get(variable) or environment.get(f"AMLRUN_INPUT_{name}")
    if given:
        # Azure expands "$NAME" in arguments; whether in variables too is documented nowhere.
        return environment.get(given.removeprefix("$"), given) if given.startswith("$") else given
    entry = inputs.get(name)
    if not entry:
        raise TrainError(f"'{PREFIX}{name}': there is no input '{name}'; add inputs.{name}.path")
    if not entry.get("path") or entry.get("datastore") or entry.get("dataset"):
        raise TrainError(
            f"'{PREFIX}{name}': the input is on Azure and {variable} is not set; start with `amlrun run`, "
            f"or set {variable} to a local copy"
        )
    return str(entry["path"])
