"""Who trains on what when. The order of samples depends on seed, epoch and global batch size, and on nothing else.

Batch k of an epoch is the same set of samples under one process or eight: each takes its share of it. So the same
experiment sees the same batches however it is started, and a run resumed in mid-epoch goes on where it was.
"""

from __future__ import annotations

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


def loaded(batches: Loader) -> Iterator[Batch]:
    """The loader's batches; what a worker process could not load is raised here in its own words."""
    for batch in batches:
        if isinstance(batch, TrainError):
            raise batch
        yield batch


def _loader(fetch: Fetch, draws: Any, trainer: Mapping[str, Any], device: torch.device) -> Loader:
    workers = int(trainer["workers"])
    return DataLoader(
        fetch,
        sampler=draws,
        batch_size=None,
        collate_fn=_as_it_is,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=device.type == "cuda",
        # Its own generator: a loader draws a number at every start, and resuming starts one more.
        generator=torch.Generator().manual_seed(0),
    )


def _as_it_is(batch: Any) -> Any:
    return batch
