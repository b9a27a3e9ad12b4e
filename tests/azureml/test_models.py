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
from runner.errors import RunnerError, TargetError
from runner.spec import Plan, Run
from runner.verbs import registry as registry_of_models
from runner.verbs.model_files import model_file
from tests.azureml.conftest import MakePlan
from tests.conftest import Cli, write

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
        if name not in ("digits", "cats"):
            raise TargetError(f"model '{name}' cannot be downloaded: ModelNotFound")
        if name == "cats":
            write(folder, {"cats/model.onnx": "of the registry", "cats/notes.txt": ""})
        return folder / ("cats" if name == "cats" else "model.pt")

    def register(self, run: Run, asked: Mapping[str, Any]) -> str:
        self.asked.append((run.id, dict(asked)))
        return f"{asked['name']}:3"


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    kept = Registry()
    monkeypatch.setattr(registry_of_models, "load_target", lambda kind, project: kept)
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


@pytest.fixture
def exported(bare: Path, make_plan: MakePlan) -> Path:
    """A project with two runs that were here, the older one with a model.onnx, and a file."""
    for run_id, created in (("cats-1", "2026-01-01"), ("bare-2", "2026-01-02")):
        plan = make_plan(id=run_id, target="local", project=str(bare), created=f"{created}T00:00:00+00:00")
        history.store_plan(bare, plan)
    write(history.files(bare, "cats-1").outputs, {"model.onnx": "of the run"})
    return write(bare, {"models/m.onnx": "of the folder", "cats-3": "a file wins"})


@pytest.mark.parametrize(
    ("name", "text", "asked"),
    [
        ("models/m.onnx", "of the folder", []),
        ("cats-3", "a file wins", []),
        ("cats-1", "of the run", []),
        ("local://cats-1", "of the run", []),
        ("cats", "of the run", []),  # the beginning of one run's name
        ("cats:4", "of the registry", [4]),
        ("cats:latest", "of the registry", [None]),
    ],
)
def test_a_model_is_a_file_a_run_or_a_registered_one(
    name: str, text: str, asked: list[int | None], exported: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(exported)
    with model_file(name, ["workspace=emulator"], None) as path:
        assert path.read_text() == text
    assert [(kind, version) for kind, _, version, _ in registry.asked] == [("emulator", number) for number in asked]


def test_a_name_that_no_run_has_is_looked_for_in_the_registry(
    bare: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bare)
    with model_file("cats", [], None) as path:
        assert path.read_text() == "of the registry"
    assert not path.exists()
    assert registry.asked[0][:3] == ("azureml", "cats", None)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("models/gone.onnx", "there is no file 'models/gone.onnx'; MODEL is a .onnx file, a run, or a registered"),
        ("gone.onnx", "there is no file 'gone.onnx'"),
        ("a b", "there is no file 'a b'"),
        ("bare-2", "bare-2 has no outputs/model.onnx; 'export.onnx=true' makes a run write it"),
        ("last", "bare-2 has no outputs/model.onnx"),
        ("dogs", "no run 'dogs', nor a registered model: model 'dogs' cannot be downloaded: ModelNotFound"),
        ("digits:1", "the registered model 'digits:1' holds no .onnx file"),
    ],
)
def test_what_is_no_model_says_what_it_was_looked_for_as(
    name: str, expected: str, exported: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(exported)
    with pytest.raises(RunnerError) as caught, model_file(name, [], None):
        pass
    assert expected in str(caught.value)
