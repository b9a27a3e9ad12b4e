"""What ranks do together, by whoever does it: nobody (a single process), torch.distributed, or Horovod."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from train.errors import TrainError
from train.models import unchanged
from train.process import Process


class Collective(Protocol):
    """`name` is for people. Every rank calls the same methods in the same order."""

    name: str

    def total(self, values: torch.Tensor) -> torch.Tensor:
        """Sum over the ranks, on each of them; in place."""
        ...

    def from_first(self, value: Any) -> Any:
        """Rank 0's value, on every rank."""
        ...

    def gather(self, value: Any) -> list[Any]:
        """Every rank's value, in order, on every rank."""
        ...

    def share(self, tensors: Iterable[torch.Tensor]) -> None:
        """Rank 0's contents for all; in place."""
        ...

    def highest(self, value: int) -> Callable[[], int]:
        """Begin to find out the highest value of any rank; what is returned waits for it."""
        ...

    def parallel(self, model: nn.Module, blank: torch.Tensor) -> nn.Module:
        """`model` as it is to be called while training; `blank` is a small batch that it takes."""
        ...

    def optimizer(self, optimizer: Optimizer, model: nn.Module, passes: int) -> Optimizer:
        """`optimizer`, before anything is loaded into it, for `passes` backward passes a step."""
        ...

    def alone(self, parallel: nn.Module) -> AbstractContextManager[Any]:
        """Inside, gradients of forward and backward passes stay this rank's, and add up."""
        ...

    def reduce(self, optimizer: Optimizer) -> AbstractContextManager[Any]:
        """Have gradients averaged over the ranks when this returns; the optimizer's step belongs inside."""
        ...

    def close(self) -> None:
        """Leave, when all ranks are done."""
        ...


class Alone:
    """A single process: everything is as it was."""

    name = ""

    def total(self, values: torch.Tensor) -> torch.Tensor:
        return values

    def from_first(self, value: Any) -> Any:
        return value

    def gather(self, value: Any) -> list[Any]:
        return [value]

    def share(self, tensors: Iterable[torch.Tensor]) -> None:
        pass

    def highest(self, value: int) -> Callable[[], int]:
        return lambda: value

    def parallel(self, model: nn.Module, blank: torch.Tensor) -> nn.Module:
        return model

    def optimizer(self, optimizer: Optimizer, model: nn.Module, passes: int) -> Optimizer:
        return optimizer

    def alone(self, parallel: nn.Module) -> AbstractContextManager[Any]:
        return contextlib.nullcontext()

    def reduce(self, optimizer: Optimizer) -> AbstractContextManager[Any]:
        return contextlib.nullcontext()

    def close(self) -> None:
        pass


class Torch:
    """torch.distributed over gloo or nccl, and DistributedDataParallel."""

    def __init__(self, process: Process, device: torch.device, backend: str, timeout_minutes: float) -> None:
        self.name, self.device, self.process = backend, device, process
        timeout = timedelta(minutes=timeout_minutes)
        dist.init_process_group(backend, timeout=timeout)
        # Its own, and on the CPU: a question asked while gradients are on their way must not wait for a GPU.
        self.questions: Any = dist.new_group(backend="gloo", timeout=timeout)

    def total(self, values: torch.Tensor) -> torch.Tensor:
        dist.all_reduce(values)
        return values

    def from_first(self, value: Any) -> Any:
        box = [value]
        dist.broadcast_object_list(box, src=0, device=self.device)
        return box[0]

    def gather(self, value: Any) -> list[Any]:
        box: list[Any] = [None] * self.process.world_size
        dist.all_gather_object(box, value)
        return box

    def share(self, tensors: Iterable[torch.Tensor]) -> None:
        for tensor in tensors:
            dist.broadcast(tensor, src=0)

    def highest(self, value: int) -> Callable[[], int]:
        asked = torch.tensor(value)
        work: Any = dist.all_reduce(asked, dist.ReduceOp.MAX, group=self.questions, async_op=True)

        def answer() -> int:
            work.wait()
            return int(asked)

        return answer

    def parallel(self, model: nn.Module, blank: torch.Tensor) -> nn.Module:
        devices = [self.device.index] if self.device.type == "cuda" else None
        wrapped = DistributedDataParallel(model, device_ids=devices)
        _settle(wrapped, blank)
        return wrapped

    def optimizer(self, optimizer: Optimizer, model: nn.Module, passes: int) -> Optimizer:
        return optimizer

    def alone(self, parallel: nn.Module) -> AbstractContextManager[Any]:
        return parallel.no_sync()  # type: ignore[no-any-return, operator]

    def reduce(self, optimizer: Optimizer) -> AbstractContextManager[Any]:
        return contextlib.nullcontext()  # DDP has done it in the backward pass

    def close(self) -> None:
        # Rank 0 holds the store: nobody may still be using it when rank 0 goes.
        self.gather(None)
        dist.destroy_process_group()


class Horovod:
    """Horovod over MPI, NCCL or gloo, as it was built: DistributedOptimizer averages gradients while they are computed.

    https://horovod.readthedocs.io/en/stable/pytorch.html. `compression` is a row of COMPRESSIONS.
    """

    name = "horovod"

    def __init__(self, process: Process, compression: str) -> None:
        try:
            import horovod.torch as hvd
        except ImportError as error:
            raise TrainError(
                f"distribution.engine: horovod cannot be imported ({error}); `make horovod` builds it here, "
                f"env=horovod has it on Azure, or use distribution.engine=torch"
            ) from error
        hvd.init()
        if (hvd.rank(), hvd.size()) != (process.rank, process.world_size):
            raise TrainError(
                f"distribution.engine: horovod is rank {hvd.rank()} of {hvd.size()}, {process.source} says "
                f"{process.rank} of {process.world_size}; start with mpirun, and with a horovod built for its MPI"
            )
        self.hvd: Any = hvd
        self.compression: Any = getattr(hvd.Compression, COMPRESSIONS[compression])

    def total(self, values: torch.Tensor) -> torch.Tensor:
        self.hvd.allreduce_(values, op=self.hvd.Sum, name="total")
        return values

    def from_first(self, value: Any) -> Any:
        return self.hvd.broadcast_object(value, root_rank=0, name="from_first")

    def gather(self, value: Any) -> list[Any]:
        return list(self.hvd.allgather_object(value, name="gather"))

    def share(self, tensors: Iterable[torch.Tensor]) -> None:
        waiting = [self.hvd.broadcast_async_(tensor, 0, name=f"share.{at}") for at, tensor in enumerate(tensors)]
        for handle in waiting:
            self.hvd.synchronize(handle)

    def highest(self, value: int) -> Callable[[], int]:
        handle = self.hvd.allgather_async(torch.tensor([value]), name="highest")
        return lambda: int(self.hvd.synchronize(handle).max())

    def parallel(self, model: nn.Module, blank: torch.Tensor) -> nn.Module:
        self.share(tensor for tensor in model.state_dict().values() if tensor.numel())
        return model

    def optimizer(self, optimizer: Optimizer, model: nn.Module, passes: int) -> Optimizer:
        wrapped: Optimizer = self.hvd.DistributedOptimizer(
            optimizer,
            named_parameters=model.named_parameters(),
            compression=self.compression,
            backward_passes_per_step=passes,
        )
        return wrapped

    def alone(self, parallel: nn.Module) -> AbstractContextManager[Any]:
        return contextlib.nullcontext()  # it counts the passes

    def reduce(self, optimizer: Any) -> AbstractContextManager[Any]:
        optimizer.synchronize()
        # It fills in zeros for what is frozen, and weight decay would then move it.
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if not parameter.requires_grad:
                    parameter.grad = None
        context: AbstractContextManager[Any] = optimizer.skip_synchronize()
        return context

    def close(self) -> None:
        self.gather(None)
        self.hvd.shutdown()


# What gradients travel as: names in YAML to names in horovod.torch.Compression.
COMPRESSIONS: Mapping[str, str] = {"none": "none", "fp16": "fp16"}


def _settle(wrapped: DistributedDataParallel, blank: torch.Tensor) -> None:
    """One backward pass whose gradients are thrown away.

    After its first backward pass DDP arranges gradients anew, in the order they arrived, and sums of three or more
    ranks round differently in the new arrangement. Without this a resumed run would take its first step in the old
    one, where the uninterrupted run had the new: not bit-identical.
    """
    with unchanged(wrapped.module):
        wrapped(blank).sum().backward()
    wrapped.zero_grad(set_to_none=True)
