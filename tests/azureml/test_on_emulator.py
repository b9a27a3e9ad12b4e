"""The verbs on runs of Azure ML: the command line, the unmodified SDK and an emulator, each in its own process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from runner.emulator import execution, instance
from runner.spec import decode_argument
from tests.azureml.shell import ON_AZURE, Shell, needs_sdk
from tests.conftest import Outcome, write

pytestmark = [pytest.mark.slow, needs_sdk]
needs_mpi = pytest.mark.skipif(
    execution.find_mpirun(sys.executable) is None, reason="no mpirun here: pip install 'amlrun[mpi]'"
)

TRAIN = """
import json, pathlib, sys
print("arguments", sys.argv[1:])
pathlib.Path("outputs/model.pt").write_bytes(b"weights")
pathlib.Path("outputs/metrics.jsonl").write_text(json.dumps({"epoch": 1, "test_accuracy": 0.5}) + "\\n")
"""
FAILS_IN_RANK_2 = """
import os, socket, sys, time
rank = int(os.environ.get("OMPI_COMM_WORLD_RANK") or os.environ["RANK"])
meeting = ("127.0.0.1", int(sys.argv[1]))
print("hello from", rank, flush=True)
if rank == 2:
    server = socket.create_server(meeting)
    peers = [server.accept()[0] for _ in range(2)]
    raise ValueError("boom")
while True:
    try:
        with socket.create_connection(meeting) as peer:
            if not peer.recv(1):
                raise RuntimeError("Connection closed by peer")
    except ConnectionRefusedError:
        time.sleep(0.01)  # until rank 2 listens
"""
RANKS = """
import os
print(*(os.environ[name] for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "WORLD_SIZE")))
"""
FOREVER = """
import time
print("started", flush=True)
time.sleep(60)  # longer than the test may take: it has to be canceled
"""
SUBMIT = """
import sys
from pathlib import Path
from runner import history
from runner.targets import load_target
project = Path(sys.argv[1])
load_target("azureml", project).submit([history.load_plan(project, sys.argv[2])])
"""
AWKWARD = ("a b", "$HOME", "`id`", "it's", 'say "x"', "x=y", "</think>", "ünïcode", "line\nline", "\\", "")


def test_a_run_ends_with_metrics_and_its_model_is_registered_and_downloaded(shell: Shell) -> None:
    done = shell.run(TRAIN, "register={name: digits, path: outputs/model.pt, tags: {of: test}}", "+tags.who=me")
    assert done.code == 0, done.err
    record = json.loads(done.out)

    assert (record["state"], record["target"]) == ("completed", "azureml")
    assert record["metrics"] == {"epoch": 1, "test_accuracy": 0.5}
    assert record["files"] == ["metrics.jsonl", "model.pt"]
    assert Path(record["logs"][0]).read_text() == "arguments []\n"
    assert "model digits:" in record["note"]

    models = json.loads(shell("models", "list", "--json", "--name", "digits", "workspace=emulator").out)["models"]
    assert (models[0]["run"], models[0]["tags"]) == (record["id"], {"of": "test"})
    place = shell("models", "download", "--name", "digits", "--to", "there", "workspace=emulator").out.strip()
    assert (shell.folder / place).read_bytes() == b"weights"


def test_the_verbs_know_an_ended_run(shell: Shell) -> None:
    run_id = json.loads(shell.run(TRAIN).out)["id"]

    assert shell.ask("show", run_id)["state"] == "completed"
    assert [run["id"] for run in shell.ask("list")["runs"]] == [run_id]
    assert shell.ask("logs", "last")["logs"] == [{"name": "user_logs/std_log.txt", "rank": 0, "text": "arguments []\n"}]
    assert shell("download", "last", workspace=False).code == 0
    assert shell("diagnose", "last", workspace=False).out.startswith(f"{run_id} completed: no failure found")
    again = json.loads(shell("rerun", run_id, "--json", workspace=False).out)
    assert again["id"] != run_id
    assert (again["state"], again["digest"]) == ("completed", shell.ask("show", run_id)["digest"])


@pytest.mark.parametrize(
    ("common_runtime", "log"),
    [("true", "user_logs/std_log_process_2.txt"), ("false", "azureml-logs/70_driver_log_{name}_2.txt")],
)
@pytest.mark.parametrize(
    ("kind", "nodes", "name"),
    [pytest.param("mpi", 3, "rank", marks=needs_mpi), ("pytorch", 3, "worker"), ("pytorch", 1, "worker")],
)
def test_of_three_processes_the_one_that_failed_is_shown(
    kind: str, nodes: int, name: str, common_runtime: str, log: str, shell: Shell, free_port: int
) -> None:
    layout = (f"distribution={kind}", f"distribution.nodes={nodes}", f"distribution.processes_per_node={3 // nodes}")
    switch = f"+env.variables.AZUREML_COMPUTE_USE_COMMON_RUNTIME='{common_runtime}'"
    done = shell.run(FAILS_IN_RANK_2, *layout, "compute.max_nodes=3", switch, f"code.arguments=[{free_port}]")
    record = json.loads(done.out)

    assert done.code == 5
    assert "rank 2 of 3: ValueError: boom (exit code 1)" in done.err
    assert done.err.count("Traceback") == 1
    assert "Connection closed" not in done.err
    assert (record["failure"]["rank"], record["failure"]["log"]) == (2, "logs/" + log.format(name=name))
    texts = [Path(path).read_text() for path in record["logs"]]
    assert all(text.startswith(f"hello from {rank}\n") for rank, text in enumerate(texts)), texts
    assert "Connection closed" in "".join(texts)  # the others had something to say
    told = shell("diagnose", "last", workspace=False)
    assert told.code == 5
    assert "ValueError: boom" in told.out
    assert Path(told.out.split("log: ")[1].splitlines()[0]).is_file()


def test_processes_are_counted_per_node_here_and_in_total_there(shell: Shell) -> None:
    done = shell.run(RANKS, "distribution=pytorch", "distribution.nodes=2", "distribution.processes_per_node=2")
    assert done.code == 0, done.err

    texts = [Path(path).read_text().strip() for path in json.loads(done.out)["logs"]]
    assert texts == ["0 0 0 4", "1 1 0 4", "2 0 1 4", "3 1 1 4"]


@pytest.mark.parametrize("env", ["auto", "conda", "curated", "clone", "dockerfile", "horovod"])
def test_every_environment_is_accepted_and_the_second_time_nothing_is_registered(env: str, shell: Shell) -> None:
    write(shell.folder, {"main.py": TRAIN})
    shipped = Path(__file__).resolve().parents[2] / "configs/env/files"
    write(shell.folder / "configs/env/files", {path.name: path.read_text() for path in shipped.iterdir()})
    argv = ("run", "code.script=main.py", "compute=cpu-cluster", "workspace=emulator", f"env={env}", "--quiet")
    first, second = shell(*argv), shell(*argv)

    assert (first.code, second.code) == (0, 0), first.err
    assert "registering environment" not in second.err


def test_a_detached_run_is_watched_and_canceled(shell: Shell) -> None:
    write(shell.folder, {"main.py": FOREVER})
    sent = shell("run", "code.script=main.py", *ON_AZURE, "--detach", "--json")
    run_id = json.loads(sent.out)["runs"][0]["id"]
    assert shell.ask("show", run_id)["state"] not in ("completed", "failed", "canceled")

    assert shell("cancel", run_id, workspace=False).code == 0
    assert shell.ask("show", run_id)["state"] == "canceled"
    assert shell("watch", run_id, workspace=False).code == 5


def test_a_sweep_sends_its_code_once(shell: Shell) -> None:
    write(shell.folder, {"main.py": TRAIN})
    before = instance.ask(shell.emulator, "status")["runs"].get("Completed", 0)
    done = shell("run", "-m", "code.script=main.py", *ON_AZURE, "seed=range(5)", "--json")
    assert done.code == 0, done.err

    runs = json.loads(done.out)["runs"]
    assert [run["state"] for run in runs] == ["completed"] * 5
    assert len({run["digest"]["snapshot"] for run in runs}) == 1
    assert instance.ask(shell.emulator, "status")["runs"]["Completed"] == before + 5


def test_any_override_arrives_unchanged(shell: Shell) -> None:
    probe = "import sys; print(sys.argv[-1])"
    write(shell.folder, {"probe.py": probe})
    quoted = [json.dumps(text, ensure_ascii=False) for text in AWKWARD]
    overrides = [f"+tags.t{number}={text}" for number, text in enumerate(quoted)]
    done = shell("run", "code.module=probe", *ON_AZURE, *overrides, "--json")
    assert done.code == 0, done.err

    [log] = json.loads(done.out)["logs"]
    arrived = decode_argument(Path(log).read_text().strip())["overrides"]
    assert [text for text in arrived if text.startswith("+tags.t")] == overrides


def test_two_processes_that_send_one_plan_make_one_run(shell: Shell) -> None:
    counter = shell.folder / "counter"
    run_id = json.loads(shell.run(f"open({str(counter)!r}, 'a').write('x')").out)["id"]
    plan = json.loads((shell.folder / ".runs" / run_id / "plan.json").read_text())
    place = shell.folder / ".runs" / "again"
    place.mkdir()
    (place / "plan.json").write_text(json.dumps({**plan, "id": "again"}))
    argv = [sys.executable, "-c", SUBMIT, str(shell.folder), "again"]
    racing = [subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    errors = [process.communicate(timeout=60)[1] for process in racing]

    assert [process.returncode for process in racing] == [0, 0], errors
    watched = shell("watch", "again", "--json", workspace=False)
    assert json.loads(watched.out)["state"] == "completed"
    assert counter.read_text() == "xx"  # the first run's, and one


def test_a_cluster_that_must_be_there_is_refused_before_anything_is_staged(shell: Shell) -> None:
    write(shell.folder, {"main.py": TRAIN})
    existing = ("compute=existing", "compute.name=nowhere", "workspace=emulator", *ON_AZURE[2:])
    done = shell("run", "code.script=main.py", *existing)

    assert done.code == 4
    assert "no cluster 'nowhere' in workspace 'emulator'" in done.err
    assert not list((shell.folder / ".runs").glob("digits*"))


def test_an_emulator_is_started_where_none_runs_and_that_is_said(bare: Path, tmp_path: Path) -> None:
    folder = tmp_path / "fresh"
    try:
        done = Shell(bare, folder).run(TRAIN)
        assert done.code == 0, done.err
        assert "started an emulator of Azure ML at https://127.0.0.1:" in done.err
        assert "making cluster 'cpu-cluster': Standard_DS3_v2, 0 to 2 nodes" in done.err
    finally:
        instance.stop(folder)


def test_planning_needs_no_sdk_and_no_emulator(bare: Path, tmp_path: Path, cli: Callable[..., Outcome]) -> None:
    write(bare, {"main.py": TRAIN})
    done = cli(bare, "plan", "code.script=main.py", *ON_AZURE, f"workspace.dir={tmp_path / 'none'}", "--json")

    assert done.code == 0, done.err
    assert not (tmp_path / "none").exists()
    assert os.environ.get("ARM_CLOUD_METADATA_URL") is None
