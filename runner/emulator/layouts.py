"""A run configuration's nodes and processes, as Azure reads them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from runner.emulator.checking import section, whole_number
from runner.emulator.messages import bad_request

# More than the cores of any size that Azure has had.
PROCESSES_PER_NODE = 1024


@dataclass(frozen=True, slots=True)
class Layout:
    kind: str
    nodes: int
    per_node: int

    @property
    def size(self) -> int:
        return self.nodes * self.per_node

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def layout(configuration: Mapping[str, Any]) -> Layout:
    """Raises ServiceError (400) for a framework, a communicator or numbers that cannot work."""
    framework = str(configuration.get("framework") or "Python").lower()
    communicator = str(configuration.get("communicator") or "None").lower()
    read = READERS.get((framework, communicator))
    if read is None:
        raise bad_request(
            f"framework '{framework}' with communicator '{communicator}' is not supported by the emulator"
        )
    return read(configuration, whole_number(configuration.get("nodeCount", 1), "nodeCount"))


def single(configuration: Mapping[str, Any], nodes: int) -> Layout:
    if nodes != 1:
        raise bad_request(f"nodeCount is {nodes}, and nothing says how the nodes work together; use MPI or PyTorch")
    return Layout("none", 1, 1)


def mpi(configuration: Mapping[str, Any], nodes: int) -> Layout:
    per_node = section(configuration.get("mpi"), "mpi").get("processCountPerNode", 1)
    return Layout("mpi", nodes, bounded(whole_number(per_node, "mpi.processCountPerNode"), "mpi.processCountPerNode"))


def pytorch(configuration: Mapping[str, Any], nodes: int) -> Layout:
    """`processCount` is the total; without it every node gets one process."""
    total = section(configuration.get("pytorch"), "pytorch").get("processCount")
    if total is None:
        return Layout("pytorch", nodes, 1)
    total = whole_number(total, "pytorch.processCount")
    if total % nodes:
        raise bad_request(f"pytorch.processCount {total} is the total and does not divide by {nodes} nodes")
    return Layout("pytorch", nodes, bounded(total // nodes, "pytorch.processCount per node"))


def bounded(per_node: int, what: str) -> int:
    """Each is a process on this machine."""
    if per_node > PROCESSES_PER_NODE:
        raise bad_request(f"{what} is {per_node}; the emulator starts at most {PROCESSES_PER_NODE} on a node")
    return per_node


# The SDK writes IntelMpi for MpiConfiguration, and nccl or gloo for PyTorchConfiguration.
READERS: Mapping[tuple[str, str], Callable[[Mapping[str, Any], int], Layout]] = {
    ("python", "none"): single,
    ("python", "intelmpi"): mpi,
    ("python", "openmpi"): mpi,
    ("pytorch", "nccl"): pytorch,
    ("pytorch", "gloo"): pytorch,
}
