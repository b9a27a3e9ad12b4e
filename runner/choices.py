"""Config groups, their options and `_target_` candidates, read from files: no Hydra, so it costs milliseconds."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from runner.resources import packaged
from runner.sources import find_module, parse, statements

Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# Where train/ keeps what a group's `_target_` names, and how it is told from what stands beside it: the base of a
# class, or what a function says it returns.
TARGETS = {"model": ("train.models", "Module"), "data": ("train.data", "Data")}


def group_options(project: Path) -> dict[str, dict[str, Path]]:
    """Every config group with its options and their files; the project's come before those packaged with amlrun."""
    found: dict[str, dict[str, Path]] = {}
    for folder in config_folders(project):
        for file in sorted(folder.rglob("*.yaml")):
            group = file.parent.relative_to(folder).as_posix()
            if group != "." and group.split("/")[0] != "hydra":
                found.setdefault(group, {}).setdefault(file.stem, file)
    return {group: dict(sorted(found[group].items())) for group in sorted(found)}


def config_folders(project: Path) -> list[Path]:
    return list(dict.fromkeys([(project / "configs").resolve(), packaged("configs").resolve()]))


def targets(project: Path, group: str) -> list[str]:
    """Full names that `_target_` of a group may well have: those defined in train/, and those that options use."""
    used = [read_yaml(file).get("_target_") for file in group_options(project).get(group, {}).values()]
    return sorted({*defined(project, group), *(name for name in used if isinstance(name, str))})


def first_comment(file: Path) -> str:
    """What the option's file says about itself: its first comment that is no instruction for a tool."""
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines()[:4]:
        text = line.removeprefix("#").strip()
        if line.startswith("#") and not text.startswith(("yaml-language-server", "@package")):
            return text
    return ""


def read_yaml(file: Path) -> dict[str, Any]:
    """The mapping in a YAML file; {} where there is none, or it cannot be read (composing says why)."""
    try:
        found = yaml.load(file.read_text(encoding="utf-8"), Loader=Loader)  # noqa: S506 - a safe loader
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def defined(project: Path, group: str) -> Iterator[str]:
    name, wanted = TARGETS.get(group, ("", ""))
    package = find_module(name, (project, packaged("train").parent))
    for file in sorted(package.file.parent.glob("*.py")) if package else ():
        tree = parse(file)
        for node in statements(tree) if tree and file.stem != "__init__" else ():
            if getattr(node, "name", "_")[0] != "_" and is_a(node, wanted):
                yield f"{name}.{file.stem}.{getattr(node, 'name', '')}"


def is_a(node: ast.stmt, wanted: str) -> bool:
    returns: ast.expr | None = getattr(node, "returns", None)
    says = node.bases if isinstance(node, ast.ClassDef) else [returns] if returns is not None else []
    return any(ast.unparse(item).split(".")[-1] == wanted for item in says)
