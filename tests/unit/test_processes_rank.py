"""The wrapper of one rank."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from runner import processes, rank_process
from runner.distribution import RANK_PROCESS
from runner.rank_process import find_rank, simulate_node
from tests.watching import wait_for


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    for name in ("logs", "ranks"):
        (tmp_path / name).mkdir()
    return tmp_path


def start(run_dir: Path, *argv: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-S", "-E", str(RANK_PROCESS), str(run_dir), "--", *argv]
    return subprocess.Popen(command, env={**os.environ, **(env or {})}, start_new_session=True)


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", textwrap.dedent(code))


def record(run_dir: Path, rank: int = 0) -> dict[str, Any]:
    return dict(json.loads((run_dir / "ranks" / f"{rank}.json").read_text()))


def wait_for_log(run_dir: Path, text: str) -> None:
    log = run_dir / "logs" / "rank_0.log"
    wait_for(lambda: log.exists() and text in log.read_text())


@pytest.mark.parametrize(
    ("environment", "rank"),
    [
        ({}, 0),
        ({"RANK": "3"}, 0),
        ({"RANK": "3", "TORCHELASTIC_RUN_ID": "x"}, 3),
        ({"OMPI_COMM_WORLD_RANK": "2", "RANK": "9"}, 2),
        ({"PMI_RANK": "1"}, 1),
        ({"TORCHELASTIC_RUN_ID": "x", "RANK": "1", "OMPI_COMM_WORLD_RANK": "5"}, 1),
    ],
)
def test_whose_rank_is_believed(environment: dict[str, str], rank: int) -> None:
    assert find_rank(environment) == rank


def test_a_simulated_node_renumbers_open_mpi_ranks_and_shares_gpus() -> None:
    environment = {
        "OMPI_COMM_WORLD_SIZE": "4",
        "OMPI_COMM_WORLD_LOCAL_RANK": "3",
        "OMPI_COMM_WORLD_NODE_RANK": "3",
        "OMPI_COMM_WORLD_LOCAL_SIZE": "4",
        "CUDA_VISIBLE_DEVICES": "0,1,2,3",
    }
    simulate_node(environment, rank=3, local_size=2)

    assert environment == {
        "OMPI_COMM_WORLD_SIZE": "4",
        "OMPI_COMM_WORLD_LOCAL_RANK": "1",
        "OMPI_COMM_WORLD_NODE_RANK": "1",
        "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
        "CUDA_VISIBLE_DEVICES": "2,3",
    }


def test_a_simulated_node_under_mpich_leaves_too_few_gpus_alone() -> None:
    environment = {"PMI_SIZE": "4", "MPI_LOCALRANKID": "2", "MPI_LOCALNRANKS": "4", "CUDA_VISIBLE_DEVICES": "0"}
    simulate_node(environment, rank=2, local_size=2)

    assert environment == {"PMI_SIZE": "4", "MPI_LOCALRANKID": "0", "MPI_LOCALNRANKS": "2", "CUDA_VISIBLE_DEVICES": "0"}


def test_a_rank_leaves_its_log_its_record_and_its_exit_code(run_dir: Path) -> None:
    code = "import os, sys; print('out'); print('err', file=sys.stderr); print(os.environ['PYTHONPATH']); sys.exit(3)"
    before = time.time()
    process = start(run_dir, *python(code), env={"PYTHONPATH": "mine", "OMPI_COMM_WORLD_RANK": "5"})

    assert process.wait() == 3
    log = (run_dir / "logs" / "rank_5.log").read_text()
    assert sorted(log.splitlines()) == ["err", "mine", "out"]
    written = record(run_dir, 5)
    assert before <= written["started"] <= written["ended"] <= time.time()
    assert (written["rank"], written["exit_code"], written["signal"], written["told_to_stop"]) == (5, 3, None, None)


def test_a_restarted_rank_continues_its_log(run_dir: Path) -> None:
    for word in ("one", "two"):
        assert start(run_dir, "echo", word).wait() == 0

    assert (run_dir / "logs" / "rank_0.log").read_text() == "one\ntwo\n"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_a_rank_that_a_signal_ends_ends_its_wrapper_alike(run_dir: Path, number: signal.Signals) -> None:
    process = start(run_dir, *python(f"import os; os.kill(os.getpid(), {int(number)})"))

    assert process.wait() == -number
    assert (record(run_dir)["exit_code"], record(run_dir)["signal"]) == (None, number)


def test_a_signal_to_the_whole_group_is_passed_on_once_and_noted(run_dir: Path) -> None:
    code = """
        import signal, time
        def got(number, frame):
            time.sleep(0.1)  # a second one arrives meanwhile, and is not merged with this one
            print("got it", flush=True)
        signal.signal(signal.SIGTERM, got)
        print("ready", flush=True)
        started = time.monotonic()
        while time.monotonic() < started + 0.3:
            time.sleep(0.01)  # long enough for a second signal, had one been sent
    """
    process = start(run_dir, *python(code))
    wait_for_log(run_dir, "ready")
    os.killpg(process.pid, signal.SIGTERM)

    assert process.wait() == 0
    assert (run_dir / "logs" / "rank_0.log").read_text() == "ready\ngot it\n"
    assert record(run_dir)["told_to_stop"] is not None


def test_a_program_that_does_not_exist(run_dir: Path) -> None:
    assert start(run_dir, "no-such-program").wait() == 127
    assert (
        run_dir / "logs" / "rank_0.log"
    ).read_text() == "cannot start 'no-such-program': No such file or directory\n"


def test_a_rank_ends_with_its_wrapper(run_dir: Path) -> None:
    # It sleeps longer than the test may take: only its wrapper's end can be what ends it.
    process = start(run_dir, *python("import time; print('up', flush=True); time.sleep(60)"))
    wait_for_log(run_dir, "up")
    child = record(run_dir)["pid"]
    process.kill()
    process.wait()

    wait_for(lambda: processes.birth(child) is None)


def test_a_record_that_cannot_be_written_does_not_change_the_end(run_dir: Path) -> None:
    (run_dir / "ranks").rmdir()

    assert start(run_dir, "true").wait() == 0


def test_the_wrapper_imports_nothing_slow() -> None:
    code = f"import sys; sys.path.insert(0, {str(RANK_PROCESS.parent)!r}); import rank_process; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-S", "-E", "-c", code], capture_output=True, text=True, check=True)

    assert not {"json", "re", "pathlib", "typing", "subprocess", "contextlib"} & set(loaded.stdout.split())
    assert rank_process.TYPE_CHECKING is False
