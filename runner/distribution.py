"""How the processes of a layout start on one machine: a row per kind. Pure: builds argument lists, starts nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from runner import processes
from runner.spec import Layout

RANK_PROCESS = Path(__file__).with_name("rank_process.py")
# Stands for the port in a plan: which one is free is known only when the run starts.
ANY_PORT = "<free port>"

# What a launcher above us may have set for its own ranks. It is not about the ranks that we start.
FOREIGN_VARIABLES = frozenset({"RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"})
FOREIGN_PREFIXES = ("MASTER_", "TORCHELASTIC_", "OMPI_COMM_WORLD_", "PMI_", "PMIX_", "MPI_LOCAL")


@dataclass(frozen=True, slots=True)
class Launcher:
    """One process to start. `node` is the node it stands for; `environment` is added to the run's."""

    argv: tuple[str, ...]
    node: int = 0
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Start:
    """What to start: `rank_argv(local_size)` is the command line of one rank, `port` is free on this machine."""

    layout: Layout
    python: str
    rank_argv: Callable[[int | None], tuple[str, ...]]
    port: str = ANY_PORT


@dataclass(frozen=True, slots=True)
class DistributionKind:
    """A way to start processes. `needs_module` and `needs_program` must be installed for it on this machine."""

    launchers: Callable[[Start], tuple[Launcher, ...]]
    many_processes: bool = True
    needs_module: str | None = None
    needs_program: str | None = None


def single(start: Start) -> tuple[Launcher, ...]:
    return (Launcher(start.rank_argv(None)),)


def torch_elastic(start: Start) -> tuple[Launcher, ...]:
    """An agent per node, which meet at a loopback port; alone, an agent finds a port by itself."""
    layout = start.layout
    port = start.port if layout.nodes > 1 else "0"
    options = {
        "--nnodes": layout.nodes,
        "--nproc-per-node": layout.processes_per_node,
        "--max-restarts": 0,
        "--rdzv-backend": "c10d",
        "--rdzv-endpoint": f"127.0.0.1:{port}",
        "--rdzv-id": "amlrun",
        "--local-addr": "127.0.0.1",
    }
    words = [str(word) for option in options.items() for word in option]
    program, *arguments = start.rank_argv(None)
    # torch fills "$local_rank" into arguments by string.Template, for which "$$" is one dollar.
    escaped = [word.replace("$", "$$") for word in arguments]
    argv = (start.python, "-m", "torch.distributed.run", *words, "--no-python", program, *escaped)
    return tuple(Launcher(argv, node) for node in range(layout.nodes))


def mpirun(start: Start) -> tuple[Launcher, ...]:
    """One mpirun for all nodes, which sees one machine: each rank is told how many of them make a node.

    When it is stopped, Open MPI 5 kills its ranks 0.2 s after SIGTERM: too little for a checkpoint.
    """
    layout = start.layout
    local_size = layout.processes_per_node if layout.nodes > 1 else None
    argv = ("mpirun", "-n", str(layout.world_size), *start.rank_argv(local_size))
    return (Launcher(argv, 0, processes.MPI_VARIABLES | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": start.port}),)


DISTRIBUTIONS: Mapping[str, DistributionKind] = {
    "none": DistributionKind(single, many_processes=False),
    "pytorch": DistributionKind(torch_elastic, needs_module="torch"),
    "mpi": DistributionKind(mpirun, needs_program="mpirun"),
}


def launchers(
    layout: Layout, argv: Sequence[str], run_dir: Path, python: str, port: str = ANY_PORT
) -> tuple[Launcher, ...]:
    """What to start for `layout` so that every rank runs `argv` in the wrapper that keeps its log and record."""

    def rank_argv(local_size: int | None) -> tuple[str, ...]:
        size = () if local_size is None else (str(local_size),)
        return (sys.executable, "-S", "-E", str(RANK_PROCESS), str(run_dir), *size, "--", *argv)

    return DISTRIBUTIONS[layout.kind].launchers(Start(layout, python, rank_argv, port))


def own_environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """`inherited` without what a launcher above us has set for its own ranks."""
    return {
        name: value
        for name, value in inherited.items()
        if name not in FOREIGN_VARIABLES and not name.startswith(FOREIGN_PREFIXES)
    }
