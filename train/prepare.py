"""Everything the loop needs, built from the configuration, or taken up from a checkpoint where there is one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from train import checkpoint, seeds
from train.artifacts import Artifacts
from train.build import build
from train.checkpoint import Progress
from train.data import Data
from train.data.batches import Loader, Shares, test_batches, training_batches
from train.errors import TrainError
from train.group import Group, choose_threads
from train.inputs import with_paths
from train.models import build_model
from train.tracking import Trackers


@dataclass(slots=True)
class Training:
    """All that the loop works on. `parallel` is `model`, wrapped where there are several processes."""

    config: Mapping[str, Any]
    group: Group
    outputs: Path
    data: Data
    shares: Shares
    batches: Loader
    tests: Loader
    model: nn.Module
    parallel: nn.Module
    optimizer: Optimizer
    progress: Progress
    sums: torch.Tensor  # of this rank's epoch so far: loss, images
    first_bad: torch.Tensor  # the first step whose loss was nan or inf, counted from 1; 0: none
    trackers: Trackers  # of rank 0; the others' are none
    artifacts: Artifacts  # used by rank 0 alone

    @property
    def epochs(self) -> int:
        return int(self.config["trainer"]["epochs"])


def prepare(config: Mapping[str, Any], group: Group, outputs: Path) -> Training:
    """The start of a run, or where an earlier one stopped. Rank 0 says what was found."""
    trainer, process, root, seed = config["trainer"], group.process, Path(), int(config["seed"])
    seeds.seed_everything(seed)
    data = _load_data(config, root)
    threads = choose_threads(
        trainer["threads"], process, math.prod(data.shape) * trainer["batch_size"] // process.world_size
    )
    torch.set_num_threads(threads)
    shares = Shares(len(data.train), trainer["batch_size"], process.rank, process.world_size, seed)
    model = build_model(with_paths(config["model"], config["inputs"]), data, root).to(group.device)
    training = Training(
        config=config,
        group=group,
        outputs=outputs,
        data=data,
        shares=shares,
        batches=training_batches(data.train, shares, trainer, group.device),
        tests=test_batches(data.test, process.rank, process.world_size, trainer, group.device),
        model=model,
        parallel=group.parallel(model, data.shape),
        optimizer=build("optimizer", config["optimizer"], root, params=model.parameters()),
        progress=Progress(),
        sums=torch.zeros(2, dtype=torch.float64, device=group.device),
        first_bad=torch.zeros((), dtype=torch.int64, device=group.device),
        trackers=Trackers(),
        artifacts=Artifacts(group.say),
    )
    group.say(f"process: {process.describe()}, {group.describe()}, {threads} thread(s) each")
    group.say(f"data: {len(data.train)} training and {len(data.test)} test images, {len(data.classes)} classes")
    seeds.seed_everything(seed, process.rank)
    _resume(training)
    if process.first:
        training.trackers.open(config["tracking"]["trackers"], outputs, training.progress.rows)
    return training


def _load_data(config: Mapping[str, Any], root: Path) -> Data:
    spec = config["data"]
    data = build("data", with_paths(spec, config["inputs"]), root, seed=config["seed"])
    if not isinstance(data, Data):
        raise TrainError(
            f"data._target_: '{spec['_target_']}' must return a train.data.Data, not {type(data).__name__}"
        )
    if not len(data.test):
        raise TrainError("data: the held-out part is empty, so nothing would be measured; add test images")
    return data


def _resume(training: Training) -> None:
    """Rank 0 reads and tells the others: on several nodes they may not see its disk."""
    group, trainer = training.group, training.config["trainer"]
    found: tuple[dict[str, Any] | None, list[str]] = (None, [])
    if group.process.first:
        training.artifacts.fetch(training.outputs / "checkpoints")
        where = str(with_paths(trainer["resume"], training.config["inputs"]))
        found = checkpoint.find(where, training.outputs / "checkpoints", training.config)
    state, notes = group.from_first(found)
    for note in notes:
        group.say(f"resume: {note}")
    if state is None:
        return
    training.progress = Progress(**state["progress"])
    checkpoint.load_weights(state, training.model, training.optimizer)
    mine = checkpoint.part_of_rank(state, group.process.rank, group.process.world_size)
    training.sums += torch.tensor(mine["sums"], dtype=torch.float64, device=group.device)
    if mine["random"] is not None:
        seeds.restore(mine["random"])
    else:
        group.say(f"resume: was saved by {len(state['ranks'])} process(es): random numbers start anew")
    progress = training.progress
    group.say(f"resume: at step {progress.step}, {progress.epoch} of {training.epochs} epochs done")
    if progress.epoch >= training.epochs:
        group.say("resume: nothing left to train; trainer.resume=never starts over")
