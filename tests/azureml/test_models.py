"""The verb `models`: whose registry is asked, with what, and what is printed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from runner import history
from runner.describe import local_time
from runner.errors import TargetError
from runner.spec import Plan, Run
from runner.verbs import models
from tests.azureml.conftest import MakePlan
from tests.conftest import Cli

KEPT: dict[str, Any] = {
    "name": "digits",
    "version": 2,
    "run": "run-1",
    "created": "2026-01-01T00:00:00+00:00",
    "tags": {"a": "b"},
}


@dataclass
class Registry:
    """A target that keeps one model, and remembers what it was asked."""

    asked: list[tuple[Any, ...]] = field(default_factory=list)

    def versions(self, workspace: Mapping[str, Any], name: str | None) -> list[dict[str, Any]]:
        self.asked.append((workspace["kind"], name))
        return [KEPT] if name in (None, "digits") else []

    def download(self, workspace: Mapping[str, Any], name: str, version: int | None, folder: Path) -> Path:
        self.asked.append((workspace["kind"], name, version, folder))
        if name != "digits":
            raise TargetError(f"model '{name}' cannot be downloaded: ModelNotFound")
        return folder / "model.pt"

    def register(self, run: Run, asked: Mapping[str, Any]) -> str:
        self.asked.append((run.id, dict(asked)))
        return f"{asked['name']}:3"


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    kept = Registry()
    monkeypatch.setattr(models, "load_target", lambda kind, project: kept)
    return kept


@pytest.fixture
def ended(bare: Path, make_plan: MakePlan) -> Plan:
    """The plan of a run on Azure in the project."""
    plan = make_plan(id="run-1", project=str(bare))
    history.store_plan(bare, plan)
    return plan


def test_models_of_the_workspace_that_is_named_are_listed(cli: Cli, bare: Path, registry: Registry) -> None:
    done = cli(bare, "models", "list", "workspace=emulator")

    assert (done.code, done.out) == (0, f"digits:2  {local_time(KEPT['created'])}  run-1\n")
    assert registry.asked == [("emulator", None)]


def test_without_a_word_it_is_the_configurations_workspace(cli: Cli, bare: Path, registry: Registry) -> None:
    assert json.loads(cli(bare, "models", "list", "--name", "digits", "--json").out) == {"models": [KEPT]}
    assert registry.asked == [("azureml", "digits")]


def test_no_models_is_no_error(cli: Cli, bare: Path, registry: Registry) -> None:
    done = cli(bare, "models", "list", "--name", "other")

    assert (done.code, done.out) == (0, "no models named other in this workspace\n")


def test_a_workspace_that_does_not_exist_is_a_problem(cli: Cli, bare: Path, registry: Registry) -> None:
    done = cli(bare, "models", "list", "workspace=emulatr")

    assert done.code == 2
    assert "emulator" in done.err
    assert registry.asked == []


@pytest.mark.parametrize(("option", "version"), [((), None), (("--version", "2"), 2)])
def test_a_model_is_downloaded(
    option: tuple[str, ...], version: int | None, cli: Cli, bare: Path, registry: Registry
) -> None:
    done = cli(bare, "models", "download", "--name", "digits", "--to", "there", *option)

    assert (done.code, done.out) == (0, "there/model.pt\n")
    assert registry.asked == [("azureml", "digits", version, Path("there"))]


def test_a_model_that_is_not_there_is_exit_4(cli: Cli, bare: Path, registry: Registry) -> None:
    done = cli(bare, "models", "download", "--name", "nope")

    assert (done.code, done.err) == (4, "amlrun: model 'nope' cannot be downloaded: ModelNotFound\n")


def test_a_model_is_made_from_a_run(cli: Cli, bare: Path, registry: Registry, ended: Plan) -> None:
    done = cli(bare, "models", "register", "--run", "last", "--name", "digits", "--tag", "a=b=c", "--tag", "d=")

    assert (done.code, done.out) == (0, "digits:3\n")
    assert registry.asked == [("run-1", {"name": "digits", "path": "outputs/model.pt", "tags": {"a": "b=c", "d": ""}})]


def test_a_run_that_was_here_makes_no_model(cli: Cli, bare: Path, registry: Registry, make_plan: MakePlan) -> None:
    history.store_plan(bare, make_plan(id="here", target="local", project=str(bare)))
    done = cli(bare, "models", "register", "--run", "here", "--name", "digits")

    assert done.code == 4
    assert "here ran on 'local', which keeps no models" in done.err
    assert registry.asked == []


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("download",), "--name is missing"),
        (("register", "--name", "digits"), "--run is missing"),
        (("register", "--run", "run-1"), "--name is missing"),
        (("register", "--run", "run-1", "--name", "d", "--tag", "x"), "'x' is no tag; write --tag NAME=VALUE"),
    ],
)
@pytest.mark.usefixtures("ended")
def test_what_is_missing_is_named(argv: tuple[str, ...], said: str, cli: Cli, bare: Path, registry: Registry) -> None:
    done = cli(bare, "models", *argv)

    assert done.code == 2
    assert said in done.err
    assert registry.asked == []
