"""What to start for a run: a process or an mpirun, with the variables and log files that Azure gives each rank.

Pure. Variables: Azure's page "Distributed GPU training guide (SDK v1)" and dumps of users' jobs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runner.emulator.layouts import Layout

RANK = Path(__file__).with_name("rank.py")
SCRIPT = Path(__file__).with_name("script.py")
LOOPBACK = "127.0.0.1"
# The switch with which a run asks for the layout of 2020.
COMMON_RUNTIME = "AZUREML_COMPUTE_USE_COMMON_RUNTIME"
# What a node inherits from the machine: never the emulator's own tokens, nor the shell of whoever started it.
KEPT = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "OMP_NUM_THREADS")
KEPT_PREFIXES = (
    "LC_",
    "CUDA_",
    "NVIDIA_",
    "NCCL_",
    "GLOO_",
    "PYTHONDONTWRITE",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
)


@dataclass(frozen=True, slots=True)
class Rank:
    """One process of the user's program. `log` is its artifact path."""

    node: int
    log: str
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run's processes run: GPUs of each node, a free port, and mpirun's path (None: there is none)."""

    gpus: Sequence[Sequence[str]]
    port: int
    mpirun: str | None = None


def ranks(layout: Layout, place: Place, *, old_logs: bool) -> list[Rank]:
    """Every process, with its node, log and own variables."""
    variables = VARIABLES[layout.kind]
    names = (OLD_LOGS if old_logs else NEW_LOGS)[layout.kind]
    made = []
    for number in range(layout.size):
        node = number // layout.per_node
        own = {**variables(layout, place, number), **node_variables(layout, place, node)}
        made.append(Rank(node, names(number, layout.size), own))
    return made


def node_variables(layout: Layout, place: Place, node: int) -> dict[str, str]:
    gpus = place.gpus[node]
    return {
        "AZUREML_CR_NODE_RANK": str(node),
        "AZUREML_NODE_COUNT": str(layout.nodes),
        "AZ_BATCHAI_GPU_COUNT": str(len(gpus)),
        # Empty on a size without GPUs: what Azure's node does not have, the run must not see here.
        "CUDA_VISIBLE_DEVICES": ",".join(gpus),
    }


def no_variables(layout: Layout, place: Place, number: int) -> dict[str, str]:
    return {}


def mpi_variables(layout: Layout, place: Place, number: int) -> dict[str, str]:
    """mpirun sees one machine: what it says about nodes is corrected. Several nodes meet at AZ_BATCH_MASTER_NODE."""
    local, size = str(number % layout.per_node), str(layout.per_node)
    if layout.nodes > 1:
        master = {"AZ_BATCH_MASTER_NODE": f"{LOOPBACK}:{place.port}"}
    else:
        master = {"AZ_BATCHAI_MPI_MASTER_NODE": "localhost"}
    return {
        "OMPI_COMM_WORLD_LOCAL_RANK": local,
        "OMPI_COMM_WORLD_LOCAL_SIZE": size,
        "OMPI_COMM_WORLD_NODE_RANK": local,
        "AZ_BATCHAI_JOB_MASTER_NODE_IP": LOOPBACK,
        "AZ_BATCHAI_TASK_INDEX": str(number // layout.per_node),
        "AZ_BATCH_HOST_LIST": ",".join([LOOPBACK] * layout.nodes),
        **master,
    }


def pytorch_variables(layout: Layout, place: Place, number: int) -> dict[str, str]:
    """The two AZ_BATCHAI variables are those of Microsoft's tutorial of 2020."""
    return {
        "MASTER_ADDR": LOOPBACK,
        "MASTER_PORT": str(place.port),
        "WORLD_SIZE": str(layout.size),
        "NODE_RANK": str(number // layout.per_node),
        "RANK": str(number),
        "LOCAL_RANK": str(number % layout.per_node),
        "AZ_BATCHAI_PYTORCH_INIT_METHOD": f"tcp://{LOOPBACK}:{place.port}",
        "AZ_BATCHAI_TASK_INDEX": str(number),
    }


VARIABLES: Mapping[str, Callable[[Layout, Place, int], dict[str, str]]] = {
    "none": no_variables,
    "mpi": mpi_variables,
    "pytorch": pytorch_variables,
}


def numbered(number: int, size: int) -> str:
    return f"user_logs/std_log_process_{number:0{len(str(size - 1))}}.txt"


NEW_LOGS: Mapping[str, Callable[[int, int], str]] = {
    "none": lambda number, size: "user_logs/std_log.txt",
    "mpi": numbered,
    "pytorch": numbered,
}
OLD_LOGS: Mapping[str, Callable[[int, int], str]] = {
    "none": lambda number, size: "azureml-logs/70_driver_log.txt",
    "mpi": lambda number, size: f"azureml-logs/70_driver_log_rank_{number}.txt",
    "pytorch": lambda number, size: f"azureml-logs/70_driver_log_worker_{number}.txt",
}


def launchers(layout: Layout, place: Place, launch_file: Path) -> list[list[str]]:
    """The command lines to start. Raises FileNotFoundError where MPI is asked for and missing."""
    wrapper = [sys.executable, "-S", "-E", str(RANK), str(launch_file)]
    if layout.kind != "mpi":
        return [[*wrapper, str(number)] for number in range(layout.size)]
    if place.mpirun is None:
        raise FileNotFoundError("mpirun is not installed; 'pip install amlrun[mpi]' brings one")
    return [[place.mpirun, "-n", str(layout.size), *wrapper]]


def program(configuration: Mapping[str, Any]) -> list[str]:
    """The user's command line. `python` is found on the node's PATH."""
    if configuration.get("command"):
        return ["bash", "-c", str(configuration["command"])]
    return ["python", str(SCRIPT), str(configuration["script"]), *map(str, configuration.get("arguments") or [])]


def inherited(machine: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in machine.items() if name in KEPT or name.upper().startswith(KEPT_PREFIXES)}


def job_variables(configuration: Mapping[str, Any]) -> dict[str, str]:
    """What the environment and the run set, the run's own last."""
    environment = (configuration.get("environment") or {}).get("environmentVariables") or {}
    own = configuration.get("environmentVariables") or {}
    return {str(name): "" if value is None else str(value) for name, value in {**environment, **own}.items()}


def wants_old_logs(variables: Mapping[str, str]) -> bool:
    return variables.get(COMMON_RUNTIME, "true").lower() == "false"
