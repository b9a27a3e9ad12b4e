"""Everything the loop needs, built from the configuration, or taken up from a checkpoint where there is one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from train import best, checkpoint, export, seeds
from train.artifacts import Artifacts
from train.build import build
from train.checkpoint import Progress
from train.data import Data
from train.data.batches import Loader, Shares, test_batches, training_batches
from train.errors import TrainError
from train.evaluate import Evaluation
from train.group import Group, choose_threads
from train.inputs import with_paths
from train.models import build_model
from train.models.freezing import set_trainable
from train.models.weights import normalization_of
from train.speed import Speed, choose_speed
from train.step import Stepper
from train.tracking import Trackers
from train.wishes import Wishes


@dataclass(slots=True)
class Training:
    """All that the loop works on. `compiled` is `model`, or shares its weights."""

    config: Mapping[str, Any]
    group: Group
    outputs: Path
    data: Data
    shares: Shares
    batches: Loader
    tests: Loader
    model: nn.Module
    compiled: nn.Module
    speed: Speed
    stepper: Stepper
    wishes: Wishes
    rate_factor: float
    progress: Progress
    sums: torch.Tensor  # of this rank's epoch so far: loss, images
    first_bad: torch.Tensor  # the first step whose loss was nan or inf, counted from 1; 0: none
    trackers: Trackers  # of rank 0; the others' are none
    artifacts: Artifacts  # used by rank 0 alone
    evaluation: Evaluation | None = None  # the last one

    @property
    def epochs(self) -> int:
        return int(self.config["trainer"]["epochs"])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) to logits (B, classes) in float32."""
        with self.speed.autocast():
            logits: torch.Tensor = self.compiled(images)
        return logits.float()

    def unfreeze(self) -> None:
        """What learns in this epoch. Gradients are exchanged of that alone, so the wrapping is done anew."""
        if set_trainable(self.model, self.config["trainer"]["freeze"], self.progress.epoch):
            self.stepper.parallel = _parallel(self)

    def release(self) -> None:
        self.stepper.parallel = self.model


def prepare(config: Mapping[str, Any], group: Group, outputs: Path) -> Training:
    """The start of a run, or where an earlier one stopped. Rank 0 says what was found."""
    trainer, process, root, seed = config["trainer"], group.process, Path(), int(config["seed"])
    speed = choose_speed(trainer, group.device)
    export.require_onnx(config["export"])
    seeds.seed_everything(seed)
    model_spec = with_paths(config["model"], config["inputs"])
    data = _load_data(config, normalization_of(model_spec, root), root)
    per_process = int(trainer["batch_size"]) // process.world_size
    threads = choose_threads(trainer["threads"], process, math.prod(data.shape) * per_process)
    torch.set_num_threads(threads)
    shares = Shares(len(data.train), trainer["batch_size"], process.rank, process.world_size, seed)
    seeds.seed_everything(seed)  # the same first weights, whatever the data drew
    model = speed.place(build_model(model_spec, data, root))
    set_trainable(model, trainer["freeze"], 0)
    training = Training(
        config=config,
        group=group,
        outputs=outputs,
        data=data,
        shares=shares,
        batches=training_batches(data.train, shares, trainer, group.device),
        tests=test_batches(data.test, process.rank, process.world_size, trainer, group.device),
        model=model,
        compiled=speed.faster(model),
        speed=speed,
        stepper=_stepper(config, group, speed, model, per_process),
        wishes=Wishes(group.collective, trainer["checkpoint"]["every_minutes"]),
        rate_factor=_rate_factor(trainer),
        progress=Progress(),
        sums=torch.zeros(2, dtype=torch.float64, device=group.device),
        first_bad=torch.zeros((), dtype=torch.int64, device=group.device),
        trackers=Trackers(),
        artifacts=Artifacts(group.say),
    )
    group.say(f"process: {process.describe()}, {group.describe()}{speed.describe()}, {threads} thread(s) each")
    group.say(f"data: {len(data.train)} training and {len(data.test)} test images, {len(data.classes)} classes")
    state = _find_checkpoint(training)
    set_trainable(model, trainer["freeze"], training.progress.epoch)
    training.stepper.parallel = _parallel(training)
    seeds.seed_everything(seed, process.rank)
    if state is not None:
        _take_up(training, state)
    if process.first:
        training.trackers.open(config["tracking"]["trackers"], outputs, training.progress.rows)
    return training


def _stepper(config: Mapping[str, Any], group: Group, speed: Speed, model: nn.Module, per_process: int) -> Stepper:
    """Its `parallel` is set when it is known what learns."""
    trainer, parts = config["trainer"], int(config["trainer"]["accumulation"])
    if parts > per_process:
        raise TrainError(
            f"trainer.accumulation: a batch of {per_process} images per process cannot be computed in {parts} parts; "
            f"use at most {per_process}, or a larger trainer.batch_size"
        )
    fused = {"fused": True} if trainer["fused"] else {}
    optimizer = build("optimizer", config["optimizer"], Path(), params=model.parameters(), **fused)
    if fused and not optimizer.defaults.get("fused"):
        raise TrainError(
            f"trainer.fused: '{config['optimizer']['_target_']}' has no fused form; use trainer.fused=false"
        )
    wrapped = group.collective.optimizer(optimizer, model, parts)
    return Stepper(group.collective, speed, model, wrapped, parts, trainer["clip_norm"])


def _parallel(training: Training) -> nn.Module:
    blank = training.speed.form(torch.zeros(2, *training.data.shape, device=training.group.device))
    return training.group.collective.parallel(training.compiled, blank)


def _rate_factor(trainer: Mapping[str, Any]) -> float:
    """The linear scaling rule: k times the batch, k times the rate (Goyal et al. 2017, arXiv:1706.02677)."""
    reference = trainer["reference_batch_size"]
    return 1.0 if reference is None else float(trainer["batch_size"]) / float(reference)


def _load_data(config: Mapping[str, Any], normalization: Mapping[str, Any] | None, root: Path) -> Data:
    """`normalization` is what the model's weights were trained with: used where the configuration has none."""
    spec, supplied = dict(config["data"]), {"seed": config["seed"]}
    if normalization is not None and spec.get("normalization") is None:
        spec.pop("normalization", None)
        supplied["normalization"] = normalization
    data = build("data", with_paths(spec, config["inputs"]), root, **supplied)
    if not isinstance(data, Data):
        raise TrainError(
            f"data._target_: '{spec['_target_']}' must return a train.data.Data, not {type(data).__name__}"
        )
    if not len(data.test):
        raise TrainError("data: the held-out part is empty, so nothing would be measured; add test images")
    return data


def _find_checkpoint(training: Training) -> dict[str, Any] | None:
    """Rank 0 reads and tells the others: on several nodes they may not see its disk."""
    group, trainer = training.group, training.config["trainer"]
    found: tuple[dict[str, Any] | None, list[str]] = (None, [])
    if group.process.first:
        training.artifacts.fetch(training.outputs / "checkpoints")
        where = str(with_paths(trainer["resume"], training.config["inputs"]))
        found = checkpoint.find(where, training.outputs / "checkpoints", training.config)
    state: dict[str, Any] | None
    state, notes = group.from_first(found)
    for note in notes:
        group.say(f"resume: {note}")
    if state is not None:
        training.progress = Progress(**state["progress"])
    return state


def _take_up(training: Training, state: Mapping[str, Any]) -> None:
    group, progress = training.group, training.progress
    checkpoint.load_weights(state, training.model, training.stepper.optimizer)
    training.speed.scaler.load_state_dict(state["scaler"])
    mine = checkpoint.part_of_rank(state, group.process.rank, group.process.world_size)
    training.sums += torch.tensor(mine["sums"], dtype=torch.float64, device=group.device)
    if mine["random"] is not None:
        seeds.restore(mine["random"])
    else:
        group.say(f"resume: was saved by {len(state['ranks'])} process(es): random numbers start anew")
    step = best.step_of(progress.rows, training.config["trainer"]["monitor"])
    if group.process.first and step is not None:
        training.artifacts.fetch_one(best.path_of(training.outputs / "checkpoints", step))
    group.say(f"resume: at step {progress.step}, {progress.epoch} of {training.epochs} epochs done")
    if progress.epoch >= training.epochs:
        group.say("resume: nothing left to train; trainer.resume=never starts over")
