"""A node that is taken away: what its processes are told, what is lost, what stays, and who starts again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from runner.emulator import packages
from runner.emulator.nodes import Nodes
from runner.emulator.preemption import of_attempt
from runner.processes import marked
from tests.emulator.bodies import control
from tests.emulator.conftest import Client
from tests.emulator.test_execution import PYTORCH, Cluster

pytestmark = pytest.mark.slow

# The first attempt goes on until it is told to end; a later one ends by itself.
SCRIPT = b"""
import os, pathlib, signal, sys, time
def told(*_):
    open("outputs/in-the-grace", "w").close()
    print("told", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, told)
marker = pathlib.Path(sys.argv[1])
print("folder", sorted(os.listdir(".")), sorted(os.listdir("outputs")))
open("outputs/step", "w").write("2" if marker.exists() else "1")
if marker.exists():
    sys.exit(0)
if os.environ.get("RANK", "0") == "0":
    open("outputs/early", "w").write("kept")
    open("scratch", "w").close()
print("ready", flush=True)
while True: time.sleep(0.01)
"""
DEAF = b"""
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
while True: time.sleep(0.01)
"""


@pytest.fixture
def cluster(client: Client, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    monkeypatch.setattr(packages, "notice", lambda *_: "")  # asks an interpreter, which takes its time
    found = Cluster(client)
    client.cluster("spot", 4, vmPriority="lowpriority")
    yield found
    found.engine.stop()


def preempt(cluster: Cluster, **asked: Any) -> Any:
    return cluster.client.ask("POST", control(cluster.client, "preempt"), asked)


def phases(cluster: Cluster, run_id: str) -> list[str]:
    document = cluster.service.store.get("run", "", run_id) or {}
    return [phase for phase, _ in document["phases"]]


def test_on_low_priority_the_run_starts_again_with_an_empty_folder(cluster: Cluster, tmp_path: Any) -> None:
    cluster.start("r1", SCRIPT, target="spot", arguments=[str(tmp_path / "marker")])
    cluster.until_ready("r1")
    assert preempt(cluster, run="r1") == {"run": "r1", "nodes": []}
    (tmp_path / "marker").touch()
    assert cluster.end("r1")["status"] == "Completed"
    assert phases(cluster, "r1")[1:] == [
        *("Preparing", "Queued", "Running", "Queued", "Running", "Finalizing", "Completed")
    ]
    files = {name: path.read_text() for name, path in cluster.files("r1").items()}
    assert files["user_logs/std_log.txt"].splitlines()[1:] == ["ready", "told"]
    assert files["user_logs/retry_001/std_log.txt"] == "folder ['logs', 'outputs', 'train.py'] []\n"
    assert files["system_logs/lifecycler/lifecycler.log"].endswith("node got preempted, restarting the job\n")
    # What was there at the notice stays, what came in the grace period is lost; the newest of a name counts.
    assert (files["outputs/early"], files["outputs/step"]) == ("kept", "2")
    assert not {"outputs/in-the-grace", "scratch"} & set(files)
    assert cluster.engine.nodes_in_use("spot") == 0


def test_on_dedicated_nodes_the_run_has_failed(cluster: Cluster, tmp_path: Any) -> None:
    cluster.start("r1", SCRIPT, arguments=[str(tmp_path / "marker")])
    cluster.until_ready("r1")
    preempt(cluster, run="r1")
    run = cluster.end("r1")
    assert run["status"] == "Failed"
    assert "PreemptionError: Nodes of this job got pre-empted" in run["error"]["error"]["message"]
    assert cluster.files("r1")["outputs/early"].read_text() == "kept"
    assert "outputs/in-the-grace" not in cluster.files("r1")


def test_of_several_nodes_one_is_taken_and_all_start_again(cluster: Cluster, tmp_path: Any) -> None:
    cluster.start("r1", SCRIPT, **PYTORCH, target="spot", arguments=[str(tmp_path / "marker")])
    cluster.until(lambda: cluster.logs("r1").count("ready") == 2, "r1")
    assert preempt(cluster, node="spot-1") == {"run": "r1", "nodes": [1]}
    (tmp_path / "marker").touch()
    assert cluster.end("r1")["status"] == "Completed"
    logs = {name.rpartition("user_logs/")[2] for name in cluster.files("r1") if name.startswith("user_logs/")}
    ranks = {"std_log_process_0.txt", "std_log_process_1.txt"}
    assert logs == ranks | {f"retry_001/{name}" for name in ranks}


def test_who_does_not_listen_is_killed_after_the_grace(cluster: Cluster) -> None:
    cluster.start("r1", DEAF)
    cluster.until_ready("r1")
    preempt(cluster, run="r1", grace=0.1)
    assert cluster.end("r1")["status"] == "Failed"
    assert not list(marked(f"r1@{cluster.service.workspace()['id']}"))


def test_a_run_that_is_canceled_meanwhile_stays_canceled(cluster: Cluster) -> None:
    cluster.start("r1", DEAF, target="spot")
    cluster.until_ready("r1")
    preempt(cluster, run="r1", grace=0.5)
    cluster.engine.cancel("r1")
    assert cluster.end("r1")["status"] == "Canceled"


def test_what_cannot_be_preempted(cluster: Cluster) -> None:
    client, path = cluster.client, control(cluster.client, "preempt")
    cluster.run("r1", b"pass")
    assert client.refused("POST", path, {"run": "r1"}, 409) == "run 'r1' has no nodes now"
    for node in ("gpu-0", "gpu-x", "gpu", "-1"):
        assert client.refused("POST", path, {"node": node}, 404) == f"no run is on node '{node}'"
    for body in ({}, {"run": "a", "node": "b"}):
        assert client.refused("POST", path, body) == "name a run or a node, exactly one of them"


def test_nodes_are_numbered_in_the_order_in_which_runs_took_them() -> None:
    nodes = Nodes(taken={"gpu": {"a": 2, "b": 1}})
    assert [nodes.holder("gpu", number) for number in range(4)] == [("a", 0), ("a", 1), ("b", 0), None]


@pytest.mark.parametrize(
    ("attempt", "name"),
    [(0, "user_logs/std_log.txt"), (1, "user_logs/retry_001/std_log.txt"), (12, "user_logs/retry_012/std_log.txt")],
)
def test_logs_of_an_attempt(attempt: int, name: str) -> None:
    assert of_attempt("user_logs/std_log.txt", attempt) == name
