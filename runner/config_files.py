"""The YAML files of a project's configuration: groups, options, names in messages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def options_in(folders: Sequence[Path]) -> dict[str, tuple[str, ...]]:
    """Every config group with its options: as Hydra lists them, which takes 60 times as long."""
    found: dict[str, set[str]] = {}
    for folder in folders:
        for path in folder.rglob("*.yaml"):
            group = path.parent.relative_to(folder).as_posix()
            if group.split("/")[0] not in (".", "hydra"):
                found.setdefault(group, set()).add(path.stem)
    return {group: tuple(sorted(options)) for group, options in sorted(found.items())}


def file_in(folders: Sequence[Path], config_path: str, project: Path) -> tuple[Path, str] | None:
    """The file of `group/option` and its name in messages, None where Hydra itself brings it."""
    for folder in folders:
        path = folder / f"{config_path.removesuffix('.yaml')}.yaml"
        if path.is_file():
            return path, name_of(path, project)
    return None


def yaml_files(folders: Sequence[Path]) -> list[Path]:
    return [path for folder in folders for path in sorted(folder.rglob("*.yaml"))]


def name_of(path: Path, project: Path) -> str:
    """The file as messages name it: relative to the project where it is inside."""
    resolved = path.resolve()
    return str(resolved.relative_to(project)) if resolved.is_relative_to(project) else str(path)
