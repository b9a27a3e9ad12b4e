"""env list, env save: what a workspace knows of environments, and one of them as files."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path

from runner import pipeline
from runner.errors import ConfigError, Place, Problem, without_errors
from runner.project import find_project
from runner.spec import Config

COMMAND_LINE = Place("command line")


def environments(args: argparse.Namespace) -> int:
    """Dispatch to the verb under `amlrun env`."""
    return ACTIONS[args.action](args, find_project(args.project, Path.cwd()))


def list_(args: argparse.Namespace, project: Path) -> int:
    from runner.targets.azureml_environment import listed
    from runner.targets.azureml_workspace import connect

    rows = listed(connect(project, composed(project, args.overrides).values["workspace"]))
    if args.json:
        print(json.dumps({"environments": rows}, indent=2))
        return 0
    width = max((len(row["name"]) for row in rows), default=0)
    for row in rows:
        print(f"{row['name']:<{width}}  {row['version']:<16}  {'curated' if row['curated'] else 'own'}")
    return 0


def save(args: argparse.Namespace, project: Path) -> int:
    """Write the environment of the configuration: what the workspace has, or what a run would register."""
    from runner.targets.azureml_environment import looked_up, wanted_of
    from runner.targets.azureml_saving import saved
    from runner.targets.azureml_workspace import connect

    folder, overrides = asked_of(args)
    refuse_to_overwrite(folder, overwrite=args.overwrite)
    config = composed(project, overrides)
    made, known = looked_up(connect(project, config.values["workspace"]), wanted_of(config.values, project))
    done = saved(known or made, folder, project)
    if args.json:
        print(json.dumps(done.as_json(), indent=2))
    else:
        print("\n".join([f"wrote {path}" for path in done.files] * (not args.quiet) + [f"use it: {done.use}"]))
    return 0


ACTIONS: Mapping[str, Callable[[argparse.Namespace, Path], int]] = {"list": list_, "save": save}


def asked_of(args: argparse.Namespace) -> tuple[Path, list[str]]:
    """The folder is the first word; what follows are overrides."""
    first, *overrides = args.overrides or [""]
    if not first or "=" in first:
        raise wrong("no folder to save to", "name it before the overrides: amlrun env save DIR env=curated")
    return Path(first), overrides


def refuse_to_overwrite(folder: Path, *, overwrite: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise wrong(f"'{folder}' is a file", "name a folder")
    if folder.is_dir() and any(folder.iterdir()) and not overwrite:
        raise wrong(f"'{folder}' is not empty", "name another folder, or replace what is there with --overwrite")


def composed(project: Path, overrides: list[str]) -> Config:
    [config] = pipeline.composed(pipeline.Request(project, overrides))
    without_errors(config.problems)
    return config


def wrong(what: str, hint: str) -> ConfigError:
    return ConfigError([Problem(COMMAND_LINE, "", what, hint)])
