"""What happens when things go wrong: one rank dies, the terminal closes, Ctrl-C."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Cli, write
from tests.watching import processes_of, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

ONE_RANK_DIES = """
import datetime, os
import torch
import torch.distributed as dist

dist.init_process_group("gloo", timeout=datetime.timedelta(seconds=60))
dist.barrier()
if dist.get_rank() == int(os.environ["CULPRIT"]):
    raise ValueError("the culprit's own words")
dist.all_reduce(torch.ones(1))
"""
# torch.distributed under mpirun, from Open MPI's variables.
FROM_MPI = """
import os
os.environ |= {
    "RANK": os.environ["OMPI_COMM_WORLD_RANK"],
    "WORLD_SIZE": os.environ["OMPI_COMM_WORLD_SIZE"],
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": os.environ["PORT"],
}
"""
SLEEPER = """
import pathlib, time
print("started", flush=True)
end = time.monotonic() + 60
while time.monotonic() < end and not pathlib.Path(GO).exists():
    time.sleep(0.05)  # until the test says go
print("ended")
"""
AMLRUN = [sys.executable, "-m", "runner"]


def runs(project: Path) -> list[dict[str, str]]:
    done = subprocess.run([*AMLRUN, "list", "--json"], cwd=project, capture_output=True, text=True, check=True)
    found: list[dict[str, str]] = json.loads(done.stdout)["runs"]
    return found


CASES = {
    "torch elastic, rank 1 of 2": (1, 2, ["distribution=pytorch", "distribution.processes_per_node=2"]),
    "torch elastic, rank 2 of 3": (2, 3, ["distribution=pytorch", "distribution.processes_per_node=3"]),
    "three nodes, rank 2": (2, 3, ["distribution=pytorch", "distribution.nodes=3"]),
    "mpi, rank 2 of 3": (2, 3, ["distribution=mpi", "distribution.processes_per_node=3"]),
}


@pytest.mark.parametrize("case", CASES)
def test_the_rank_that_died_first_is_the_one_shown(cli: Cli, bare: Path, case: str, free_port: int) -> None:
    culprit, world, overrides = CASES[case]
    write(bare, {"main.py": FROM_MPI * ("mpi" in case) + ONE_RANK_DIES})
    variables = f"+env.variables={{CULPRIT:'{culprit}',PORT:'{free_port}'}}"
    done = cli(bare, "run", "code.script=main.py", variables, *overrides)
    assert done.code == 5, done.err
    assert f"rank {culprit} of {world}: ValueError: the culprit's own words" in done.err
    assert done.err.count("Traceback (most recent call last)") == 1
    everything = done.out + done.err
    for noise in ("Connection closed", "Connection reset", "all_reduce(torch.ones", "SIGTERM", "ChildFailedError"):
        assert noise not in everything
    assert processes_of(json.loads(cli(bare, "show", "--json").out)["id"]) == []


def from_a_terminal(folder: Path, **options: Any) -> subprocess.Popen[Any]:
    """A run as a person starts it. Whoever started the tests may have them ignore signals (nohup, `&` in a script)."""

    def listening() -> None:
        for number in (signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)

    command = [*AMLRUN, "run", "code.script=main.py"]
    return subprocess.Popen(command, cwd=folder, preexec_fn=listening, **options)  # noqa: PLW1509 - one thread here


def test_a_closed_terminal_does_not_end_the_run(bare: Path, tmp_path: Path) -> None:
    go = tmp_path / "go"
    write(bare, {"main.py": SLEEPER.replace("GO", repr(str(go)))})
    leader, follower = pty.openpty()
    attached = from_a_terminal(bare, stdin=follower, stdout=follower, stderr=follower, start_new_session=True)
    os.close(follower)
    wait_for(lambda: bool((bare / ".runs").exists() and runs(bare) and runs(bare)[0]["state"] == "running"))
    os.close(leader)  # what a closed terminal does: hang-up of the session
    os.killpg(attached.pid, signal.SIGHUP)
    attached.wait(30)
    assert runs(bare)[0]["state"] == "running"
    go.touch()
    wait_for(lambda: runs(bare)[0]["state"] == "completed")


def test_ctrl_c_cancels_and_leaves_nothing_behind(bare: Path, tmp_path: Path) -> None:
    write(bare, {"main.py": SLEEPER.replace("GO", repr(str(tmp_path / "never")))})
    attached = from_a_terminal(bare, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert attached.stdout is not None
    for line in attached.stdout:
        if line.strip() == "started":
            break
    attached.send_signal(signal.SIGINT)
    _, err = attached.communicate(timeout=60)
    (run,) = runs(bare)
    assert attached.returncode == 130
    assert err.startswith(f"amlrun: canceled {run['id']}")
    assert run["state"] == "canceled"
    assert processes_of(run["id"]) == []
