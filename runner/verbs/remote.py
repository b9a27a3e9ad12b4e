"""Runs named by a URL that this machine has never seen: found in the workspaces that the project is set up for."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, cast
from urllib.parse import unquote

from runner import history
from runner.errors import TargetError, without_errors
from runner.spec import Config, Run
from runner.targets import load_target

SCHEME = "azureml://"
GROUP = "workspace"
TARGET = "azureml"


class Remote(Protocol):
    """A target that knows runs which this machine does not. `settings` has the shape of the workspace's schema."""

    def adopt(self, settings: Mapping[str, Any], experiment: str, run_id: str) -> Run:
        """The run, now also in the history."""

    def newest(self, settings: Mapping[str, Any], count: int, experiment: str | None) -> list[Run]:
        """The newest runs, of one experiment or of all; nothing is stored."""

    def code(self, run: Run, folder: Path) -> None:
        """The code that was submitted with the run, into `folder`."""


def remote(project: Path) -> Remote:
    return cast("Remote", load_target(TARGET, project))


def find_run(project: Path, name: str) -> Run:
    """The run called `name` (runner.history.resolve); one that only the service knows comes into the history.

    Raises TargetError that says what there is.
    """
    parts = parts_of(name)
    if parts is None:
        return history.resolve(project, name)
    workspace, experiment, run_id = parts
    if run_id not in history.run_ids(project):
        return remote(project).adopt(settings_of(project, workspace), experiment, run_id)
    known = history.load_run(project, run_id)
    if known.url.lower() != name.rstrip("/").lower():
        raise TargetError(f"the run '{run_id}' of this project is {known.url}; look at '{name}' from another folder")
    return known


def parts_of(url: str) -> tuple[str, str, str] | None:
    """(workspace, experiment, run) of an azureml URL; None for any other name."""
    if not url.startswith(SCHEME):
        return None
    parts = tuple(map(unquote, url.removeprefix(SCHEME).rstrip("/").split("/")))
    if len(parts) != len(("workspace", "group", "run")) or not all(parts):
        raise TargetError(f"'{url}' names no run; azureml://WORKSPACE/GROUP/RUN, as 'amlrun list' and 'run' print it")
    workspace, experiment, run_id = parts
    return workspace, experiment, run_id


def settings_of(project: Path, workspace: str) -> Mapping[str, Any]:
    """How the project reaches the workspace: the first option of its `workspace` group that names it.

    Raises TargetError that says which names each option stands for.
    """
    from runner.targets.azureml_names import names_of  # only a URL that is not known here pays for it

    known = []
    for option, settings in workspaces(project):
        try:
            name = names_of(project, settings)["name"]
        except TargetError as error:
            known.append(f"workspace={option}: {str(error).partition(';')[0]}")
            continue
        if name.lower() == workspace.lower():
            return settings
        known.append(f"workspace={option} is '{name}'")
    raise TargetError(
        f"this project is not set up for a workspace '{workspace}' ({'; '.join(known)}); "
        "put its config.json into the project, or write configs/workspace/NAME.yaml"
    )


def workspaces(project: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(option, settings): what config.yaml chooses first, then the other options of the group."""
    first = composed(project)
    chosen = first.choices.get(GROUP, "")
    yield chosen, first.values[GROUP]
    for option in first.options.get(GROUP, ()):
        if option != chosen:
            yield option, composed(project, f"{GROUP}={option}").values[GROUP]


def newest(project: Path, args: argparse.Namespace) -> list[Run]:
    """What `list --remote` shows: the newest runs of the workspace that the overrides choose."""
    settings = composed(project, *args.overrides).values[GROUP]
    return remote(project).newest(settings, args.count, args.experiment)


def composed(project: Path, *overrides: str) -> Config:
    from runner import pipeline  # Hydra takes 0.3 s: not for the runs of this project's history

    (config,) = pipeline.composed(pipeline.Request(project, overrides))
    without_errors(config.problems)
    return config
