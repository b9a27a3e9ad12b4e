"""The registry of a workspace's models, and how a command line names the workspace."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, cast

from runner import pipeline
from runner.errors import ConfigError, Place, Problem, without_errors
from runner.spec import Run
from runner.targets import load_target

REMOTE = "azureml"
COMMAND_LINE = Place("command line")


class Registry(Protocol):
    """A target that keeps models. `workspace` has the shape of its schema."""

    def versions(self, workspace: Mapping[str, Any], name: str | None) -> list[dict[str, Any]]:
        """Every version, of one model or of all, newest first."""

    def download(self, workspace: Mapping[str, Any], name: str, version: int | None, folder: Path) -> Path:
        """That version, or the newest, below `folder`."""

    def register(self, run: Run, asked: Mapping[str, Any]) -> str:
        """The model of a run's outputs: 'NAME:VERSION'."""


def registry_of(project: Path) -> Registry:
    return cast("Registry", load_target(REMOTE, project))


def workspace_of(project: Path, overrides: list[str]) -> Mapping[str, Any]:
    """The workspace of the configuration: `workspace=emulator` and the like choose another."""
    (config,) = pipeline.composed(pipeline.Request(project, overrides))
    without_errors(config.problems)
    workspace: Mapping[str, Any] = config.values["workspace"]
    return workspace


def wrong(what: str, hint: str) -> ConfigError:
    return ConfigError([Problem(COMMAND_LINE, "", what, hint)])
