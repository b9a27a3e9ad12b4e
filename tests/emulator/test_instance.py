"""`amlrun emulator`: start, stop, status, reset, env, and what a restart keeps. With processes of its own."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.emulator import instance
from runner.emulator.instance import EmulatorError, Running, Settings
from tests.conftest import Cli
from tests.watching import wait_for

needs_cryptography = pytest.mark.skipif(
    __import__("importlib.util").util.find_spec("cryptography") is None, reason="the emulator's extra is not installed"
)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "state"
    instance.stop(tmp_path / "state")


@pytest.fixture
def started(folder: Path) -> Running:
    return instance.start(Settings(folder))[0]


def exports(text: str) -> dict[str, str]:
    words = [shlex.split(line) for line in text.splitlines()]
    return dict(word[1].split("=", 1) for word in words)


def test_without_an_emulator_everything_says_so(cli: Cli, folder: Path, tmp_path: Path) -> None:
    for action in ("env", "reset"):
        done = cli(tmp_path, "emulator", action, "--dir", str(folder))
        assert done.code == 4
        assert f"no emulator serves '{folder}'; 'amlrun emulator start --dir {folder}' starts one" in done.err
    assert cli(tmp_path, "emulator", "stop", "--dir", str(folder)).out == f"no emulator serves '{folder}'\n"
    done = cli(tmp_path, "emulator", "status", "--dir", str(folder), "--json")
    assert json.loads(done.out) == {"running": False, "dir": str(folder)}


def test_the_folder_is_the_projects_or_the_users(
    cli: Cli, bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    done = cli(bare, "emulator", "status", "--json")
    assert json.loads(done.out)["dir"] == str(bare / ".runs" / "emulator")
    (tmp_path / "elsewhere").mkdir()
    done = cli(tmp_path / "elsewhere", "emulator", "status", "--json")
    assert json.loads(done.out)["dir"] == str(tmp_path / "state" / "amlrun" / "emulator")
    assert cli(tmp_path, "--project", str(tmp_path / "none"), "emulator", "status").code == 2


def test_without_cryptography_it_says_what_to_install(
    cli: Cli, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    done = cli(tmp_path, "emulator", "start", "--dir", str(folder))
    assert (done.code, "pip install 'amlrun[emulator]'" in done.err) == (4, True)


def test_an_interpreter_that_does_not_exist(cli: Cli, folder: Path, tmp_path: Path) -> None:
    done = cli(tmp_path, "emulator", "start", "--dir", str(folder), "--python", "no-such-python")
    assert (done.code, "'no-such-python' is no program" in done.err) == (4, True)


def test_a_stale_record_is_not_a_running_emulator(folder: Path) -> None:
    folder.mkdir()
    (folder / "emulator.json").write_text(json.dumps({"origin": "https://x:1", "pid": 1, "birth": "0", "python": "p"}))
    assert instance.running(folder) is None
    assert instance.last(folder) is not None
    (folder / "emulator.json").write_text("{")
    assert instance.last(folder) is None


def test_config_is_found_in_the_sdks_order(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    for place in ("config.json", "a/config.json", "aml_config/config.json", ".azureml/config.json"):
        path = tmp_path / place
        path.parent.mkdir(exist_ok=True)
        path.write_text("{}")
        assert instance.find_config(inner) == path


@needs_cryptography
def test_start_status_stop(cli: Cli, folder: Path, tmp_path: Path) -> None:
    done = cli(tmp_path, "emulator", "start", "--dir", str(folder))
    assert done.code == 0, done.err
    assert "emulator started at https://127.0.0.1:" in done.out
    assert "runs already" in cli(tmp_path, "emulator", "start", "--dir", str(folder)).out
    status = json.loads(cli(tmp_path, "emulator", "status", "--dir", str(folder), "--json").out)
    assert (status["running"], status["runs"], status["python"]) == (True, {}, sys.executable)
    assert "origin" in cli(tmp_path, "emulator", "status", "--dir", str(folder)).out
    assert "stopped" in cli(tmp_path, "emulator", "stop", "--dir", str(folder)).out
    assert instance.running(folder) is None
    assert (folder / "emulator.log").read_text() == ""


@needs_cryptography
@pytest.mark.slow
def test_a_restart_keeps_the_port_and_the_workspace(folder: Path, started: Running) -> None:
    before = instance.ask(folder, "status")
    certificate = (folder / "ca.pem").read_bytes()
    assert instance.stop(folder)
    instance.start(Settings(folder))
    after = instance.ask(folder, "status")
    assert (after["origin"], after["workspaceId"]) == (before["origin"], before["workspaceId"])
    assert (folder / "ca.pem").read_bytes() == certificate
    instance.ask(folder, "reset", {})
    assert instance.ask(folder, "status")["workspaceId"] != before["workspaceId"]


@needs_cryptography
@pytest.mark.slow
def test_a_killed_emulator_is_started_again(folder: Path, started: Running) -> None:
    os.kill(started.pid, signal.SIGKILL)
    wait_for(lambda: not started.alive)
    again, new = instance.start(Settings(folder))
    assert new
    assert again.origin == started.origin


@needs_cryptography
def test_two_on_one_folder_are_refused(folder: Path, started: Running) -> None:
    argv = [sys.executable, "-m", "runner.emulator", str(folder)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, "another emulator serves" in done.stderr) == (1, True)


@needs_cryptography
@pytest.mark.slow
def test_a_port_that_is_taken(folder: Path, tmp_path: Path, started: Running) -> None:
    port = int(started.origin.rpartition(":")[2])
    with pytest.raises(EmulatorError, match=f"cannot listen on 127.0.0.1:{port}.*name another with --port"):
        instance.start(Settings(tmp_path / "other", port))


@needs_cryptography
def test_env_points_a_shell_here(cli: Cli, folder: Path, started: Running, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    done = cli(work, "emulator", "env", "--dir", str(folder))
    found = exports(done.out)
    assert found["ARM_CLOUD_METADATA_URL"] == f"{started.origin}/metadata/endpoints"
    assert found["MSI_ENDPOINT"].startswith(f"{started.origin}/msi/")
    assert found["REQUESTS_CA_BUNDLE"] == found["SSL_CERT_FILE"] == str(folder / "bundle.pem")
    assert found["NO_PROXY"].startswith("127.0.0.1")
    assert f"wrote '{work / '.azureml' / 'config.json'}'" in done.err
    written = json.loads((work / ".azureml" / "config.json").read_text())
    assert written == json.loads((folder / "config.json").read_text())
    assert set(written) == {"subscription_id", "resource_group", "workspace_name"}


@needs_cryptography
@pytest.mark.slow
def test_env_answers_for_a_config_that_is_there(cli: Cli, folder: Path, started: Running, tmp_path: Path) -> None:
    config = {"subscription_id": "S", "resource_group": "G", "workspace_name": "mine"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    done = cli(tmp_path, "emulator", "env", "--dir", str(folder), "--json")
    assert json.loads(done.out)["config"] == str(tmp_path / "config.json")
    assert not (tmp_path / ".azureml").exists()
    names = [names["name"] for names in instance.ask(folder, "status")["workspaces"]]
    assert names == ["emulator", "mine"]


@needs_cryptography
@pytest.mark.slow
def test_env_keeps_a_proxy_away_from_this_machine(
    cli: Cli, folder: Path, started: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "corp.example")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    found = exports(cli(tmp_path, "emulator", "env", "--dir", str(folder), "--no-config").out)
    assert found["NO_PROXY"] == "127.0.0.1,localhost,corp.example"
    assert not (tmp_path / ".azureml").exists()
    assert instance.ask(folder, "status")["origin"] == started.origin


@needs_cryptography
@pytest.mark.slow
def test_an_idle_one_ends_by_itself(folder: Path) -> None:
    running, _ = instance.start(Settings(folder, idle_minutes=0.005))
    wait_for(lambda: not running.alive)


@needs_cryptography
@pytest.mark.slow
def test_in_the_foreground_it_ends_with_the_signal(folder: Path) -> None:
    argv = [sys.executable, "-m", "runner", "emulator", "start", "--foreground", "--dir", str(folder)]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    wait_for(lambda: instance.running(folder) is not None)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=20)
    assert (process.returncode, out) == (0, f"serving '{folder}' until Ctrl-C\n")
