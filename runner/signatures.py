"""Keys of `_target_` mappings against signatures, read from source by `ast`: nothing is imported or executed.

What cannot be read (not installed here, made at run time) is not checked, and `not_checked` says so.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from runner.finding import Finding, error, meant, warning
from runner.resources import packaged
from runner.sources import Parameters, Symbol, find_module, look_up, names_in, parameters
from runner.spec import Job

ALLOWED = ("train", "torch.optim", "torchvision.models")
# What train supplies to the target of a group, besides the keys in YAML.
SUPPLIED = {"model": {"num_classes", "in_channels"}, "optimizer": {"params"}, "data": {"seed"}}
GROUPS = ("data", "model", "optimizer")
# What train reads itself where the target does not take it.
READ_BY_TRAIN = {"model": {"weights"}}
# torchvision's decorator still takes these names for `weights`.
LEGACY = {"pretrained", "pretrained_backbone"}


def check_targets(values: Mapping[str, Any], project: Path) -> Iterator[Finding]:
    """The targets of data, model and optimizer: allowed, there, and given arguments that they take."""
    root = code_root(values, project)
    here = (values.get("compute") or {}).get("kind") != "amlcompute"
    for group, path, spec in targets_in(values):
        yield from check_target(group, path, spec, root, here)


def not_checked(job: Job, known: dict[tuple[str, Path], bool] | None = None) -> tuple[str, ...]:
    """What `check_targets` could not see, in words for the plan. `known` remembers what was read, for the next job."""
    known, found = {} if known is None else known, []
    for _, path, spec in targets_in(job.config.values):
        name = str(spec["_target_"])
        target = (name, job.code.root)
        if target not in known:
            known[target] = read_target(*target) is not None
        if not known[target]:
            found.append(f"{path}: arguments of {name} (its source is not installed here)")
    return tuple(found)


def targets_in(values: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """(group, dotted path, mapping) of everything with a `_target_`."""
    for group in GROUPS:
        yield from ((group, path, spec) for path, spec in walk(values.get(group), group))


def walk(node: Any, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(node, Mapping):
        if isinstance(node.get("_target_"), str):
            yield path, node
        for key, item in node.items():
            yield from walk(item, f"{path}.{key}")
    elif isinstance(node, list):
        for index, item in enumerate(node):
            yield from walk(item, f"{path}.{index}")


def code_root(values: Mapping[str, Any], project: Path) -> Path:
    return project / str((values.get("code") or {}).get("root") or ".")


def check_target(group: str, path: str, spec: Mapping[str, Any], root: Path, here: bool) -> Iterator[Finding]:
    """`here`: the packages installed here are those that will run; elsewhere theirs is only a hint."""
    name = str(spec["_target_"])
    if not allowed(name, root):
        known = ", ".join(f"{prefix}.*" for prefix in ALLOWED)
        yield error(
            f"{path}._target_", f"'{name}' is not an allowed target", f"use {known} or a package of the project"
        )
        return
    module = find_module(name.rpartition(".")[0], search_path(name, root))
    if module is None:
        yield from missing_module(path, name, root)
        return
    say = error if here or not name.startswith(("torch.", "torchvision.")) else warning
    symbol = look_up(module, name.rpartition(".")[2])
    if symbol is None:
        hint = meant(name.rpartition(".")[2], names_in(module))
        yield say(f"{path}._target_", f"no '{name.rpartition('.')[2]}' in {name.rpartition('.')[0]}", hint)
        return
    taken = parameters(symbol)
    if taken is not None:
        yield from check_keys(path, spec, taken, group if path == group else "", say)


def check_keys(path: str, spec: Mapping[str, Any], taken: Parameters, group: str, say: Any) -> Iterator[Finding]:
    name = spec["_target_"]
    names = set(taken.names) | set(taken.reached) | READ_BY_TRAIN.get(group, set())
    excused = set()
    for key in spec:
        if key.startswith("_") or key in names or (taken.anything and (not taken.reached or key in LEGACY)):
            continue
        close = meant(key, sorted(names))
        excused |= {needed for needed in taken.required if f"'{needed}'" in close}
        hint = close or f"it takes: {', '.join(sorted(names - SUPPLIED.get(group, set())))}"
        tell = warning if taken.anything else say
        finding = tell(f"{path}.{key}", f"'{name}' has no such argument", hint)
        yield Finding(finding.path, finding.message, finding.hint, finding.severity, at_key=True)
    if not group or "_args_" in spec:
        return
    for key in taken.required:
        if key not in spec and key not in SUPPLIED[group] and key not in excused:
            yield say(f"{path}.{key}", f"missing: '{name}' needs it", "add it")


def allowed(name: str, root: Path) -> bool:
    top = name.partition(".")[0]
    if "." not in name:
        return False
    if any(name.startswith(f"{prefix}.") for prefix in ALLOWED):
        return True
    return find_module(top, (root,)) is not None


def search_path(name: str, root: Path) -> tuple[Path, ...]:
    """Folders in which the top-level package of `name` may lie."""
    top = name.partition(".")[0]
    if top == "train":
        return (root, packaged("train").parent)
    installed = installed_at(top) if top in ("torch", "torchvision") else None
    return (root, installed) if installed else (root,)


@lru_cache(maxsize=16)
def installed_at(top: str) -> Path | None:
    """The folder that holds an installed package, found without importing it."""
    spec = importlib.util.find_spec(top)
    return Path(spec.origin).parent.parent if spec is not None and spec.origin else None


def missing_module(path: str, name: str, root: Path) -> Iterator[Finding]:
    top, wanted = name.partition(".")[0], name.rpartition(".")[0]
    if top in ("torch", "torchvision") and installed_at(top) is None:
        return
    parent = wanted
    while parent and find_module(parent, search_path(name, root)) is None:
        parent = parent.rpartition(".")[0]
    module = find_module(parent, search_path(name, root)) if parent else None
    missing = wanted[len(parent) + 1 :].partition(".")[0] if parent else wanted
    hint = meant(missing, names_in(module)) if module else ""
    yield error(f"{path}._target_", f"no module '{wanted}'", hint or "check the spelling")


def read_target(name: str, root: Path) -> Parameters | None:
    module = find_module(name.rpartition(".")[0], search_path(name, root))
    symbol = look_up(module, name.rpartition(".")[2]) if module else None
    return parameters(symbol) if isinstance(symbol, Symbol) else None
