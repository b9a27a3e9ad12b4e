"""The engine with real processes, without HTTP: states, variables, logs, queue, cancel, failures, restart."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runner.emulator import artifacts, execution, records
from runner.emulator.blobs import file_of
from runner.emulator.execution import LocalEngine
from runner.emulator.identity import Identity
from runner.emulator.script import __file__ as wrapper
from runner.emulator.service import Service
from runner.emulator.store import Store
from runner.processes import birth
from tests.emulator.conftest import WS, Client, Recorder, configuration
from tests.watching import wait_for

pytestmark = pytest.mark.slow

PYTORCH = {"framework": "PyTorch", "communicator": "gloo", "nodeCount": 2}
WAIT_SECONDS = 30
# A loop, not one long sleep: Python handles a signal between two of them.
ENDLESS = b"import time\nprint('ready', flush=True)\nwhile True: time.sleep(0.01)\n"


class Cluster:
    """A client whose engine really runs things, on a cluster of four nodes."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.service: Service = client.service
        self.engine = LocalEngine(self.service)
        self.service.engine = self.engine
        client.cluster("gpu", 4)

    def start(self, run_id: str, content: bytes, **more: Any) -> None:
        self.client.snapshot({"train.py": content}, f"s-{run_id}")
        self.client.submit(run_id, configuration(**more), snapshot=f"s-{run_id}")
        self.engine.looked_at(run_id)

    def run(self, run_id: str, content: bytes, **more: Any) -> Any:
        self.start(run_id, content, **more)
        return self.end(run_id)

    def end(self, run_id: str) -> Any:
        self.until(lambda: self.client.run(run_id)["status"] in records.FINAL, run_id)
        return self.client.run(run_id)

    def until(self, reached: Callable[[], bool], run_id: str) -> None:
        wait_for(reached, WAIT_SECONDS, lambda: self.client.run(run_id))

    def until_ready(self, run_id: str) -> None:
        self.until(lambda: "ready" in self.logs(run_id), run_id)

    def files(self, run_id: str) -> dict[str, Path]:
        found = artifacts.listed(self.service, f"dcid.{run_id}")
        return {item["path"]: file_of(self.service, "artifacts", item["blob"]) or Path() for item in found}

    def logs(self, run_id: str) -> str:
        return "".join(path.read_text() for name, path in self.files(run_id).items() if name.startswith("user_logs/"))


@pytest.fixture
def cluster(client: Client) -> Iterator[Cluster]:
    found = Cluster(client)
    yield found
    found.engine.stop()


def test_a_run_from_its_beginning_to_its_end(cluster: Cluster) -> None:
    script = b"""
import os, sys
print("arguments", sys.argv[1:], __name__, __file__)
open("outputs/model.pt", "w").write("weights")
open("logs/own.txt", "w").write("mine")
open("lost.txt", "w").write("gone")
"""
    run = cluster.run("r1", script, arguments=["--x", "a b", 0.5])
    assert run["status"] == "Completed"
    assert run["createdUtc"] < run["startTimeUtc"] < run["endTimeUtc"]
    files = cluster.files("r1")
    assert set(files) == {
        "azureml-logs/20_image_build_log.txt",
        "user_logs/std_log.txt",
        "outputs/model.pt",
        "logs/own.txt",
    }
    assert files["outputs/model.pt"].read_text() == "weights"
    assert cluster.logs("r1") == "arguments ['--x', 'a b', '0.5'] __main__ train.py\n"
    assert "No image is built" in files["azureml-logs/20_image_build_log.txt"].read_text()
    assert not (cluster.service.store.run_folder("r1") / "nodes").exists()
    assert cluster.engine.nodes_in_use("gpu") == 0


def test_states_on_the_way(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    real = records.set_status

    def noting(service: Service, run_id: str, status: str, **fields: Any) -> Any:
        seen.append(status)
        return real(service, run_id, status, **fields)

    monkeypatch.setattr(records, "set_status", noting)
    cluster.run("r1", b"pass")
    assert seen == ["Preparing", "Queued", "Running", "Finalizing", "Completed"]


def test_variables_of_a_job(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MSI_ENDPOINT", "https://secret")
    monkeypatch.setenv("SHELL_SECRET", "x")
    script = b"import json, os; print(json.dumps(dict(os.environ)))"
    cluster.run(
        "r1", script, environmentVariables={"MINE": "1"}, environment={"name": "e", "environmentVariables": {"E": "2"}}
    )
    found = json.loads(cluster.logs("r1"))
    assert (found["MINE"], found["E"], found["AZUREML_RUN_ID"]) == ("1", "2", "r1")
    assert not {"MSI_ENDPOINT", "SHELL_SECRET"} & set(found)
    claims = cluster.service.identity.claims(found["AZUREML_RUN_TOKEN"])
    assert claims is not None
    assert claims["runid"] == "r1"
    assert found["CUDA_VISIBLE_DEVICES"] == ""
    names = (
        "AZUREML_ARM_SUBSCRIPTION",
        "AZUREML_ARM_RESOURCEGROUP",
        "AZUREML_ARM_WORKSPACE_NAME",
        "AZUREML_ARM_PROJECT_NAME",
    )
    assert [found[name] for name in names] == [WS.split("/")[2], "emulator", "emulator", "exp"]


def test_each_node_has_its_folder_and_each_rank_its_log(cluster: Cluster) -> None:
    script = (
        b"import os; print(os.getcwd(), os.environ['RANK']); open('outputs/from-' + os.environ['RANK'], 'w').close()"
    )
    cluster.run("r1", script, **PYTORCH, pytorch={"processCount": 4})
    files = cluster.files("r1")
    logs = [files[f"user_logs/std_log_process_{rank}.txt"].read_text().split() for rank in range(4)]
    assert [Path(log[0]).name for log in logs] == ["0", "0", "1", "1"]
    assert [log[1] for log in logs] == ["0", "1", "2", "3"]
    assert {f"outputs/from-{rank}" for rank in range(4)} <= set(files)


def test_of_equal_outputs_the_first_nodes_stays(cluster: Cluster) -> None:
    script = b"import os; open('outputs/who', 'w').write(os.environ['NODE_RANK'])"
    cluster.run("r1", script, **PYTORCH)
    assert cluster.files("r1")["outputs/who"].read_text() == "0"


def test_the_2020_layout_when_asked(cluster: Cluster) -> None:
    cluster.run("r1", b"print(1)", environmentVariables={"AZUREML_COMPUTE_USE_COMMON_RUNTIME": "false"})
    assert "azureml-logs/70_driver_log.txt" in cluster.files("r1")


def test_arguments_are_expanded_and_commands_left_to_the_shell(cluster: Cluster) -> None:
    script = b"import sys; print(sys.argv[1:])"
    cluster.run("r1", script, arguments=["$A", "x${A}", "$NOT_SET"], environmentVariables={"A": "1 2"})
    assert cluster.logs("r1") == "['1 2', 'x1 2', '$NOT_SET']\n"
    line = 'python train.py "$A" && echo done'
    cluster.run("r2", script, script=None, command=line, environmentVariables={"A": "1 2"})
    assert cluster.logs("r2") == "['1 2']\ndone\n"


def test_a_failed_script_and_its_words(cluster: Cluster) -> None:
    run = cluster.run("r1", b"print('start')\nraise ValueError('bananas')\n")
    message = run["error"]["error"]["message"]
    assert run["status"] == "Failed"
    assert "exited with status code 1" in message
    assert "'user_logs/std_log.txt'" in message
    trace = message.partition("Error: ")[2].splitlines()
    assert trace[:2] == ["Traceback (most recent call last):", '  File "train.py", line 2, in <module>']
    assert trace[-1] == "ValueError: bananas"


def test_the_rank_that_fails_stops_the_others_and_is_named(cluster: Cluster) -> None:
    script = b"""
import os, time
if os.environ["RANK"] == "1":
    raise ValueError("bananas")
while True: time.sleep(0.01)  # until the other rank's failure ends it
"""
    started = time.monotonic()
    run = cluster.run("r1", script, **PYTORCH)
    assert run["status"] == "Failed"
    message = run["error"]["error"]["message"]
    assert "std_log_process_1.txt" in message
    assert "status code 1." in message  # and not the signal that stopped the other
    assert time.monotonic() - started < 8


@pytest.mark.parametrize(
    ("script", "code"),
    [(b"import sys; sys.exit(7)", 7), (b"import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -9)],
)
def test_exit_codes_and_signals(script: bytes, code: int, cluster: Cluster) -> None:
    run = cluster.run("r1", script)
    assert (run["status"], f"status code {code}." in run["error"]["error"]["message"]) == ("Failed", True)


def test_a_missing_script(cluster: Cluster) -> None:
    run = cluster.run("r1", b"", script="other.py")
    assert run["status"] == "Failed"
    assert "No such file" in run["error"]["error"]["message"]


def test_cancel_of_a_running_run(cluster: Cluster) -> None:
    cluster.start("r1", ENDLESS)
    cluster.until_ready("r1")
    cluster.client.ask("POST", f"/execution/v1.0{WS}/experiments/exp/runId/r1/cancel")
    assert cluster.client.run("r1")["status"] in ("CancelRequested", "Finalizing", "Canceled")
    run = cluster.end("r1")
    assert (run["status"], run["error"]) == ("Canceled", None)


@pytest.mark.slow
def test_a_run_waits_for_nodes_and_cancel_reaches_it_there(cluster: Cluster) -> None:
    cluster.start("r1", ENDLESS, **{**PYTORCH, "nodeCount": 3})
    cluster.until_ready("r1")
    assert cluster.engine.nodes_in_use("gpu") == 3
    cluster.start("r2", ENDLESS, **PYTORCH)
    cluster.until(lambda: cluster.client.run("r2")["status"] == "Queued", "r2")
    cluster.start("r3", b"print('third')", environment={"name": "e"})
    cluster.client.ask("POST", f"/execution/v1.0{WS}/experiments/exp/runId/r2/cancel")
    assert cluster.end("r2")["status"] == "Canceled"
    assert cluster.client.run("r2")["startTimeUtc"] is None
    assert cluster.end("r3")["status"] == "Completed"
    assert cluster.client.run("r1")["status"] == "Running"


@pytest.mark.slow
def test_a_bigger_cluster_lets_the_waiting_in(cluster: Cluster) -> None:
    cluster.start("r1", ENDLESS, **{**PYTORCH, "nodeCount": 4})
    cluster.until_ready("r1")
    cluster.start("r2", b"print(2)")
    cluster.until(lambda: cluster.client.run("r2")["status"] == "Queued", "r2")
    patch = {"properties": {"computeType": "AmlCompute", "properties": {"scaleSettings": {"maxNodeCount": 5}}}}
    cluster.client.ask("PATCH", f"{WS}/computes/gpu", patch)
    assert cluster.end("r2")["status"] == "Completed"


@pytest.mark.slow
def test_a_deleted_cluster_fails_what_waits_for_it(cluster: Cluster) -> None:
    cluster.start("r1", ENDLESS, **{**PYTORCH, "nodeCount": 4})
    cluster.until_ready("r1")
    cluster.start("r2", b"print(2)")
    cluster.until(lambda: cluster.client.run("r2")["status"] == "Queued", "r2")
    cluster.service.store.delete("compute", "", "gpu")
    run = cluster.end("r2")
    assert (run["status"], "was deleted" in run["error"]["error"]["message"]) == ("Failed", True)


@pytest.mark.slow
def test_a_run_that_takes_too_long(cluster: Cluster) -> None:
    run = cluster.run("r1", ENDLESS, maxRunDurationSeconds=1)
    assert run["status"] == "Canceled"
    assert "maximum duration of 1 seconds" in run["error"]["error"]["message"]


def test_logs_of_a_script_are_seen_while_it_runs(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "WATCH_SECONDS", 0.0)
    cluster.start("r1", b"open('logs/own.txt', 'w').write('x')\n" + ENDLESS)
    cluster.until(lambda: "logs/own.txt" in cluster.files("r1"), "r1")
    assert cluster.client.run("r1")["status"] == "Running"


def test_links_in_outputs_are_not_followed(cluster: Cluster) -> None:
    cluster.run("r1", b"import os; os.symlink('/etc/hostname', 'outputs/link'); open('outputs/file', 'w').close()")
    assert [name for name in cluster.files("r1") if name.startswith("outputs/")] == ["outputs/file"]


def test_what_the_script_leaves_behind_ends_with_the_run(cluster: Cluster) -> None:
    # The child sleeps far longer than the test may take: only the run's end can be what ends it.
    script = b"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print(child.pid)
"""
    cluster.run("r1", script)
    assert birth(int(cluster.logs("r1"))) is None


def test_two_emulators_may_have_runs_of_the_same_id(cluster: Cluster, tmp_path: Path) -> None:
    cluster.start("r1", ENDLESS)
    cluster.until_ready("r1")
    store = Store(tmp_path / "another")
    service = Service(store, Identity(b"k" * 32, store.folder), "https://127.0.0.1:2", sys.executable, Recorder())
    another = Cluster(Client(service, Recorder()))
    assert another.run("r1", b"print(1)")["status"] == "Completed"
    assert cluster.client.run("r1")["status"] == "Running"
    another.engine.stop()
    store.close()


def test_no_mpirun(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "find_mpirun", lambda python: None)
    run = cluster.run("r1", b"", communicator="IntelMpi")
    assert (run["status"], "mpirun is not installed" in run["error"]["error"]["message"]) == ("Failed", True)


@pytest.mark.skipif(execution.find_mpirun(sys.executable) is None, reason="no mpirun: pip install 'amlrun[mpi]'")
def test_mpi_on_two_nodes(cluster: Cluster) -> None:
    script = b"""
import os
print(os.environ["OMPI_COMM_WORLD_RANK"], os.environ["OMPI_COMM_WORLD_LOCAL_RANK"], os.getcwd()[-1])
"""
    run = cluster.run("r1", script, communicator="IntelMpi", nodeCount=2, mpi={"processCountPerNode": 2})
    assert run["status"] == "Completed"
    files = cluster.files("r1")
    logs = [files[f"user_logs/std_log_process_{rank}.txt"].read_text() for rank in range(4)]
    assert logs == ["0 0 0\n", "1 1 0\n", "2 0 1\n", "3 1 1\n"]
    assert "user_logs/mpi_log.txt" in files


def test_stop_ends_what_runs_and_says_why(cluster: Cluster) -> None:
    cluster.start("r1", ENDLESS)
    cluster.until_ready("r1")
    cluster.engine.stop()
    run = cluster.client.run("r1")
    assert (run["status"], "emulator was stopped" in run["error"]["error"]["message"]) == ("Canceled", True)


def test_after_a_crash_the_running_have_failed_and_the_waiting_go_on(cluster: Cluster) -> None:
    cluster.client.snapshot({"train.py": b"print('late')"})
    cluster.service.engine = type(cluster.client.engine)()
    for run_id in ("was-running", "was-waiting"):
        cluster.client.submit(run_id, configuration())
    records.set_status(cluster.service, "was-running", "Running")
    left = cluster.service.store.run_folder("was-running") / "nodes" / "0" / "outputs"
    left.mkdir(parents=True)
    (left / "half.pt").write_text("half")
    (cluster.service.store.run_folder("was-waiting") / "nodes" / "0").mkdir(parents=True)
    cluster.service.engine = cluster.engine
    cluster.engine.resume()
    cluster.engine.looked_at("was-waiting")
    run = cluster.client.run("was-running")
    assert (run["status"], "emulator ended" in run["error"]["error"]["message"]) == ("Failed", True)
    assert cluster.files("was-running")["outputs/half.pt"].read_text() == "half"
    assert cluster.end("was-waiting")["status"] == "Completed"


def test_python_of_a_job_is_the_one_named(cluster: Cluster, tmp_path: Path) -> None:
    other = tmp_path / "other-python"
    other.write_text(f'#!/bin/sh\nWHO=other exec {sys.executable} "$@"\n')
    other.chmod(0o755)
    cluster.service.python = str(other)
    cluster.run("r1", b"import os; print(os.environ['WHO'])")
    assert cluster.logs("r1") == "other\n"


def run_wrapped(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    (folder / "own.py").write_text("VALUE = 1\n")
    (folder / "s.py").write_text(text)
    return subprocess.run(
        [sys.executable, wrapper, "s.py", "a"], cwd=folder, capture_output=True, text=True, check=False
    )


def test_a_wrapped_script_is_main(tmp_path: Path) -> None:
    text = """
import pickle, sys
import own
class Thing: pass
print(__name__, sys.argv, own.VALUE, type(pickle.loads(pickle.dumps(Thing()))) is Thing)
"""
    done = run_wrapped(tmp_path, text)
    assert (done.stdout, done.stderr) == ("__main__ ['s.py', 'a'] 1 True\n", "")


def test_a_wrapped_script_can_use_worker_processes(tmp_path: Path) -> None:
    text = """
import multiprocessing
def double(x): return 2 * x
if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.map(double, [1, 2]))
"""
    assert run_wrapped(tmp_path, text).stdout == "[2, 4]\n"


def test_what_the_sdk_still_holds_is_sent_at_the_end(tmp_path: Path) -> None:
    text = """
import sys, types
held = types.ModuleType("azureml._run_impl.run_base")
held._RunBase = types.SimpleNamespace(_kill=lambda timeout: print("flushed", timeout))
sys.modules["azureml._run_impl.run_base"] = held
raise SystemExit(3)
"""
    done = run_wrapped(tmp_path, text)
    assert (done.returncode, done.stdout) == (3, "flushed 300\n")
