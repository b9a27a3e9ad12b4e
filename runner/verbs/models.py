"""models: what a workspace keeps, and what can be done with a model's file here."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path

from runner import describe
from runner.errors import TargetError
from runner.project import find_project
from runner.verbs.predicting import package, predict
from runner.verbs.registry import REMOTE, registry_of, workspace_of, wrong
from runner.verbs.remote import find_run

DEFAULT_PATH = "outputs/model.pt"


def models(args: argparse.Namespace) -> int:
    """Dispatch to the verb under `amlrun models`."""
    return ACTIONS[args.action](args)


def list_(args: argparse.Namespace) -> int:
    project = find_project(args.project, Path.cwd())
    found = registry_of(project).versions(workspace_of(project, args.overrides), args.name)
    if args.json:
        print(json.dumps({"models": found}, indent=2))
        return 0
    for model in found:
        created = describe.local_time(model["created"]) if model["created"] else ""
        print(f"{model['name']}:{model['version']}  {created}  {model['run'] or ''}".rstrip())
    if not found and not args.quiet:
        print(f"no models{f' named {args.name}' if args.name else ''} in this workspace")
    return 0


def download(args: argparse.Namespace) -> int:
    project, name = find_project(args.project, Path.cwd()), needed(args.name, "--name")
    place = registry_of(project).download(workspace_of(project, args.overrides), name, args.version, args.to)
    print(json.dumps({"path": str(place)}) if args.json else place)
    return 0


def register(args: argparse.Namespace) -> int:
    project = find_project(args.project, Path.cwd())
    run = find_run(project, needed(args.run, "--run"))
    if run.target != REMOTE:
        raise TargetError(f"{run.id} ran on '{run.target}', which keeps no models; its files are in its outputs")
    asked = {"name": needed(args.name, "--name"), "path": args.path or DEFAULT_PATH, "tags": tags_of(args.tag)}
    made = registry_of(project).register(run, asked)
    print(json.dumps({"model": made}) if args.json else made)
    return 0


ACTIONS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "list": list_,
    "download": download,
    "register": register,
    "predict": predict,
    "package": package,
}


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
