"""An experiment repeated from a lock in git, by rerun, and by resume after a kill: the same weights, byte for byte."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from runner import history
from tests.conftest import Cli, commit
from tests.watching import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SHORT = ("experiment=digits", "trainer.epochs=3")
WEIGHTS = """
import hashlib, sys, torch
state = torch.load(sys.argv[1], weights_only=True)["model"]
digest = hashlib.sha256()
for name in sorted(state):
    digest.update(name.encode() + state[name].numpy().tobytes())
print(digest.hexdigest())
"""


def weights(project: Path, run: str = "last") -> str:
    run_id = history.resolve(project, run).id
    model = history.files(project, run_id).outputs / "model.pt"
    done = subprocess.run([sys.executable, "-c", WEIGHTS, str(model)], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def ok(cli: Cli, project: Path, *argv: str) -> str:
    done = cli(project, *argv)
    assert done.code == 0, done.err
    return done.out


def test_lock_and_rerun_give_the_first_runs_weights_whatever_yaml_and_code_are_now(cli: Cli, project: Path) -> None:
    ok(cli, project, "run", "-q", *SHORT)
    first = weights(project)
    ok(cli, project, "plan", *SHORT, "--lock", "digits.lock.json")
    commit(project)
    changed = project / "configs/optimizer/adamw.yaml"
    changed.write_text(changed.read_text().replace("lr: 0.005", "lr: 0.1"))
    with (project / "train/loop.py").open("a") as source:
        source.write("\nraise SystemExit('changed')\n")
    assert cli(project, "run", "-q", *SHORT).code == 5
    ok(cli, project, "run", "-q", "--locked", "digits.lock.json")
    assert weights(project) == first
    oldest = history.list_runs(project)[0][-1].id
    ok(cli, project, "rerun", "-q", oldest)
    assert weights(project) == first


def test_a_killed_run_is_resumed_to_the_uninterrupted_runs_weights(cli: Cli, project: Path) -> None:
    overrides = ("experiment=digits", "trainer.epochs=6")
    ok(cli, project, "run", "-q", *overrides)
    whole = weights(project)
    run_id = json.loads(ok(cli, project, "run", "--detach", "--json", *overrides))["runs"][0]["id"]
    place = history.files(project, run_id)
    wait_for(lambda: list(place.outputs.glob("checkpoints/step_*.pt")), seconds=60)
    record = json.loads((place.ranks / "0.json").read_text())
    os.kill(record["pid"], signal.SIGKILL)
    assert cli(project, "watch", run_id).code == 5
    out = ok(cli, project, "resume", run_id)
    assert "checkpoint" in out
    assert weights(project) == whole


def test_digest_of_weights_can_differ(project: Path, cli: Cli) -> None:
    """The comparison above can fail: another seed gives other weights."""
    ok(cli, project, "run", "-q", "experiment=digits", "trainer.epochs=1", "seed=1")
    one = weights(project)
    ok(cli, project, "run", "-q", "experiment=digits", "trainer.epochs=1", "seed=2")
    assert weights(project) != one
    assert one != hashlib.sha256().hexdigest()
