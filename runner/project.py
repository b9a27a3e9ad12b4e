"""Which project a command is about: the nearest folder upward that holds configs/config.yaml."""

from __future__ import annotations

from pathlib import Path

from runner.errors import ConfigError, Place, Problem
from runner.paths import is_file

MARK = Path("configs") / "config.yaml"


def find_project(named: Path | None, start: Path) -> Path:
    """The project folder: `named` where it is given, else the nearest one at or above `start`. Raises ConfigError."""
    if named is not None:
        if is_file(named / MARK):
            return named.resolve()
        raise ConfigError(
            [Problem(Place(str(named / MARK)), "", "not found", "--project names a folder that holds it")]
        )
    for folder in (start, *start.parents):
        if is_file(folder / MARK):
            return folder.resolve()
    hint = "go to the project's folder, or name it with --project DIR"
    raise ConfigError([Problem(Place(str(MARK)), "", f"not found in '{start}' or above", hint)])
