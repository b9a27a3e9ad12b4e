"""The process group and the device: what torch needs to know of `process.py`, set up and taken down in one place."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from train.collectives import Alone, Collective, Horovod, Torch
from train.errors import TrainError
from train.process import Process

# Numbers in one process's batch up to which handing work to a second thread costs more than it saves. Digits
# (64 x 64) on two busy cores: 1.7 s with one thread, 3.6 to 23 s with two; 32 x 32 images gain from the second.
SMALL_BATCH = 2**16


@dataclass(frozen=True, slots=True)
class Group:
    """This process, its device, and what it does together with the others."""

    process: Process
    device: torch.device
    collective: Collective

    def say(self, line: str) -> None:
        """Print it once, not once per rank."""
        if self.process.first:
            print(line, flush=True)

    def total(self, values: torch.Tensor) -> torch.Tensor:
        """Sum over the ranks, on each of them; in place."""
        return self.collective.total(values)

    def from_first(self, value: Any) -> Any:
        """Rank 0's value, on every rank."""
        return self.collective.from_first(value)

    def gather(self, value: Any) -> list[Any]:
        """Every rank's value, in order, on every rank."""
        return self.collective.gather(value)

    def share_buffers(self, model: nn.Module) -> None:
        """Rank 0's running statistics for all: they are what is saved, so they are what is evaluated."""
        self.collective.share(model.buffers())

    def describe(self) -> str:
        return ", ".join(filter(None, (self.device.type, self.collective.name)))


@contextmanager
def joined(process: Process, trainer: Mapping[str, Any], distribution: Mapping[str, Any]) -> Iterator[Group]:
    """The group of all ranks, left at the end.

    Not left when a rank raises: that process must end at once, see `process.leave`.
    """
    device = choose_device(str(trainer["device"]), process)
    os.environ.update(process.variables() if process.world_size > 1 else {})
    group = Group(process, device, _collective(process, device, trainer, distribution))
    yield group
    group.collective.close()


def _collective(
    process: Process, device: torch.device, trainer: Mapping[str, Any], distribution: Mapping[str, Any]
) -> Collective:
    if distribution.get("engine", "torch") == "horovod":
        return Horovod(process, str(distribution.get("compression", "none")))
    if process.world_size == 1:
        return Alone()
    backend = choose_backend(str(distribution.get("backend", "auto")), device)
    return Torch(process, device, backend, float(trainer["timeout_minutes"]))


def choose_device(wanted: str, process: Process) -> torch.device:
    """'auto', 'cpu' or 'cuda' to the device of this local rank. Raises TrainError if there is no such GPU."""
    gpus = torch.cuda.device_count() if wanted != "cpu" else 0
    if wanted == "cpu" or (wanted == "auto" and gpus == 0):
        return torch.device("cpu")
    if gpus == 0:
        raise TrainError("trainer.device: 'cuda' was asked for and torch sees no GPU; use 'auto' or 'cpu'")
    if process.local_rank >= gpus:
        raise TrainError(
            f"process {process.local_rank + 1} of {process.local_size} on this node has no GPU of its own: {gpus} "
            f"found; set distribution.processes_per_node to at most {gpus}, or trainer.device=cpu"
        )
    device = torch.device("cuda", process.local_rank)
    torch.cuda.set_device(device)
    return device


def choose_backend(wanted: str, device: torch.device) -> str:
    """'auto' is nccl between GPUs and gloo between CPUs. Raises TrainError for nccl without a GPU."""
    if wanted == "auto":
        return "nccl" if device.type == "cuda" else "gloo"
    if wanted == "nccl" and device.type != "cuda":
        raise TrainError("distribution.backend: 'nccl' needs GPUs and this process trains on the CPU; use 'gloo'")
    return wanted


def choose_threads(wanted: int | str, process: Process, batch_numbers: int) -> int:
    """'auto': this node's usable cores shared among its processes, one if a batch is small (see SMALL_BATCH).

    A rule and not a measurement: the number of threads decides how sums are rounded, and a run must repeat exactly.
    """
    if wanted != "auto":
        return int(wanted)
    if batch_numbers <= SMALL_BATCH:
        return 1
    return max(1, _usable_cores() // process.local_size)


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
