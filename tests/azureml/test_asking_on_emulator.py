"""plan --online, doctor and env: the command line, the unmodified SDK and an emulator, each in its own process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from runner.emulator import instance
from runner.resources import packaged
from tests.azureml.shell import Shell, needs_sdk
from tests.conftest import Outcome, write

pytestmark = [pytest.mark.slow, needs_sdk]

# The command line, with one of the service's answers exchanged for a refusal.
REFUSED = """
import sys
import requests
status, part = int(sys.argv[1]), sys.argv[2]
send = requests.Session.send
def refuse(self, request, **options):
    answer = send(self, request, **options)
    if part in request.url:
        answer.status_code = status
        answer._content = b'{"error": {"code": "NotFound", "message": "404: the principal was not found"}}'
    return answer
requests.Session.send = refuse
from runner.cli import main
sys.exit(main(sys.argv[3:]))
"""
LOADS = """
from azureml.core import Environment
loaded = Environment.load_from_directory("kept")
print(loaded.name, loaded.docker.base_image, list(loaded.python.conda_dependencies.pip_packages))
"""
PRINTS = "print('hello')"
RUN = ("code.script=main.py", "compute=cpu-cluster", "workspace=emulator")


@pytest.fixture
def shell(bare: Path, emulator: Path) -> Shell:
    """Commands in a bare project with a script, against an emulator that has nothing yet."""
    instance.ask(emulator, "reset", {})
    write(bare, {"main.py": PRINTS})
    return Shell(bare, emulator)


def requests(shell: Shell) -> list[dict[str, Any]]:
    """What the service was asked since it was reset."""
    asked: list[dict[str, Any]] = instance.ask(shell.emulator, "requests")["requests"]
    resets = [number for number, row in enumerate(asked) if row["path"].endswith("/reset")]
    return asked[resets[-1] + 1 :]


def written(shell: Shell) -> list[str]:
    """What it was asked to make or change."""
    own = ("/_emulator/", "/msi/")
    changing = [row for row in requests(shell) if row["method"] != "GET" and not row["path"].startswith(own)]
    return [f"{row['method']} {row['path']}" for row in changing]


def online(done: Outcome) -> dict[str, Any]:
    """The answers by what was asked; they have the form of their schema."""
    found = json.loads(done.out)["online"]
    Draft202012Validator(json.loads((packaged("schemas") / "online.schema.json").read_text())).validate(found)
    return {row["about"]: row for row in found[0]["answers"]}


def test_asking_makes_nothing_and_what_a_run_made_is_found(shell: Shell) -> None:
    before = len(written(shell))
    first = shell("plan", *RUN, "--online", "--json")
    assert first.code == 0, first.err
    assert len(written(shell)) == before
    said = online(first)
    assert said["cluster"]["text"] == "'cpu-cluster' would be made: Standard_DS3_v2, dedicated, 0 to 2 nodes"
    assert "Standard DSv2 Family Cluster Dedicated vCPUs in eastus: 0 of 1000" in said["quota"]["text"]
    assert (said["environment"]["facts"]["registered"], said["environment"]["facts"]["built"]) == (False, False)

    assert shell("run", *RUN, "--quiet").code == 0
    before = len(written(shell))
    again = online(shell("plan", *RUN, "--online", "--json"))
    assert len(written(shell)) == before
    assert again["environment"]["text"].endswith("is registered, its image is built")
    assert again["environment"]["facts"]["version"] == said["environment"]["facts"]["version"]
    assert again["cluster"]["standing"] == "ok"
    assert again["cluster"]["facts"]["found"]


def test_differences_from_a_cluster_are_shown_and_not_made(shell: Shell) -> None:
    assert shell("run", *RUN, "--quiet").code == 0
    other = ("compute.max_nodes=3", "compute.vm_size=Standard_DS2_v2")
    for _ in range(2):  # the first question has changed nothing
        rows = online(shell("plan", *RUN, *other, "--online", "--json"))["cluster"]["facts"]["differences"]
        told = [(row["key"], row["asked"], row["found"], row["applied"]) for row in rows]
        assert told == [
            ("vm_size", "Standard_DS2_v2", "Standard_DS3_v2", False),
            ("max_nodes", 3, 2, True),
        ]


@pytest.mark.parametrize("verb", [("plan", "--online"), ("run",)])
@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ("env=curated", "env.name=AzureML-acpt-pytorch-2.8-cuda12.7"),
            "no environment 'AzureML-acpt-pytorch-2.8-cuda12.7' in workspace 'emulator'; "
            "did you mean 'AzureML-acpt-pytorch-2.8-cuda12.6'?",
        ),
        (("env=curated", "env.version='99'"), "with version '99' in workspace 'emulator'; the newest is '17'"),
        (("compute=existing", "compute.name=gone"), "no cluster 'gone' in workspace 'emulator'; there are: none"),
    ],
)
def test_what_is_not_there_is_refused_before_anything_is_sent(
    verb: tuple[str, ...], overrides: tuple[str, ...], said: str, shell: Shell
) -> None:
    done = shell(*verb, *RUN, *overrides)

    assert done.code == 4
    assert said in done.err
    assert written(shell) == []
    assert not list((shell.folder / ".runs").glob("digits*"))


@pytest.mark.parametrize(
    ("status", "part", "about", "said"),
    [
        (403, "/computes/cpu-cluster", "cluster", "cannot ask for the cluster 'cpu-cluster'"),
        (403, "/vmSizes", "quota", "cannot ask for the VM sizes of eastus"),
        (403, "/usages", "quota", "cannot ask for the quota in eastus"),
        (403, "/environment/v1.0", "environment", "cannot ask for the environment 'amlrun-auto'"),
        (429, "/environment/v1.0", "environment", "cannot ask for the environment 'amlrun-auto'"),
        (500, "/environment/v1.0", "environment", "cannot ask for the environment 'amlrun-auto'"),
    ],
)
def test_a_refusal_never_reads_as_not_there(status: int, part: str, about: str, said: str, shell: Shell) -> None:
    argv = ("plan", *RUN, f"workspace.dir={shell.emulator}", "--online", "--json")
    done = subprocess.run(
        [sys.executable, "-c", REFUSED, str(status), part, *argv],
        cwd=shell.folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    found = online(Outcome(done.returncode, done.stdout, done.stderr))

    assert done.returncode == 4, done.stderr
    assert found[about]["standing"] == "error"
    assert found[about]["text"].startswith(said)
    assert found["workspace"]["standing"] == "ok"


def test_an_emulator_that_does_not_run_is_started_and_that_is_said(bare: Path, tmp_path: Path) -> None:
    """As `run` does; `doctor` does not."""
    write(bare, {"main.py": PRINTS})
    fresh = Shell(bare, tmp_path / "fresh")
    looked = fresh("doctor", *RUN)
    assert (looked.code, (tmp_path / "fresh").exists()) == (0, False)
    assert "no emulator serves" in looked.out
    try:
        done = fresh("plan", *RUN, "--online")
        assert done.code == 0, done.err
        assert "started an emulator of Azure ML at https://127.0.0.1:" in done.err
    finally:
        instance.stop(tmp_path / "fresh")


def test_doctor_finds_an_emulator_well(shell: Shell) -> None:
    done = shell("doctor", *RUN, "--json")
    found = {row["about"]: row["standing"] for row in json.loads(done.out)["checks"]}

    assert done.code == 0, done.out
    expected = dict.fromkeys(("names", "login", "workspace", "cluster", "quota", "environment"), "ok")
    assert {about: found[about] for about in expected} == expected
    assert written(shell) == []


def as_azure(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """`workspace=azure`, which the emulator plays to whoever has its variables."""
    for name, value in instance.variables(shell.emulator).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    config, _ = instance.workspace_for(shell.emulator, shell.folder)
    assert config.is_file()
    return (*RUN[:2], "workspace=azure")


@pytest.mark.parametrize(
    ("overrides", "login"),
    [
        (("workspace.auth.kind=managed_identity",), "ok"),
        (("workspace.auth.kind=cli",), "error"),
        (("workspace.auth.kind=interactive",), "not asked"),
        (("workspace.auth.kind=token", "workspace.auth.secret=NO_SUCH_VARIABLE"), "error"),
    ],
)
def test_doctor_logs_in_as_the_configuration_says(
    overrides: tuple[str, ...], login: str, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    azure = as_azure(shell, monkeypatch)
    monkeypatch.setenv("PATH", os.defpath)  # where there is no `az`
    done = shell("doctor", *azure, *overrides, "--json", workspace=False)
    found = {row["about"]: row for row in json.loads(done.out)["checks"]}

    assert found["names"]["text"].endswith(".azureml/config.json' names 'emulator' in group 'emulator'")
    assert found["login"]["standing"] == login
    rest = {found[about]["standing"] for about in ("workspace", "cluster", "quota", "environment")}
    assert rest == ({"ok"} if login == "ok" else {"not asked"})
    assert done.code == (4 if login == "error" else 0)


@pytest.mark.parametrize("curated", ["AzureML-acpt-pytorch-2.8-cuda12.6", "AzureML-Minimal"])
def test_a_curated_environment_is_saved_and_a_run_builds_on_it(curated: str, shell: Shell) -> None:
    version = {row["name"]: row["version"] for row in environments(shell)}[curated]
    done = shell(
        "env",
        "save",
        "kept",
        "env=curated",
        f"env.name={curated}",
        f"env.version='{version}'",
        "workspace=emulator",
        "--json",
    )
    assert done.code == 0, done.err
    saved = json.loads(done.out)
    assert written(shell) == []
    assert all((shell.folder / path).is_file() for path in saved["files"])

    built = (*RUN, *saved["overrides"], "env.name=kept-env")
    planned = online(shell("plan", *built, "--online", "--json"))["environment"]["facts"]
    assert (planned["environment"], planned["registered"]) == ("kept-env", False)
    assert shell("run", *built, "--quiet").code == 0
    own = [row for row in environments(shell) if not row["curated"]]
    assert own == [{"name": "kept-env", "version": planned["version"], "curated": False}]

    refused = shell("env", "save", "kept", "env=curated", "workspace=emulator")
    assert (refused.code, "'kept' is not empty" in refused.err) == (2, True)


def environments(shell: Shell) -> list[dict[str, Any]]:
    done = shell("env", "list", "workspace=emulator", "--json")
    found: list[dict[str, Any]] = json.loads(done.out)["environments"]
    return found


def test_what_the_sdk_loads_is_what_was_saved(shell: Shell) -> None:
    """`Environment.load_from_directory`: the tutorial's way on."""
    assert (
        shell(
            "env", "save", "kept", "env=curated", "env.name=AzureML-Minimal", "env.version='1'", "workspace=emulator"
        ).code
        == 0
    )
    done = subprocess.run([sys.executable, "-c", LOADS], cwd=shell.folder, capture_output=True, text=True, timeout=60)

    image = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:20251130.v1"
    assert done.stdout == f"AzureML-Minimal {image} ['azureml-defaults']\n", done.stderr
