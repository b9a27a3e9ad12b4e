"""From `_target_` and keyword arguments in YAML to the object: only from allowed places, only with known keys."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import sys
import urllib.error
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from train import vision
from train.errors import TrainError

ALLOWED = ("train.", "torch.optim.", "torchvision.models.")

UNEXPECTED = re.compile(r"unexpected keyword argument '(\w+)'")


def build(group: str, spec: Mapping[str, Any], root: Path, **supplied: Any) -> Any:
    """Call the target of one configuration group with its keys and with what training supplies.

    `supplied` arguments that the target's signature does not name are left out, except under `**kwargs` where those
    that torchvision's models all take (`num_classes`) are passed. `root` is the project's folder, whose own packages
    are allowed targets too. Raises TrainError naming the key that is wrong.
    """
    target = find_target(group, str(spec["_target_"]), root)
    keys = {key: value for key, value in spec.items() if key != "_target_"}
    arguments = {**_accepted(target, supplied), **keys}
    _check_keys(group, spec["_target_"], target, arguments)
    try:
        return target(**arguments)
    except TypeError as error:
        # What a signature with **kwargs lets through is refused further down.
        refused = UNEXPECTED.search(str(error))
        if refused is None or refused[1] not in arguments:
            raise
        raise TrainError(f"{group}.{refused[1]}: '{spec['_target_']}' has no such argument; remove it") from error
    except urllib.error.URLError as error:
        raise TrainError(
            f"{group}.weights: '{keys.get('weights')}' could not be downloaded ({error.reason}); without a network set "
            f"{group}.weights=null, or put the file into torch's cache (TORCH_HOME, hub/checkpoints) beforehand"
        ) from error


def find_target(group: str, name: str, root: Path) -> Callable[..., Any]:
    """The function or class called `name`. Raises TrainError if it is not there or not from an allowed place."""
    module_name, _, attribute = name.rpartition(".")
    if not name.startswith(ALLOWED) and not _in_project(name.partition(".")[0], root):
        raise TrainError(
            f"{group}._target_: '{name}' is not an allowed target; use {', '.join(p + '*' for p in ALLOWED)} "
            f"or a package of the project"
        )
    if name.startswith("torchvision."):
        vision.torchvision()
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if not module_name.startswith(str(error.name)):
            raise
        raise TrainError(f"{group}._target_: no module '{error.name}'; check the spelling of '{name}'") from error
    target: Callable[..., Any] | None = getattr(module, attribute, None)
    if not callable(target):
        raise TrainError(f"{group}._target_: '{module_name}' has no '{attribute}' to call; check the spelling")
    return target


def _in_project(package: str, root: Path) -> bool:
    if not package or package in sys.stdlib_module_names:
        return False
    spec = importlib.util.find_spec(package)
    places = [spec.origin, *(spec.submodule_search_locations or [])] if spec else []
    # An environment inside the project folder is not the project.
    return any(
        Path(place).resolve().is_relative_to(root.resolve()) and "site-packages" not in Path(place).parts
        for place in places
        if place
    )


def _accepted(target: Callable[..., Any], supplied: Mapping[str, Any]) -> dict[str, Any]:
    parameters = inspect.signature(target).parameters
    catch_all = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    return {k: v for k, v in supplied.items() if k in parameters or (catch_all and k == "num_classes")}


def _check_keys(group: str, name: str, target: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
    parameters = inspect.signature(target).parameters
    catch_all = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    unknown = [key for key in arguments if key not in parameters and not catch_all]
    if unknown:
        raise TrainError(f"{group}.{unknown[0]}: '{name}' has no such argument; it takes: {', '.join(parameters)}")
    missing = [
        p.name
        for p in parameters.values()
        if p.default is p.empty and p.name not in arguments and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
    ]
    if missing:
        raise TrainError(f"{group}.{missing[0]}: '{name}' needs it; add the key")
