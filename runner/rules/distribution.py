"""Distribution against the cluster, its GPUs, the batch and the environment."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from runner.finding import Finding, error, show, warning
from runner.paths import is_file
from runner.rules.read import on_azure, part, processes_per_node, size_of
from runner.sources import find_module, parse


def fits_cluster(values: Mapping[str, Any], _project: Path) -> Iterator[Finding]:
    nodes = part(values, "distribution").get("nodes", 1)
    most = part(values, "compute").get("max_nodes")
    if on_azure(values) and most is not None and nodes > most:
        message = f"{nodes} is more than compute.max_nodes, {most}: the run would wait for ever"
        yield error("distribution.nodes", message, f"raise compute.max_nodes or use at most {most}")


def fits_gpus(values: Mapping[str, Any], _project: Path) -> Iterator[Finding]:
    size, asked = size_of(values), processes_per_node(values)
    if size is None or asked is None:
        return
    distribution = part(values, "distribution")
    limit = size.processes if size.gpus else size.vcpus
    has = (
        f"{size.name} has {size.gpus:g} GPU{'s' * (size.gpus > 1)}"
        if size.gpus
        else f"{size.name} has {size.vcpus} cores"
    )
    if asked > limit:
        shared = not size.gpus or distribution.get("backend") == "gloo"
        say = warning if shared else error
        yield say("distribution.processes_per_node", f"{asked} processes, but {has}", f"use at most {limit}")
    elif size.gpus >= 2 and asked < limit:
        key = "kind" if distribution.get("kind") == "none" else "processes_per_node"
        hint = "choose distribution=pytorch" if key == "kind" else "set auto to use all"
        yield warning(f"distribution.{key}", f"{asked} of the {size.gpus:g} GPUs of {size.name} would be used", hint)


def backend_fits(values: Mapping[str, Any], _project: Path) -> Iterator[Finding]:
    size, backend = size_of(values), part(values, "distribution").get("backend")
    if size is None:
        return
    if backend == "nccl" and not size.gpus:
        yield error("distribution.backend", f"'nccl' needs GPUs, and {size.name} has none", "use auto or gloo")
    if backend == "gloo" and size.gpus:
        yield warning("distribution.backend", f"'gloo' is slow on the GPUs of {size.name}", "use auto or nccl")


def batch_divides(values: Mapping[str, Any], _project: Path) -> Iterator[Finding]:
    """`trainer.batch_size` is of all processes together."""
    code, per_node = part(values, "code"), processes_per_node(values)
    batch, nodes = part(values, "trainer").get("batch_size"), part(values, "distribution").get("nodes", 1)
    if code.get("script") or code.get("command") or code.get("module") != "train" or per_node is None:
        return
    world = nodes * per_node
    if isinstance(batch, int) and batch % world:
        lower = batch - batch % world
        near = f"{lower} or {lower + world}" if lower else str(world)
        message = f"{batch} is the batch of all processes together and cannot be divided among {world}"
        yield error("trainer.batch_size", message, f"use {near}")


def horovod(values: Mapping[str, Any], project: Path) -> Iterator[Finding]:
    env = part(values, "env")
    if part(values, "distribution").get("engine") != "horovod" or not on_azure(values):
        return
    if env.get("kind") == "curated" or not holds("horovod", env, project):
        message = "'horovod' is not among the packages of the environment"
        yield warning("distribution.engine", message, "use env=horovod")


def imports_horovod(values: Mapping[str, Any], project: Path) -> Iterator[Finding]:
    """What runs imports it, whatever the distribution says; only code that is not our own trainer is read."""
    code, env = part(values, "code"), part(values, "env")
    if not on_azure(values) or code.get("command"):
        return
    root = project / str(code.get("root") or ".")
    key = "script" if code.get("script") else "module"
    module = find_module(str(code.get("module") or ""), (root,)) if key == "module" else None
    file = root / str(code["script"]) if key == "script" else module.file if module else None
    if file is None or code.get(key) == "train" or "horovod" not in imported(file):
        return
    if env.get("kind") == "curated" or not holds("horovod", env, project):
        message = f"{show(code[key])} imports horovod, which the environment does not list"
        yield warning(f"code.{key}", message, "use env=horovod")


def imported(file: Path) -> set[str]:
    """Top-level packages that a Python file imports, anywhere in it."""
    tree = parse(file)
    nodes = list(ast.walk(tree)) if tree else []
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [str(node.module) for node in nodes if isinstance(node, ast.ImportFrom) and node.level == 0]
    return {name.partition(".")[0] for name in names}


def holds(package: str, env: Mapping[str, Any], project: Path) -> bool:
    """Whether the environment names it, or cannot be looked into."""
    if env.get("kind") == "image":
        return True
    named = [str(item) for item in env.get("pip") or ()]
    for key in ("conda_file", "dockerfile"):
        path = project / str(env.get(key) or "")
        if env.get(key) and not is_file(path):
            return True
        if env.get(key):
            named.append(path.read_text(encoding="utf-8", errors="replace"))
    return re.search(rf"(?<![\w-]){package}(?![\w-])", "\n".join(named).lower()) is not None
