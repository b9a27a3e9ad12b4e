"""schema: what an editor needs to complete and check this project's YAML."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runner.choices import group_options, targets
from runner.editor_schemas import generate
from runner.errors import ConfigError, Place, Problem
from runner.project import find_project
from runner.schema_check import GENERATED


def schema(args: argparse.Namespace) -> int:
    """Print or write them. A schema that somebody wrote is never overwritten."""
    project = find_project(args.project, Path.cwd())
    made = generate(project)
    if args.write is not None:
        written = write(made, args.write)
        if args.json:
            print(json.dumps({"files": [str(path) for path in written]}, indent=2))
        elif not args.quiet:
            print("\n".join(str(path) for path in written))
    elif args.json:
        print(json.dumps({"schemas": made}, indent=2))
    else:
        print(overview(project, made))
    return 0


def write(made: Mapping[str, Any], folder: Path) -> list[Path]:
    files = {folder / f"{name}.schema.json": json.dumps(found, indent=2) + "\n" for name, found in made.items()}
    foreign = [path for path in files if path.exists() and GENERATED not in path.read_text(errors="replace")]
    if foreign:
        hint = "choose another folder, or remove it"
        raise ConfigError(
            [Problem(Place(str(p)), "", "not written by 'amlrun schema', so it stays", hint) for p in foreign]
        )
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in files.items():
        path.write_text(text, encoding="utf-8")
    return list(files)


def overview(project: Path, made: Mapping[str, Any]) -> str:
    """What `--write` would write, and what each schema takes from this project."""
    options = group_options(project)
    lines = [f"experiment.schema.json: {group}: {', '.join(found)}" for group, found in options.items()]
    lines += [
        f"{group}.schema.json: _target_: {', '.join(found)}"
        for group in options
        if group in made and "_target_" in json.dumps(made[group]) and (found := targets(project, group))
    ]
    return "\n".join([*lines, f"nothing written; --write DIR writes {len(made)} schemas"])
