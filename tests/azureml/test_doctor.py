"""doctor: a line for each check, whatever is missing; nothing is made, started, sent or opened."""

from __future__ import annotations

import json
import socket
import subprocess
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from runner.answers import Answer, Standing
from runner.emulator import instance
from runner.errors import TargetError
from runner.requirements import Requirement
from runner.resources import packaged
from runner.targets import azureml_online, azureml_workspace
from runner.targets.azureml_workspace import Service
from runner.verbs import doctor
from tests.conftest import Outcome, commit, write

Cli = Callable[..., Outcome]
SUBSCRIPTION = "11111111-1111-1111-1111-111111111111"
NAMED = (f"workspace.subscription_id={SUBSCRIPTION}", "workspace.resource_group=g", "workspace.name=work")
AZURE = ("compute=cpu-cluster", "code.script=main.py", *NAMED)
HERE = ["python", "packages", "project", "git", "configuration", "torch", "mpi", "azureml-core"]
THERE = ["names", "login", "workspace", "cluster", "quota", "environment"]


@pytest.fixture
def ready(bare: Path) -> Path:
    """A project with a script and a commit."""
    write(bare, {"main.py": "", ".gitignore": ".runs/\n"})
    commit(bare)
    return bare


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the machine that tests has: every package is there, and nobody is asked."""
    monkeypatch.setattr(Requirement, "installed", property(lambda self: "99"))
    monkeypatch.setattr(Requirement, "fits", property(lambda self: True))
    monkeypatch.setattr(azureml_workspace, "import_sdk", lambda: None)
    monkeypatch.setattr(azureml_online, "connect", lambda *_: pytest.fail("asked a workspace"))
    monkeypatch.setattr(webbrowser, "open", lambda *_: pytest.fail("opened a browser"))


class Login:
    """Gets a token, or says why not."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    def get_authentication_header(self) -> dict[str, str]:
        if self.error:
            raise self.error
        return {"Authorization": "Bearer x"}


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch, service: Service) -> dict[str, Answer]:
    """A workspace that can be used, and what it says; fill in what it says otherwise."""
    said = {about: Answer(about, Standing.OK, "fine") for about in azureml_online.QUESTIONS}
    service.workspace.location, service.workspace.resource_group = "eastus", "g"
    monkeypatch.setitem(doctor_auth(), "cli", lambda *_: Login())
    monkeypatch.setattr(azureml_online, "connect", lambda *_: service)
    monkeypatch.setattr(azureml_online, "answered", lambda about, *_: said[about])
    return said


def doctor_auth() -> dict[str, Any]:
    assert isinstance(azureml_workspace.AUTH, dict)
    return azureml_workspace.AUTH


def checks(done: Outcome) -> dict[str, tuple[str, str]]:
    """(standing, text and hint) by what was looked at; the output has the form of its schema."""
    data = json.loads(done.out)
    Draft202012Validator(json.loads((packaged("schemas") / "doctor.schema.json").read_text())).validate(data)
    return {row["about"]: (row["standing"], f"{row['text']}; {row['hint']}") for row in data["checks"]}


def test_a_machine_that_is_ready(ready: Path, cli: Cli) -> None:
    before = sorted(ready.rglob("*"))
    done = cli(ready, "doctor", "code.script=main.py", "--json")

    assert done.code == 0, done.out
    found = checks(done)
    assert list(found) == [*HERE, "workspace"]
    assert {found[name][0] for name in HERE} == {"ok"}
    assert found["workspace"] == ("not asked", "runs stay on this machine (compute.kind is local); ")
    assert [path for path in sorted(ready.rglob("*")) if "__pycache__" not in path.parts] == before


def test_text_has_a_line_for_each_check_and_quiet_leaves_out_what_is_well(ready: Path, cli: Cli) -> None:
    lines = cli(ready, "doctor", "code.script=main.py").out.splitlines()
    assert [line.split()[0] for line in lines] == [*HERE, "workspace"]
    assert lines[2] == f"project        ok         {ready}"

    quiet = cli(ready, "doctor", "code.script=main.py", "--quiet").out.splitlines()
    assert [line.split()[0] for line in quiet] == ["workspace"]


def test_outside_of_a_project_the_rest_is_still_looked_at(tmp_path: Path, cli: Cli) -> None:
    done = cli(tmp_path, "doctor", "--json")
    found = checks(done)

    assert done.code == 4
    assert found["project"][0] == "missing"
    assert "go to the project's folder, or name it with --project DIR" in found["project"][1]
    assert (found["configuration"][0], found["git"][0]) == ("not asked", "not asked")
    assert found["azureml-core"][0] == found["python"][0] == "ok"
    assert {found[name][0] for name in THERE} == {"not asked"}


def test_a_configuration_that_is_not_valid_is_one_line(ready: Path, cli: Cli) -> None:
    done = cli(ready, "doctor", "compute=nowhere", "nothing.at=1", "--json")
    standing, text = checks(done)["configuration"]

    assert (done.code, standing) == (4, "missing")
    assert "2 problems, the first: override 'compute=nowhere'" in text
    assert "'amlrun validate' with the same overrides lists all" in text


def test_a_warning_stops_nothing(bare: Path, cli: Cli) -> None:
    write(bare, {"main.py": ""})
    done = cli(bare, "doctor", "code.script=main.py", "env=conda", "--json")
    found = checks(done)

    assert done.code == 0
    assert found["git"][0] == "warning"
    assert found["git"][1].startswith("the project is in no repository, or has no commit; git init")
    assert found["configuration"][0] == "warning"


def test_what_git_has_not_seen_is_counted(ready: Path, cli: Cli) -> None:
    write(ready, {"new.py": ""})

    assert "on main, 1 files not committed" in checks(cli(ready, "doctor", "code.script=main.py", "--json"))["git"][1]


@pytest.mark.parametrize(
    ("overrides", "about", "standing", "words"),
    [
        (["code.script=main.py"], "torch", "ok", "only 'python -m train' on this machine needs it"),
        ([], "torch", "missing", "pip install 'amlrun[train]'"),
        (["code.script=main.py"], "azureml-core", "ok", "only runs on Azure ML need it"),
        (AZURE, "azureml-core", "missing", "not installed: azureml-core >=1.60; pip install 'amlrun[azure]'"),
        (AZURE, "torch", "ok", "only 'python -m train' on this machine needs it"),
        (["code.script=main.py"], "packages", "missing", "hydra-core"),
    ],
)
def test_a_package_is_missing_only_for_those_who_need_it(
    overrides: list[str],
    about: str,
    standing: str,
    words: str,
    project: Path,
    cli: Cli,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    absent = {"packages": "hydra-core", "torch": "torch"}.get(about, about)
    monkeypatch.setattr(Requirement, "installed", property(lambda self: None if self.name == absent else "99"))
    write(project, {"main.py": ""})
    done = cli(project, "doctor", *overrides, "--offline" if about == "torch" else "--quiet", "--json")
    found = checks(done)

    assert (found[about][0], words in found[about][1]) == (standing, True), found[about]
    assert done.code == (4 if any(row[0] in ("missing", "error") for row in found.values()) else 0)
    if about == "packages":  # it composes nothing
        assert found["configuration"] == ("not asked", "'packages' comes first; ")


@pytest.mark.parametrize(("mpi", "standing"), [((), "ok"), (("distribution=mpi",), "missing")])
def test_mpirun_is_missing_only_for_those_who_need_it(
    mpi: tuple[str, ...], standing: str, ready: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runner.processes.find_program", lambda *_: None)
    done = cli(ready, "doctor", "code.script=main.py", *mpi, "--json")

    assert checks(done)["mpi"][0] == standing
    assert "no mpirun" in checks(done)["mpi"][1]


def test_other_versions_and_pythons_than_tested_are_said(
    ready: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Requirement, "fits", property(lambda self: self.name != "omegaconf"))
    monkeypatch.setattr(doctor, "pythons", lambda: ["3.1"])
    found = checks(cli(ready, "doctor", "code.script=main.py", "--json"))

    assert found["packages"][0] == "warning"
    assert "other versions than tested: omegaconf 99 (not " in found["packages"][1]
    assert (found["python"][0], "take one of 3.1" in found["python"][1]) == ("warning", True)


def test_a_workspace_is_asked_line_by_line(ready: Path, cli: Cli, answers: dict[str, Answer]) -> None:
    answers["quota"] = Answer("quota", Standing.WARNING, "it waits", "take less")
    done = cli(ready, "doctor", *AZURE, "--json")
    found = checks(done)

    assert done.code == 0
    assert list(found) == [*HERE, *THERE]
    assert found["names"] == ("ok", "the configuration names 'work' in group 'g'; ")
    assert found["login"] == ("ok", "auth.kind 'cli' gets a token; ")
    assert found["quota"] == ("warning", "it waits; take less")


@pytest.mark.parametrize("standing", [Standing.MISSING, Standing.ERROR])
def test_what_the_workspace_lacks_ends_with_4_and_the_rest_is_asked(
    standing: Standing, ready: Path, cli: Cli, answers: dict[str, Answer]
) -> None:
    answers["cluster"] = Answer("cluster", standing, "cannot ask for the cluster: 403")
    done = cli(ready, "doctor", *AZURE, "--json")

    assert done.code == 4
    assert checks(done)["environment"] == ("ok", "fine; ")


def test_offline_asks_nobody(ready: Path, cli: Cli) -> None:
    done = cli(ready, "doctor", *AZURE, "--offline", "--json")

    assert done.code == 0
    assert checks(done)["workspace"] == ("not asked", "--offline; ")


def test_another_sdk_is_not_asked(ready: Path, cli: Cli) -> None:
    azure = [item for item in AZURE if not item.startswith("workspace")]
    done = cli(ready, "doctor", *azure, "workspace=azure-v2", *NAMED, "--json")

    assert checks(done)["workspace"][0] == "not asked"
    assert "workspace.sdk=v1 is asked" in checks(done)["workspace"][1]


def test_a_file_that_names_the_workspace_is_named(ready: Path, cli: Cli, answers: dict[str, Answer]) -> None:
    content = {"subscription_id": "s", "resource_group": "group", "workspace_name": "of-file"}
    write(ready, {".azureml/config.json": json.dumps(content)})
    found = checks(cli(ready, "doctor", *AZURE[:2], "--json"))

    assert found["names"][1].startswith(f"'{ready / '.azureml/config.json'}' names 'of-file' in group 'group'")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "no config.json from"),
        ({".azureml/config.json": "{}"}, "is no config.json of a workspace"),
        ({".azureml/config.json": "not json"}, "is no config.json of a workspace"),
    ],
)
def test_without_names_the_workspace_is_not_asked(
    files: dict[str, str], words: str, ready: Path, cli: Cli, answers: dict[str, Answer]
) -> None:
    write(ready, files)
    done = cli(ready, "doctor", *AZURE[:2], "--json")
    found = checks(done)

    assert (done.code, found["names"][0], words in found["names"][1]) == (4, "missing", True)
    assert {found[name][0] for name in THERE[1:]} == {"not asked"}


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionError("no route to host"), "auth.kind 'cli' cannot log in: ConnectionError: no route to host"),
        (TargetError("the variable 'KEY' is not set; workspace.auth.secret names it"), "the variable 'KEY' is not set"),
    ],
)
def test_without_a_login_the_workspace_is_not_asked(
    error: Exception, words: str, ready: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(doctor_auth(), "cli", lambda *_: Login(error))
    done = cli(ready, "doctor", *AZURE, "--json")
    found = checks(done)

    assert (done.code, found["login"][0]) == (4, "error")
    assert words in found["login"][1]
    assert {found[name][0] for name in THERE[2:]} == {"not asked"}


def test_a_workspace_that_refuses_is_an_error(
    ready: Path, cli: Cli, answers: dict[str, Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> Any:
        raise TargetError("workspace 'ws' cannot be used: 403; ask for the role")

    monkeypatch.setattr(azureml_online, "connect", refuse)
    done = cli(ready, "doctor", *AZURE, "--json")

    assert done.code == 4
    assert checks(done)["workspace"] == ("error", "workspace 'ws' cannot be used: 403; ask for the role")
    assert checks(done)["cluster"] == ("not asked", "'workspace' comes first; ")


def test_a_login_that_may_open_a_browser_is_not_tried(ready: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(doctor_auth(), "interactive", lambda *_: pytest.fail("logged in"))
    done = cli(ready, "doctor", *AZURE, "workspace.auth.kind=interactive", "--json")

    assert done.code == 0
    assert checks(done)["login"][0] == "not asked"
    assert "may open a browser" in checks(done)["login"][1]


def test_every_login_that_prompts_is_known() -> None:
    """Whoever adds a kind of login says whether it may open a browser."""
    assert set(azureml_workspace.AUTH) - set(doctor.PROMPTING) == {
        "cli",
        "service_principal",
        "managed_identity",
        "token",
    }


def test_an_emulator_is_not_started_for_a_look(ready: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instance, "start", lambda *_: pytest.fail("started an emulator"))
    done = cli(ready, "doctor", *AZURE[:2], "workspace=emulator", "--json")

    assert done.code == 0
    assert checks(done)["names"][0] == "not asked"
    assert "'amlrun run' or 'amlrun emulator start' does" in checks(done)["names"][1]
    assert not (ready / ".runs").exists()


def test_every_question_of_an_online_plan_has_its_check() -> None:
    assert [check.about for check in doctor.THERE[3:]] == list(azureml_online.QUESTIONS)
    names = [check.about for check in (*doctor.HERE, *doctor.THERE)]
    assert names == [*HERE, *THERE]
    assert {need for check in (*doctor.HERE, *doctor.THERE) for need in check.needs} <= set(names)


def test_secrets_in_what_a_service_says_are_hidden(ready: Path, cli: Cli, answers: dict[str, Answer]) -> None:
    key = "AccountKey=" + "A" * 86 + "=="
    answers["cluster"] = Answer("cluster", Standing.ERROR, f"refused: {key}")

    for argv in ((), ("--json",)):
        assert "A" * 20 not in cli(ready, "doctor", *AZURE, *argv).out


def test_nothing_but_git_is_started_and_nothing_is_connected(
    ready: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []
    start = subprocess.run

    def run(command: list[str], **options: Any) -> Any:
        started.append(command[0])
        return start(command, **options)

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("connected"))
    cli(ready, "doctor", *AZURE, "--offline")

    assert set(started) <= {"git"}
