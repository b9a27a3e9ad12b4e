"""amlrun against a service that fails on purpose: one run in the end, or a clear refusal and none, at every stage.

The unmodified SDK, over HTTPS. `SDK_WAITS` shortens the pauses between the SDK's own tries, nothing else.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from runner.emulator import instance
from tests.azureml.shell import ON_AZURE, needs_sdk
from tests.conftest import Outcome, write

pytestmark = [pytest.mark.slow, needs_sdk]
SDK_WAITS = {f"AZUREML_DEFAULT_{name}": "0" for name in ("BACKOFF", "500_BACKOFF", "503_BACKOFF")}
FOREVER = "while True: __import__('time').sleep(0.01)  # until it is canceled\n"
# By stage: method and path of the request that fails.
STAGES = {
    "workspace": ("GET", "/subscriptions/*/workspaces/*"),
    "compute": ("PUT", "*/computes/*"),
    "environment": ("PUT", "/environment/*"),
    "experiment": ("*", "/history/v1.0/*/experiments/digits*"),
    "snapshot": ("POST", "/content/*"),
    "upload": ("PUT", "/azureml-snapshots/*"),
    "submit": ("POST", "*/snapshotrun"),
    "state": ("POST", "*/runs:query"),
    "details": ("GET", "*/runs/*/details"),
    "logs": ("GET", "/azureml-artifacts/*"),
    "artifacts": ("*", "/artifact/*"),
    "cancel": ("POST", "*/cancel"),
}
ON_THE_WAY = tuple(stage for stage in STAGES if stage != "cancel")
KINDS = ("500", "503", "429", "refused", "reset-before", "reset-after", "truncated", "stall", "expired")


@dataclass(frozen=True)
class Shell:
    """Commands in a bare project, against an emulator."""

    folder: Path
    emulator: Path

    def __call__(self, *argv: str) -> Outcome:
        command = [sys.executable, "-m", "runner", *argv]
        environment = {**os.environ, **SDK_WAITS, instance.FOLDER_VARIABLE: str(self.emulator)}
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=150)
        return Outcome(done.returncode, done.stdout, done.stderr)

    def fail(self, kind: str, stage: str, count: int = 1) -> None:
        method, path = STAGES[stage]
        asked = {"kind": kind, "method": method, "path": path, "count": count, "seconds": 0.3}
        instance.ask(self.emulator, "fail-next", asked)

    def starts(self) -> int:
        """How often the script has really run."""
        counter = self.folder / "counter"
        return len(counter.read_text()) if counter.exists() else 0

    def runs(self) -> list[str]:
        return sorted(path.name for path in (self.folder / ".runs").glob("digits*"))


@pytest.fixture
def shell(bare: Path, emulator: Path) -> Iterator[Shell]:
    write(bare, {"main.py": f"open({str(bare / 'counter')!r}, 'a').write('x'); print('done')"})
    instance.ask(emulator, "reset", {})
    yield Shell(bare, emulator)
    instance.ask(emulator, "reset", {})


def known(shell: Shell) -> int:
    """Runs of the service."""
    return sum(instance.ask(shell.emulator, "status")["runs"].values())


def settled(shell: Shell, done: Outcome) -> None:
    """It ended well, or said why it did not, and a second try makes the run, not another."""
    assert "Traceback" not in done.err
    if done.code == 0:
        assert json.loads(done.out)["state"] == "completed"
    else:
        assert (done.code, done.err.startswith("amlrun: ")) == (4, True), done.err
        instance.ask(shell.emulator, "clear-faults", {})
        again = shell("resume", "last") if shell.runs() else shell("run", "code.script=main.py", *ON_AZURE)
        assert again.code == 0 or "is completed" in again.err, again.err
    assert (shell.starts(), known(shell)) == (1, 1)


# Each kind where it matters most, and each stage with a refusal and with a lost answer.
ONCE = [
    *(("submit", kind) for kind in KINDS),
    *((stage, kind) for stage in ON_THE_WAY if stage != "submit" for kind in ("500", "reset-after", "truncated")),
]


@pytest.mark.parametrize(("stage", "kind"), ONCE)
def test_one_fault_makes_no_second_run(stage: str, kind: str, shell: Shell) -> None:
    shell.fail(kind, stage)
    settled(shell, shell("run", "code.script=main.py", *ON_AZURE, "--json"))


# The SDK tries again and again, some of it with pauses that nothing shortens: the stages where most is at stake.
@pytest.mark.parametrize(("stage", "kind"), [("submit", "500"), ("submit", "reset-after"), ("environment", "expired")])
def test_a_stage_that_fails_for_long_ends_clearly(stage: str, kind: str, shell: Shell) -> None:
    shell.fail(kind, stage, 1000)
    settled(shell, shell("run", "code.script=main.py", *ON_AZURE, "--json"))


@pytest.mark.parametrize("answer", ["409", "merge"])
def test_a_lost_answer_whatever_a_second_submission_is_answered(answer: str, shell: Shell) -> None:
    instance.ask(shell.emulator, "repeat", {"answer": answer})
    shell.fail("reset-after", "submit")
    settled(shell, shell("run", "code.script=main.py", *ON_AZURE, "--json"))


@pytest.mark.parametrize("kind", ["500", "503", "429", "expired", "reset-before", "reset-after", "truncated"])
def test_cancel_says_whether_it_was_heard(kind: str, shell: Shell) -> None:
    write(shell.folder, {"main.py": FOREVER})
    sent = shell("run", "code.script=main.py", *ON_AZURE, "--detach", "--json")
    run_id = json.loads(sent.out)["runs"][0]["id"]
    shell.fail(kind, "cancel")
    done = shell("cancel", run_id)
    assert "Traceback" not in done.err
    if done.code:
        assert (done.code, done.err.startswith("amlrun: ")) == (4, True), done.err
        again = shell("cancel", run_id)
        assert again.code == 0 or "canceled" in again.err, again.err
    assert json.loads(shell("show", run_id, "--json").out)["state"] == "canceled"
