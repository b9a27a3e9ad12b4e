"""The process group and the device: what torch needs to know of `process.py`, set up and taken down in one place."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from train.errors import TrainError
from train.models import unchanged
from train.process import Process

# Numbers in one process's batch up to which handing work to a second thread costs more than it saves. Digits
# (64 x 64) on two busy cores: 1.7 s with one thread, 3.6 to 23 s with two; 32 x 32 images gain from the second.
SMALL_BATCH = 2**16


@dataclass(frozen=True, slots=True)
class Group:
    """All processes of the run. With a single one every method is the identity and nothing is initialised."""

    process: Process
    device: torch.device
    backend: str | None

    def say(self, line: str) -> None:
        """Print it once, not once per rank."""
        if self.process.first:
            print(line, flush=True)

    def on_device(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(self.device, non_blocking=True)

    def total(self, values: torch.Tensor) -> torch.Tensor:
        """Sum over the ranks, on each of them."""
        if self.backend is not None:
            dist.all_reduce(values)
        return values

    def from_first(self, value: Any) -> Any:
        """Rank 0's value, on every rank."""
        if self.backend is None:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, device=self.device)
        return box[0]

    def gather(self, value: Any) -> list[Any]:
        """Every rank's value, in order, on every rank."""
        if self.backend is None:
            return [value]
        box: list[Any] = [None] * self.process.world_size
        dist.all_gather_object(box, value)
        return box

    def share_buffers(self, model: nn.Module) -> None:
        """Rank 0's running statistics for all: they are what is saved, so they are what is evaluated."""
        if self.backend is not None:
            for buffer in model.buffers():
                dist.broadcast(buffer, src=0)

    def parallel(self, model: nn.Module, shape: tuple[int, ...]) -> nn.Module:
        """`model` with gradients averaged over the ranks, as it is to be called while training."""
        if self.backend is None:
            return model
        devices = [self.device.index] if self.device.type == "cuda" else None
        wrapped = DistributedDataParallel(model, device_ids=devices)
        _settle(wrapped, torch.zeros(2, *shape, device=self.device))
        return wrapped

    def describe(self) -> str:
        return f"{self.device.type}, {self.backend}" if self.backend else self.device.type


@contextmanager
def joined(process: Process, trainer: Mapping[str, Any], distribution: Mapping[str, Any]) -> Iterator[Group]:
    """The group of all ranks, torn down at the end.

    Not torn down when a rank raises: that process must end at once, see `process.leave`.
    """
    if distribution.get("engine", "torch") != "torch":
        raise TrainError(f"distribution.engine: '{distribution['engine']}' is not built in yet; use 'torch'")
    device = choose_device(str(trainer["device"]), process)
    if process.world_size == 1:
        yield Group(process, device, None)
        return
    backend = choose_backend(str(distribution.get("backend", "auto")), device)
    os.environ.update(process.variables())
    dist.init_process_group(backend, timeout=timedelta(minutes=trainer["timeout_minutes"]))
    group = Group(process, device, backend)
    yield group
    # Rank 0 holds the store: nobody may still be using it when rank 0 goes.
    group.gather(None)
    dist.destroy_process_group()


def _settle(wrapped: DistributedDataParallel, blank: torch.Tensor) -> None:
    """One backward pass whose gradients are thrown away.

    After its first backward pass DDP arranges gradients anew, in the order they arrived, and sums of three or more
    ranks round differently in the new arrangement. Without this a resumed run would take its first step in the old
    one, where the uninterrupted run had the new: not bit-identical.
    """
    with unchanged(wrapped.module):
        wrapped(blank).sum().backward()
    wrapped.zero_grad(set_to_none=True)


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
