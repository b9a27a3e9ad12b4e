"""models list, download, register: what a workspace keeps."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, cast

from runner import describe, pipeline
from runner.errors import ConfigError, Place, Problem, TargetError, without_errors
from runner.project import find_project
from runner.spec import Run
from runner.targets import load_target
from runner.verbs.remote import find_run

REMOTE = "azureml"
DEFAULT_PATH = "outputs/model.pt"
COMMAND_LINE = Place("command line")


class Registry(Protocol):
    """A target that keeps models. `workspace` has the shape of its schema."""

    def versions(self, workspace: Mapping[str, Any], name: str | None) -> list[dict[str, Any]]:
        """Every version, of one model or of all, newest first."""

    def download(self, workspace: Mapping[str, Any], name: str, version: int | None, folder: Path) -> Path:
        """That version, or the newest, below `folder`."""

    def register(self, run: Run, asked: Mapping[str, Any]) -> str:
        """The model of a run's outputs: 'NAME:VERSION'."""


def models(args: argparse.Namespace) -> int:
    """Dispatch to the verb under `amlrun models`."""
    project = find_project(args.project, Path.cwd())
    return ACTIONS[args.action](args, project, cast("Registry", load_target(REMOTE, project)))


def list_(args: argparse.Namespace, project: Path, registry: Registry) -> int:
    found = registry.versions(workspace_of(args, project), args.name)
    if args.json:
        print(json.dumps({"models": found}, indent=2))
        return 0
    for model in found:
        created = describe.local_time(model["created"]) if model["created"] else ""
        print(f"{model['name']}:{model['version']}  {created}  {model['run'] or ''}".rstrip())
    if not found and not args.quiet:
        print(f"no models{f' named {args.name}' if args.name else ''} in this workspace")
    return 0


def download(args: argparse.Namespace, project: Path, registry: Registry) -> int:
    place = registry.download(workspace_of(args, project), needed(args.name, "--name"), args.version, args.to)
    print(json.dumps({"path": str(place)}) if args.json else place)
    return 0


def register(args: argparse.Namespace, project: Path, registry: Registry) -> int:
    run = find_run(project, needed(args.run, "--run"))
    if run.target != REMOTE:
        raise TargetError(f"{run.id} ran on '{run.target}', which keeps no models; its files are in its outputs")
    asked = {"name": needed(args.name, "--name"), "path": args.path or DEFAULT_PATH, "tags": tags_of(args.tag)}
    made = registry.register(run, asked)
    print(json.dumps({"model": made}) if args.json else made)
    return 0


ACTIONS: Mapping[str, Callable[[argparse.Namespace, Path, Registry], int]] = {
    "list": list_,
    "download": download,
    "register": register,
}


def workspace_of(args: argparse.Namespace, project: Path) -> Mapping[str, Any]:
    """The workspace of the configuration: `workspace=emulator` and the like choose another."""
    (config,) = pipeline.composed(pipeline.Request(project, args.overrides))
    without_errors(config.problems)
    workspace: Mapping[str, Any] = config.values["workspace"]
    return workspace


def needed(value: str | None, option: str) -> str:
    if not value:
        raise wrong(f"{option} is missing", "'amlrun models --help' says how")
    return value


def tags_of(pairs: list[str]) -> dict[str, str]:
    split = [pair.partition("=") for pair in pairs]
    for name, equals, _ in split:
        if not (name and equals):
            raise wrong(f"'{name}' is no tag", "write --tag NAME=VALUE")
    return {name: value for name, _, value in split}


def wrong(what: str, hint: str) -> ConfigError:
    return ConfigError([Problem(COMMAND_LINE, "", what, hint)])
