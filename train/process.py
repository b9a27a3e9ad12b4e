"""Which of how many processes this is, read from the variables that the launcher set. Standard library only."""

from __future__ import annotations

import multiprocessing
import os
import sys
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

from train.errors import TrainError

AZURE_PORT = 6105  # what Azure sets for its PyTorch jobs; hi-ml uses it for MPI too


@dataclass(frozen=True, slots=True)
class Process:
    """`local_*` count within the node. `source` says whose variables were believed."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_size: int = 1
    master_address: str = "127.0.0.1"
    master_port: int = AZURE_PORT
    source: str = "single process"

    @property
    def node_rank(self) -> int:
        """Computed, never read: under MPI the variable that sounds like it is a rank within the node."""
        return self.rank // self.local_size

    @property
    def first(self) -> bool:
        return self.rank == 0

    def describe(self) -> str:
        return f"rank {self.rank} of {self.world_size} ({self.source})"

    def variables(self) -> dict[str, str]:
        """The same in torch's own names, for `init_method=env://` and for whatever the user's code reads."""
        return {
            "RANK": str(self.rank),
            "WORLD_SIZE": str(self.world_size),
            "LOCAL_RANK": str(self.local_rank),
            "LOCAL_WORLD_SIZE": str(self.local_size),
            "NODE_RANK": str(self.node_rank),
            "MASTER_ADDR": self.master_address,
            "MASTER_PORT": str(self.master_port),
        }


@dataclass(frozen=True, slots=True)
class Source:
    """A launcher, known by the variables `marks`; the rest names the variables to read."""

    name: str
    marks: tuple[str, ...]
    rank: str
    world_size: str
    local_rank: str
    local_size: str


# First match wins. What horovodrun sets nothing else sets. Elastic before plain torch variables, which it sets too;
# those before MPI's, because a shim that exports RANK under mpirun means it.
# Azure: learn.microsoft.com, how-to-train-distributed-gpu (SDK v1).
SOURCES = (
    Source(
        "Horovod",
        ("HOROVOD_RANK", "HOROVOD_SIZE"),
        "HOROVOD_RANK",
        "HOROVOD_SIZE",
        "HOROVOD_LOCAL_RANK",
        "HOROVOD_LOCAL_SIZE",
    ),
    Source("torch elastic", ("TORCHELASTIC_RUN_ID", "RANK"), "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"),
    Source("torch variables", ("RANK", "WORLD_SIZE"), "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"),
    Source(
        "Open MPI",
        ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
        "OMPI_COMM_WORLD_RANK",
        "OMPI_COMM_WORLD_SIZE",
        "OMPI_COMM_WORLD_LOCAL_RANK",
        "OMPI_COMM_WORLD_LOCAL_SIZE",
    ),
    Source("PMI", ("PMI_RANK", "PMI_SIZE"), "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"),
)

# Known to every rank of one mpirun and to no other: keeps two of them on one machine from meeting at one port.
LAUNCH_NAMES = ("PMIX_NAMESPACE", "OMPI_MCA_ess_base_jobid", "AMLRUN_RUN_ID", "AZUREML_RUN_ID")


def find_process(environment: Mapping[str, str] = os.environ) -> Process:
    """This process as its launcher numbered it. Raises TrainError if the variables contradict each other."""
    env = {name: value for name, value in environment.items() if value}
    source = next((row for row in SOURCES if all(mark in env for mark in row.marks)), None)
    if source is None:
        return Process()
    rank, world_size = _number(env, source.rank), _number(env, source.world_size)
    if not 0 <= rank < world_size:
        raise TrainError(
            f"{source.rank} is '{rank}' and {source.world_size} is '{world_size}' ({source.name}); "
            f"a rank counts from 0 to the world size less one: start the processes with one launcher"
        )
    local_size = _local_size(env, source, rank, world_size)
    local_rank = _number(env, source.local_rank) if source.local_rank in env else rank % local_size
    address, port = _master(env, one_node=local_size == world_size)
    return Process(rank, world_size, local_rank, local_size, address, port, source.name)


def leave(code: int) -> NoReturn:
    """End this process now, whatever the other ranks do.

    Within a process group neither its destruction nor the interpreter's shutdown may be waited for: both can wait for
    peers that are themselves waiting for this rank in a collective, until the group's timeout.
    """
    if not any(_in_group(name) for name in ("torch.distributed", "horovod.torch")):
        sys.exit(code)
    _end_now(code)


def _in_group(name: str) -> bool:
    module = sys.modules.get(name)
    return module is not None and getattr(module, "is_available", lambda: True)() and bool(module.is_initialized())


def finish(process: Process) -> None:
    """End a rank whose work is done and written, if there are others.

    The interpreter's shutdown is left out: threads of torch's process groups can abort it ("terminate called without
    an active exception", seen with torch 2.13 and two agents), and a run that went well would count as failed.
    """
    if process.world_size > 1:
        _end_now(0)


def _end_now(code: int) -> NoReturn:
    for worker in multiprocessing.active_children():
        worker.kill()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _number(env: Mapping[str, str], name: str) -> int:
    try:
        return int(env[name])
    except ValueError:
        raise TrainError(f"{name} is '{env[name]}', not a whole number; unset it or set it right") from None


def _local_size(env: Mapping[str, str], source: Source, rank: int, world_size: int) -> int:
    """Azure's PyTorch jobs do not say how many processes a node has: it follows from what they do say."""
    if source.local_size in env:
        return max(1, _number(env, source.local_size))
    if "AZUREML_NODE_COUNT" in env:
        return max(1, world_size // max(1, _number(env, "AZUREML_NODE_COUNT")))
    if "NODE_RANK" in env and source.local_rank in env and _number(env, "NODE_RANK") > 0:
        return max(1, (rank - _number(env, source.local_rank)) // _number(env, "NODE_RANK"))
    return world_size


def _master(env: Mapping[str, str], *, one_node: bool) -> tuple[str, int]:
    """Address and port of rank 0: given (MASTER_*), or named by Azure's MPI jobs, or this machine."""
    port = _number(env, "MASTER_PORT") if "MASTER_PORT" in env else _usual_port(env)
    if "MASTER_ADDR" in env:
        return env["MASTER_ADDR"], port
    if one_node:
        node = env.get("AZ_BATCHAI_MPI_MASTER_NODE", "localhost")
        return ("127.0.0.1" if node == "localhost" else node), port
    if "AZ_BATCH_MASTER_NODE" not in env:
        raise TrainError(
            "several nodes, but neither MASTER_ADDR nor AZ_BATCH_MASTER_NODE says where rank 0 is; "
            "set MASTER_ADDR and MASTER_PORT for every process"
        )
    address, _, given = env["AZ_BATCH_MASTER_NODE"].partition(":")
    return address, int(given) if given.isdigit() else port


def _usual_port(env: Mapping[str, str]) -> int:
    name = next((env[key] for key in LAUNCH_NAMES if key in env), None)
    return AZURE_PORT if name is None else 20_000 + zlib.crc32(name.encode()) % 10_000
