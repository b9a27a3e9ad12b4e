"""The main job as a newcomer runs it: YAML in, trained model out, under each way of starting processes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from runner.compose import override
from tests.conftest import Cli, commit

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

WAYS = {
    "one process": [],
    "torch elastic x2": ["distribution=pytorch", "distribution.processes_per_node=2"],
    "two nodes": ["distribution=pytorch", "distribution.nodes=2"],
    "mpi x2": ["distribution=mpi", "distribution.processes_per_node=2"],
    "horovod x2": ["distribution=mpi", "distribution.processes_per_node=2", "distribution.engine=horovod"],
}
LOAD = """
import sys, torch
saved = torch.load(sys.argv[1], weights_only=True)
assert saved["config"]["name"] == "digits" and len(saved["classes"]) == 10
print(sum(value.numel() for value in saved["model"].values()))
"""


def run(cli: Cli, project: Path, *overrides: str) -> dict[str, Any]:
    done = cli(project, "run", "--json", "experiment=digits", *overrides)
    assert done.code == 0, done.err
    record: dict[str, Any] = json.loads(done.out)
    return record


@pytest.fixture(scope="module")
def accuracies() -> dict[str, float]:
    return {}


@pytest.mark.parametrize("way", WAYS)
def test_digits(cli: Cli, project: Path, way: str, accuracies: dict[str, float]) -> None:
    sha = commit(project)
    record = run(cli, project, *WAYS[way])
    processes = 1 if way == "one process" else 2
    assert record["git"] == {"commit": sha, "branch": "main", "dirty": [], "diff_bytes": 0}
    assert len(record["logs"]) == processes
    assert all(Path(path).is_file() for path in record["logs"])
    accuracies[way] = record["metrics"]["test_accuracy"]
    assert accuracies[way] >= 0.96
    assert max(accuracies.values()) - min(accuracies.values()) <= 0.02
    model = str(Path(record["outputs"]) / "model.pt")
    loaded = subprocess.run([sys.executable, "-c", LOAD, model], capture_output=True, text=True)
    assert loaded.returncode == 0, loaded.stderr
    assert record["note"] == ""  # nothing was left outside ./outputs and ./logs


def test_the_same_command_gives_the_same_weights(cli: Cli, project: Path) -> None:
    short = ["trainer.epochs=2"]
    models = [Path(run(cli, project, *short)["outputs"]) / "model.pt" for _ in range(2)]
    same = "import sys, torch; a, b = (torch.load(p, weights_only=True)['model'] for p in sys.argv[1:]); "
    same += "assert all(torch.equal(a[k], b[k]) for k in a)"
    assert subprocess.run([sys.executable, "-c", same, *map(str, models)]).returncode == 0


def test_overrides_with_everything_in_them_arrive_unchanged(cli: Cli, project: Path) -> None:
    """The node refuses a configuration with another digest: that it trains shows that it composed the same."""
    awkward = 'it\'s "quoted" $HOME = </think> \\ ü\n{a: b}'
    record = run(cli, project, override("tags.note", awkward), "+tags.when=${now:%f}", "trainer.epochs=1")
    assert record["config"]["tags"]["note"] == awkward
    read = "import sys, json, torch; print(json.dumps(torch.load(sys.argv[1], weights_only=True)['config']['tags']))"
    command = [sys.executable, "-c", read, str(Path(record["outputs"]) / "model.pt")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == record["config"]["tags"]


def test_by_hand(project: Path) -> None:
    command = [sys.executable, "-m", "train", "experiment=digits", "trainer.epochs=1"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "test accuracy" in done.stdout
    assert sorted(path.name for path in project.iterdir()) == ["configs", "outputs", "train"]
