"""env save, env list: an environment as files that a project can build on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runner.errors import TargetError
from runner.targets import azureml_environment, azureml_workspace
from runner.targets.azureml_saving import CONDA, DEFINITION, DOCKERFILE, saved
from tests.conftest import Outcome

Cli = Callable[..., Outcome]


class Environment:
    """As far as it is saved: the SDK writes what it has into files of fixed names."""

    def __init__(self, image: str | None = "image:1", dockerfile: str | None = None, conda: str | None = None) -> None:
        self.name, self.version = "mine", "3"
        registry = SimpleNamespace(password="hunter2")
        self.docker = SimpleNamespace(base_image=image, base_dockerfile=dockerfile, base_image_registry=registry)
        self.python = SimpleNamespace(user_managed_dependencies=conda is None)
        self.conda = conda

    def save_to_directory(self, path: str, overwrite: bool = False) -> None:
        definition = {"name": self.name, "password": self.docker.base_image_registry.password}
        (Path(path) / DEFINITION).write_text(json.dumps(definition))
        if self.conda:
            (Path(path) / CONDA).write_text(self.conda)


@pytest.mark.parametrize(
    ("environment", "dockerfile", "conda"),
    [
        (Environment(), "FROM image:1\n", None),
        (Environment(None, dockerfile="FROM a\nRUN b\n"), "FROM a\nRUN b\n", None),
        (Environment(conda="dependencies: []\n"), "FROM image:1\n", "dependencies: []\n"),
    ],
)
def test_files_and_the_overrides_that_use_them(
    environment: Environment, dockerfile: str, conda: str | None, tmp_path: Path
) -> None:
    done = saved(environment, tmp_path / "a b", tmp_path)

    assert (tmp_path / "a b" / DOCKERFILE).read_text() == dockerfile
    assert sorted(done.files) == sorted(path for path in (tmp_path / "a b").iterdir())
    files = [f"env.dockerfile=a b/{DOCKERFILE}", *([f"env.conda_file=a b/{CONDA}"] if conda else [])]
    assert done.overrides == ("env=dockerfile", *files)
    assert done.use.startswith("env=dockerfile 'env.dockerfile=a b/Dockerfile'")


def test_a_folder_outside_of_the_project_is_named_whole(tmp_path: Path) -> None:
    done = saved(Environment(), tmp_path / "there", tmp_path / "project")

    assert done.overrides[1] == f"env.dockerfile={tmp_path / 'there' / DOCKERFILE}"


def test_a_registrys_password_is_written_nowhere(tmp_path: Path) -> None:
    saved(Environment(), tmp_path / "x", tmp_path)

    assert "hunter2" not in "".join(path.read_text() for path in (tmp_path / "x").iterdir())


def test_nothing_of_an_earlier_save_stays_and_other_files_do(tmp_path: Path) -> None:
    saved(Environment(conda="old"), tmp_path / "x", tmp_path)
    (tmp_path / "x" / "notes.txt").write_text("mine")
    done = saved(Environment(), tmp_path / "x", tmp_path)

    assert sorted(path.name for path in (tmp_path / "x").iterdir()) == [DOCKERFILE, DEFINITION, "notes.txt"]
    assert done.overrides == ("env=dockerfile", f"env.dockerfile=x/{DOCKERFILE}")


def test_what_only_the_service_has_is_not_half_written(tmp_path: Path) -> None:
    with pytest.raises(
        TargetError, match="'mine' is built from a folder that only the service has; use it by its name"
    ):
        saved(Environment(None), tmp_path / "x", tmp_path)
    assert not (tmp_path / "x").exists()


@pytest.fixture
def workspace(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A workspace without SDK: what it was asked for, as (kind, name)."""
    asked: list[Any] = []

    def looked_up(_service: Any, wanted: Any) -> Any:
        asked.append((wanted.env["kind"], wanted.name))
        return Environment(), None

    rows = [{"name": "own", "version": "2", "curated": False}, {"name": "AzureML-x", "version": "1", "curated": True}]
    monkeypatch.setattr(azureml_workspace, "connect", lambda *_: None)
    monkeypatch.setattr(azureml_environment, "looked_up", looked_up)
    monkeypatch.setattr(azureml_environment, "listed", lambda _: rows)
    return asked


def test_the_environment_of_the_configuration_is_saved(bare: Path, cli: Cli, workspace: list[Any]) -> None:
    done = cli(bare, "env", "save", "here", "env=curated", "--json")

    assert done.code == 0, done.err
    assert workspace == [("curated", "AzureML-acpt-pytorch-2.8-cuda12.6")]
    assert json.loads(done.out) == {
        "name": "mine",
        "version": "3",
        "files": [f"here/{DOCKERFILE}", f"here/{DEFINITION}"],
        "overrides": ["env=dockerfile", f"env.dockerfile=here/{DOCKERFILE}"],
    }
    again = cli(bare, "env", "save", "here", "env=curated", "--overwrite", "--quiet")
    assert again.out == "use it: env=dockerfile env.dockerfile=here/Dockerfile\n"


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ((), "no folder to save to; name it before the overrides"),
        (("env=curated", "there"), "no folder to save to"),
        (("full",), "'full' is not empty; name another folder, or replace what is there with --overwrite"),
        (("file",), "'file' is a file; name a folder"),
        (("file", "--overwrite"), "'file' is a file; name a folder"),
        (("new", "env=curate"), "curate"),
    ],
)
def test_a_wrong_line_is_refused_before_anybody_is_asked(
    argv: tuple[str, ...], said: str, bare: Path, cli: Cli, workspace: list[Any]
) -> None:
    (bare / "full").mkdir()
    (bare / "full" / "x").touch()
    (bare / "file").touch()
    done = cli(bare, "env", "save", *argv)

    assert (done.code, said in done.err) == (2, True), done.err
    assert workspace == []


def test_environments_are_listed(bare: Path, cli: Cli, workspace: list[Any]) -> None:
    lines = cli(bare, "env", "list").out.splitlines()
    assert [line.split() for line in lines] == [["own", "2", "own"], ["AzureML-x", "1", "curated"]]

    rows = json.loads(cli(bare, "env", "list", "--json").out)["environments"]
    assert [row["curated"] for row in rows] == [False, True]


def test_a_workspace_that_refuses_writes_nothing(
    bare: Path, cli: Cli, workspace: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> Any:
        raise TargetError("cannot ask for the environment 'x': 403")

    monkeypatch.setattr(azureml_environment, "looked_up", refuse)
    done = cli(bare, "env", "save", "new", "env=curated")

    assert (done.code, done.err) == (4, "amlrun: cannot ask for the environment 'x': 403\n")
    assert not (bare / "new").exists()
