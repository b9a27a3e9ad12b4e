"""A run is found by its URL alone: another clone of the project, another home, the same workspace."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from runner.emulator import instance
from tests.azureml.shell import needs_sdk
from tests.conftest import Outcome, write

pytestmark = [pytest.mark.slow, needs_sdk]
SCRIPT = """
import json, pathlib, helper
print("helper says", helper.WORD, flush=True)
pathlib.Path("outputs/metrics.jsonl").write_text(json.dumps({"epoch": 1, "test_accuracy": 0.5}) + "\\n")
pathlib.Path("outputs/model.pt").write_bytes(b"weights")
"""
WAITS = """
import time
print("started", flush=True)
time.sleep(60)  # longer than the test may take: it has to be canceled
"""
FAILS = "print('before'); raise ValueError('boom')"
# No word of amlrun: what anybody's own script submits.
FOREIGN = """
from azureml.core import Environment, Experiment, ScriptRunConfig, Workspace
ws = Workspace.from_config()
environment = Environment("own")
environment.python.user_managed_dependencies = True
place = {"compute_target": "cpu-cluster", "environment": environment}
config = ScriptRunConfig(".", script="main.py", arguments=["--lr", 0.5], **place)
run = Experiment(ws, "theirs").submit(config)
run.wait_for_completion()
print(run.id)
"""
OVERRIDES = ("compute=cpu-cluster", "workspace=emulator", "env=image", "env.image=mcr.microsoft.com/x/y:1")


@dataclass(frozen=True)
class Machine:
    """A home and a clone. All it knows of the emulator is what a shell is told by `amlrun emulator env`."""

    clone: Path
    home: Path
    emulator: Path

    def __call__(self, *argv: str) -> Outcome:
        return self.python("-m", "runner", *argv)

    def python(self, *argv: str) -> Outcome:
        told = {**instance.variables(self.emulator), instance.FOLDER_VARIABLE: str(self.emulator)}
        environment = {**os.environ, **told, "HOME": str(self.home), "NO_PROXY": "127.0.0.1"}
        command = [sys.executable, *argv]
        done = subprocess.run(
            command, cwd=self.clone, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    def ask(self, *argv: str) -> Any:
        done = self(*argv, "--json")
        assert done.code == 0, done.err
        return json.loads(done.out)


@pytest.fixture
def here(bare: Path, tmp_path: Path, emulator: Path) -> Machine:
    (tmp_path / "home1").mkdir()
    return Machine(bare, tmp_path / "home1", emulator)


@pytest.fixture
def there(bare: Path, tmp_path: Path, emulator: Path) -> Machine:
    (tmp_path / "home2").mkdir()
    shutil.copytree(bare, tmp_path / "clone")
    return Machine(tmp_path / "clone", tmp_path / "home2", emulator)


def submit(machine: Machine, script: str, *options: str) -> dict[str, Any]:
    write(machine.clone, {"main.py": script, "helper.py": "WORD = 'first'\n"})
    (machine.clone / "helper.py").chmod(0o755)
    done = machine("run", "code.script=main.py", *OVERRIDES, *options, "--json")
    record = json.loads(done.out)
    return dict(record["runs"][0] if "runs" in record else record)


def test_show_logs_download_and_rerun_need_the_url_alone(here: Machine, there: Machine) -> None:
    sent = submit(here, SCRIPT, "+tags.who=me")

    shown = there.ask("show", sent["url"])
    same = ("id", "url", "page", "state", "metrics", "overrides", "git", "digest", "tags", "layout", "files")
    assert {key: shown[key] for key in same} == {key: sent[key] for key in same}
    assert shown["config"]["env"] == sent["config"]["env"]
    assert there.ask("logs", sent["url"])["logs"][0]["text"] == "helper says first\n"
    written = there.ask("download", sent["url"])["files"]
    assert Path(next(path for path in written if path.endswith("model.pt"))).read_bytes() == b"weights"
    assert [run["id"] for run in there.ask("list")["runs"]] == [sent["id"]]

    # This clone never had the code: it comes back from the service, with its modes.
    assert not (there.clone / "main.py").exists()
    again = there.ask("rerun", sent["url"])
    assert (again["id"] != sent["id"], again["state"], again["digest"]) == (True, "completed", sent["digest"])
    assert Path(again["logs"][0]).read_text() == "helper says first\n"
    staged = there.clone / ".runs" / "snapshots" / sent["digest"]["snapshot"]
    assert os.access(staged / "helper.py", os.X_OK)
    assert not os.access(staged / "main.py", os.X_OK)


def test_a_run_that_goes_on_is_canceled_from_there(here: Machine, there: Machine) -> None:
    sent = submit(here, WAITS, "--detach")

    assert there.ask("show", sent["url"])["state"] not in ("completed", "failed", "canceled")
    assert there("cancel", sent["url"]).code == 0
    assert there.ask("show", sent["url"])["state"] == here.ask("show", sent["id"])["state"] == "canceled"


def test_a_failure_is_diagnosed_there(here: Machine, there: Machine) -> None:
    sent = submit(here, FAILS)

    told = there("diagnose", sent["url"])
    assert (told.code, "ValueError: boom" in told.out) == (5, True)
    assert there.ask("show", sent["url"])["failure"]["cause"] == sent["failure"]["cause"]


def test_list_remote_shows_what_the_service_has(here: Machine, there: Machine) -> None:
    sent = [submit(here, SCRIPT, f"name=group-{number}", f"seed={number}") for number in (1, 2)]

    listed = there.ask("list", "--remote", "workspace=emulator", "-n", "2")["runs"]
    assert [run["url"] for run in listed] == [run["url"] for run in reversed(sent)]
    only = there.ask("list", "--remote", "workspace=emulator", "--experiment", "group-1")["runs"]
    assert [run["url"] for run in only] == [sent[0]["url"]]
    assert there.ask("list", "--remote", "workspace=emulator", "--experiment", "nobody-s")["runs"] == []
    assert there.ask("list")["runs"] == []


def test_a_run_of_anybodys_script_is_looked_at(here: Machine, there: Machine) -> None:
    submit(here, SCRIPT)  # makes the cluster
    write(here.clone, {"main.py": SCRIPT, "submit.py": FOREIGN})
    assert here("emulator", "env").code == 0  # leaves a config.json
    done = here.python("submit.py")
    assert done.code == 0, done.err
    url = f"azureml://emulator/theirs/{done.out.split()[-1]}"

    shown = there.ask("show", url)
    assert (shown["state"], shown["metrics"]) == ("completed", {"epoch": 1, "test_accuracy": 0.5})
    assert "helper says first" in there.ask("logs", url)["logs"][0]["text"]
    again = there("rerun", url)
    assert (again.code, "was not submitted by amlrun; it can be looked at" in again.err) == (4, True)


def test_what_the_workspace_does_not_have_is_exit_4(there: Machine) -> None:
    for name in ("azureml://emulator/digits/nobody-1", "azureml://emulator/nothing/nobody-1"):
        done = there("show", name)
        assert (done.code, done.out) == (4, "")
        assert "workspace 'emulator' has no run 'nobody-1' in experiment" in done.err
    assert there.ask("list")["runs"] == []
