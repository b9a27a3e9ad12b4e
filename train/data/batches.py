"""Who trains on what when. The order of samples depends on seed, epoch and global batch size, and on nothing else.

Batch k of an epoch is the same set of samples under one process or eight: each takes its share of it. So the same
experiment sees the same batches however it is started, and a run resumed in mid-epoch goes on where it was.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from train import seeds
from train.data import Samples
from train.errors import TrainError

Batch = tuple[torch.Tensor, torch.Tensor]
Loader = DataLoader[Any]

# Not fork: a copy of a process in which MPI, Horovod, gloo or CUDA run has their locks, held as they happen to be, and
# not their threads. The server that is forked instead is started anew and has none of them.
START_METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
BATCHES_AHEAD = 4  # of each worker


@dataclass(frozen=True, slots=True)
class Draw:
    """This rank's part of one batch."""

    epoch: int
    batch: int
    indices: tuple[int, ...]


class Shares(Sampler[Draw]):
    """This rank's share of every whole batch of an epoch, `first_batch` onward.

    The remainder of an epoch that fills no batch is left out; as the order changes, other samples are in it each time.
    """

    def __init__(self, size: int, batch_size: int, rank: int, world_size: int, seed: int) -> None:
        if batch_size % world_size:
            raise TrainError(
                f"trainer.batch_size: {batch_size} is for all processes together and does not divide by "
                f"{world_size} processes; use a multiple of {world_size}"
            )
        if size < batch_size:
            raise TrainError(
                f"trainer.batch_size: {batch_size} is more than the {size} training images; use at most {size}"
            )
        self.size, self.batch_size = size, batch_size
        self.rank, self.world_size, self.seed = rank, world_size, seed
        self.epoch, self.first_batch = 0, 0

    def __len__(self) -> int:
        return self.size // self.batch_size

    def set_epoch(self, epoch: int, first_batch: int = 0) -> None:
        self.epoch, self.first_batch = epoch, first_batch

    def __iter__(self) -> Iterator[Draw]:
        order = self._order(self.epoch)
        for batch in range(self.first_batch, len(self)):
            yield self._share(order, self.epoch, batch)

    def draw(self, epoch: int, batch: int) -> Draw:
        """What this rank was given in one batch of one epoch (for messages)."""
        return self._share(self._order(epoch), epoch, batch)

    def _order(self, epoch: int) -> list[int]:
        generator = torch.Generator().manual_seed(seeds.mix(self.seed, epoch))
        order: list[int] = torch.randperm(self.size, generator=generator).tolist()
        return order

    def _share(self, order: list[int], epoch: int, batch: int) -> Draw:
        start = batch * self.batch_size
        return Draw(epoch, batch, tuple(order[start + self.rank : start + self.batch_size : self.world_size]))


class Fetch(Dataset[Any]):
    """A batch for a Draw, or the error that says why there is none: raised in a worker process it would arrive as the
    text of a traceback.

    While training, whatever the samples draw at random (augmentation) depends on seed, epoch, batch and rank: not on
    which worker loads it, nor on how far ahead it is loaded.
    """

    def __init__(self, samples: Samples, random_place: tuple[int, int] | None) -> None:
        self.samples = samples
        self.random_place = random_place

    def __getitem__(self, draw: Draw) -> Batch | TrainError:
        try:
            if self.random_place is None:
                return self._fetch(draw.indices)
            seed, rank = self.random_place
            with seeds.drawn_for(seed, draw.epoch, draw.batch, rank):
                return self._fetch(draw.indices)
        except TrainError as error:
            return error

    def _fetch(self, indices: Sequence[int]) -> Batch:
        whole = getattr(self.samples, "batch", None)
        if whole is not None:
            images, labels = whole(indices)
        else:
            images, labels = default_collate([self.samples[index] for index in indices])
        return images, labels


def training_batches(samples: Samples, shares: Shares, trainer: Mapping[str, Any], device: torch.device) -> Loader:
    """Batches of this rank's share; `shares.set_epoch` chooses the epoch before each iteration."""
    return _loader(Fetch(samples, (shares.seed, shares.rank)), shares, trainer, device)


def test_batches(
    samples: Samples, rank: int, world_size: int, trainer: Mapping[str, Any], device: torch.device
) -> Loader:
    """Every world_size-th sample from this rank's on: over all ranks each sample once, none padded, none left out."""
    mine = range(rank, len(samples), world_size)
    size = max(1, int(trainer["batch_size"]) // world_size)
    draws = [Draw(0, at // size, tuple(mine[at : at + size])) for at in range(0, len(mine), size)]
    return _loader(Fetch(samples, None), draws, trainer, device)


def loaded(batches: Loader, device: torch.device | None = None, channels_last: bool = False) -> Iterator[Batch]:
    """The loader's batches on `device`; what a worker process could not load is raised here in its own words.

    On a GPU the next batch is copied on a stream of its own while the caller computes with this one. Without a device
    they stay where they were loaded.
    """
    form = torch.channels_last if channels_last else torch.preserve_format
    whole = (_whole(batch) for batch in batches)
    if device is not None and device.type == "cuda":
        yield from _ahead(whole, device, form)
        return
    for images, labels in whole:
        yield images.to(device, memory_format=form), labels.to(device)


def _whole(batch: Batch | TrainError) -> Batch:
    if isinstance(batch, TrainError):
        raise batch
    return batch


def _ahead(batches: Iterator[Batch], device: torch.device, form: torch.memory_format) -> Iterator[Batch]:
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    waiting: tuple[Batch, torch.cuda.Event] | None = None
    for images, labels in batches:
        with torch.cuda.stream(stream):
            copied = (
                images.to(device, non_blocking=True, memory_format=form),
                labels.to(device, non_blocking=True),
            )
            after = stream.record_event()
        if waiting is not None:
            yield _handed_over(*waiting, device)
        waiting = copied, after
    if waiting is not None:
        yield _handed_over(*waiting, device)


def _handed_over(batch: Batch, copied: torch.cuda.Event, device: torch.device) -> Batch:
    stream = torch.cuda.current_stream(device)
    stream.wait_event(copied)
    for tensor in batch:
        # Its memory belongs to the copying stream, which would write the next batch into it once it is let go of.
        tensor.record_stream(stream)
    return batch


def _loader(fetch: Fetch, draws: Any, trainer: Mapping[str, Any], device: torch.device) -> Loader:
    workers = int(trainer["workers"])
    if workers:
        # torchvision too where it is in use: its import takes a second of each worker, and may need `vision`'s guard.
        loaded_too = ["train.data.preloaded"] if "torchvision" in sys.modules else []
        multiprocessing.set_forkserver_preload(["train.data.batches", *loaded_too])
    return DataLoader(
        fetch,
        sampler=draws,
        batch_size=None,
        collate_fn=_as_it_is,
        num_workers=workers,
        multiprocessing_context=START_METHOD if workers else None,
        worker_init_fn=_end_with_parent,
        prefetch_factor=BATCHES_AHEAD if workers else None,
        persistent_workers=workers > 0,
        pin_memory=device.type == "cuda" and trainer.get("pin_memory") is not False,
        # Its own generator: a loader draws a number at every start, and resuming starts one more.
        generator=torch.Generator().manual_seed(0),
    )


def _end_with_parent(_worker: int) -> None:
    """A worker whose training process was killed ends too. It is no child of that process: torch watches the server,
    which stays as long as it has workers.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()


def _as_it_is(batch: Any) -> Any:
    return batch
