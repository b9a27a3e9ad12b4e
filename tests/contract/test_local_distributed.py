"""Several processes on this machine: logs, ranks, and whose failure is shown."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from target_bench import Bench, forever

from runner import history, processes
from runner.spec import Layout, Run, State

mpirun = pytest.mark.skipif(
    processes.find_program(sys.executable, "mpirun") is None, reason="no mpirun here: pip install 'amlrun[mpi]'"
)


def files(bench: Bench, run: Run) -> history.RunFiles:
    return history.files(bench.project, run.id)


LAYOUT = """
    import json, os
    names = ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE", "MASTER_ADDR")
    print(json.dumps([os.environ[name] for name in names]))
"""


@mpirun
def test_mpi_gives_every_rank_its_log_and_its_place(local: Bench) -> None:
    run = local.run(LAYOUT, Layout("mpi", 2, 2, "gloo"))

    seen = [json.loads(local.log(run, rank)) for rank in range(4)]
    assert seen == [[str(rank), str(rank % 2), "2", "127.0.0.1"] for rank in range(4)]
    assert [record["exit_code"] for record in processes.read_records(files(local, run).ranks)] == [0, 0, 0, 0]


@mpirun
def test_mpi_names_the_rank_that_failed_first(local: Bench) -> None:
    script = """
        import os
        if os.environ["OMPI_COMM_WORLD_RANK"] == "2":
            raise ValueError("rank 2 only")
    """
    run = local.run(forever(script), Layout("mpi", 1, 3, "gloo"))

    assert run.failure is not None
    assert (run.failure.rank, run.failure.cause) == (2, "ValueError: rank 2 only")
    assert run.failure.evidence == local.text(run, 2).rstrip()
    assert run.failure.log == "logs/rank_2.log"


@mpirun
def test_mpi_passes_arguments_variables_and_cancellation(local: Bench) -> None:
    script = "import os, sys; print(sys.argv[1:], os.environ['MINE'], flush=True)"
    plan = local.plan(
        forever(script), Layout("mpi", 1, 2, "gloo"), arguments=("$A", "b c", "--n"), environment={"MINE": "ü;x\ny"}
    )
    [run] = local.submit(plan)
    local.wait_for_text(run, "started", rank=1)
    assert local.text(run, 1).startswith("['$A', 'b c', '--n'] ü;x\ny\n")
    local.target.cancel(run)

    assert local.ended([run])[0].state is State.CANCELED


def test_a_launcher_that_fails_before_any_rank_is_shown(local: Bench, tmp_path: Path) -> None:
    fake = tmp_path / "mpirun"
    fake.write_text("#!/bin/sh\necho 'mpirun: cannot open a socket' >&2\nexit 4\n")
    fake.chmod(0o755)
    python = tmp_path / "python"
    python.symlink_to(sys.executable)
    run = local.run(layout=Layout("mpi", 1, 2, "gloo"), python=str(python))

    assert run.failure is not None
    assert run.failure.cause == "the processes could not be started: mpirun: cannot open a socket"
    assert (run.failure.rank, run.failure.log) == (None, "logs/launcher.log")


# With torch


ALL_REDUCE = """
    import os, sys, torch, torch.distributed as dist
    rank = int(os.environ.get("RANK") or os.environ["OMPI_COMM_WORLD_RANK"])
    size = int(os.environ.get("WORLD_SIZE") or os.environ["OMPI_COMM_WORLD_SIZE"])
    dist.init_process_group("gloo", rank=rank, world_size=size)
    total = torch.ones(1)
    dist.all_reduce(total)
    print("sum", total.item(), flush=True)
    if rank == int(sys.argv[1]):
        raise ValueError(f"rank {rank} only")
    dist.all_reduce(total)
    dist.destroy_process_group()
"""
LAYOUTS = {
    "pytorch": Layout("pytorch", 1, 2, "gloo"),
    "pytorch-3": Layout("pytorch", 1, 3, "gloo"),
    "pytorch-2-nodes": Layout("pytorch", 2, 1, "gloo"),
    "mpi": Layout("mpi", 1, 2, "gloo"),
    "mpi-3": Layout("mpi", 1, 3, "gloo"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param(n, marks=mpirun if n.startswith("mpi") else ()) for n in LAYOUTS])
def test_the_rank_that_raises_is_the_one_shown(local: Bench, name: str) -> None:
    layout = LAYOUTS[name]
    last = layout.world_size - 1
    run = local.run(ALL_REDUCE, layout, arguments=(str(last),))

    assert run.failure is not None
    assert (run.state, run.failure.rank) == (State.FAILED, last)
    assert run.failure.cause == f"ValueError: rank {last} only"
    assert run.failure.evidence.startswith("Traceback (most recent call last):")
    assert "closed by peer" not in run.failure.evidence
    assert run.failure.log == f"logs/rank_{last}.log"
    assert local.processes() == []


@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param(n, marks=mpirun if n.startswith("mpi") else ()) for n in LAYOUTS])
def test_ranks_meet_and_end_well(local: Bench, name: str) -> None:
    layout = LAYOUTS[name]
    run = local.run(ALL_REDUCE, layout, arguments=("-1",))

    assert run.state is State.COMPLETED
    assert {local.text(run, rank) for rank in range(layout.world_size)} == {f"sum {layout.world_size:.1f}\n"}


@pytest.mark.slow
def test_torch_agents_are_canceled(local: Bench) -> None:
    [run] = local.submit(local.plan(forever(), Layout("pytorch", 2, 1, "gloo")))
    local.wait_for_text(run, "started", rank=1)
    local.target.cancel(run)

    assert local.ended([run])[0].state is State.CANCELED
    assert local.processes() == []
