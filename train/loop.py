"""The training loop, top to bottom: prepare (or go on from a checkpoint), epochs, evaluation, the model's file."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from train import checkpoint, export, seeds
from train.checkpoint import Progress
from train.data.batches import loaded
from train.errors import DivergedError
from train.evaluate import evaluate
from train.group import joined
from train.job import training_digest
from train.prepare import Training, prepare
from train.process import Process
from train.schedule import factor, set_rates

# How often a GPU is asked whether the loss is still finite: each question waits for all work queued on it.
STEPS_BETWEEN_CHECKS = 50


def train(config: Mapping[str, Any], process: Process, outputs: Path = Path("outputs")) -> dict[str, Any]:
    """Train what the resolved configuration asks for and return the last epoch's metrics.

    Writes metrics.jsonl, checkpoints/ and model.pt below `outputs`. Raises TrainError for what the user can mend.
    """
    with joined(process, config["trainer"], config["distribution"]) as group:
        training = prepare(config, group, outputs)
        with closing(training.trackers):
            while training.progress.epoch < training.epochs:
                _train_epoch(training)
                _finish_epoch(training)
        metrics = _finish(training)
        # Freed later, DDP would be the last to hold the process group, and taking that down from there can deadlock:
        # gloo's threads are waited for while they wait for Python's lock (seen in one of ten runs, torch 2.13).
        training.parallel = training.model
    return metrics


def _train_epoch(training: Training) -> None:
    progress, every_steps = training.progress, training.config["trainer"]["checkpoint"]["every_steps"]
    training.shares.set_epoch(progress.epoch, progress.batch)
    training.parallel.train()
    began = time.perf_counter()
    for images, labels in loaded(training.batches):
        _train_step(training, images, labels)
        if every_steps and progress.step % every_steps == 0 and progress.batch < len(training.shares):
            began = _lap(progress, began)
            _save_checkpoint(training)
    _stop_if_diverged(training)  # the GPU has finished the epoch when this returns
    _lap(progress, began)


def _train_step(training: Training, images: torch.Tensor, labels: torch.Tensor) -> None:
    progress = training.progress
    scale = factor(training.config["schedule"], progress.step, training.epochs, len(training.shares))
    progress.learning_rate = set_rates(training.optimizer, scale)
    training.optimizer.zero_grad(set_to_none=True)
    logits = training.parallel(training.group.on_device(images))
    loss = functional.cross_entropy(logits, training.group.on_device(labels))
    loss.backward()  # type: ignore[no-untyped-call]
    training.optimizer.step()
    progress.batch += 1
    progress.step += 1
    loss = loss.detach()
    training.sums += torch.stack([loss.double() * len(labels), torch.full_like(loss, len(labels)).double()])
    bad = ~torch.isfinite(loss) & (training.first_bad == 0)
    training.first_bad.masked_fill_(bad, progress.step)
    if training.group.device.type == "cpu" or progress.step % STEPS_BETWEEN_CHECKS == 0:
        _stop_if_diverged(training)


def _stop_if_diverged(training: Training) -> None:
    step = int(training.first_bad)
    if step:
        epoch, batch = divmod(step - 1, len(training.shares))
        indices = training.shares.draw(epoch, batch).indices
        some = ", ".join(map(str, indices[:8])) + (", ..." if len(indices) > 8 else "")
        raise DivergedError(
            f"the loss became nan or inf at step {step} (epoch {epoch + 1}, batch {batch + 1} of "
            f"{len(training.shares)}, training images {some}); lower optimizer.lr or look at these images"
        )


def _finish_epoch(training: Training) -> None:
    progress, trainer = training.progress, training.config["trainer"]
    began = time.perf_counter()
    test_loss, correct = evaluate(training.group, training.model, training.tests, len(training.data.test))
    loss_sum, images = training.group.total(training.sums.clone()).tolist()
    progress.seconds += time.perf_counter() - began
    row = {
        "epoch": progress.epoch + 1,
        "epochs": training.epochs,
        "step": progress.step,
        "train_loss": loss_sum / images,
        "test_loss": test_loss,
        "test_accuracy": correct / len(training.data.test),
        "learning_rate": progress.learning_rate,
        "images_per_second": images / progress.epoch_seconds,
        "seconds": progress.seconds,
    }
    if not math.isfinite(test_loss):
        raise DivergedError(f"the test loss is {test_loss} after epoch {row['epoch']}; lower optimizer.lr")
    progress.rows.append(row)
    progress.epoch, progress.batch, progress.correct, progress.epoch_seconds = row["epoch"], 0, correct, 0.0
    training.sums.zero_()
    training.trackers.write(row)
    training.group.say(
        f"epoch {row['epoch']}/{training.epochs}  train loss {row['train_loss']:.3f}  test loss {test_loss:.3f}  "
        f"test accuracy {row['test_accuracy']:.4f}  {row['images_per_second']:.0f} img/s",
    )
    if checkpoint.due(trainer["checkpoint"], progress, training.epochs):
        _save_checkpoint(training)


def _save_checkpoint(training: Training) -> None:
    _stop_if_diverged(training)
    group, config = training.group, training.config
    ranks = group.gather({"random": seeds.states(), "sums": training.sums.tolist()})
    if not group.process.first:
        return
    state = {
        "identity": checkpoint.identity(config),
        "training_digest": training_digest(config, group.process.world_size),
        "config": dict(config),
        "progress": asdict(training.progress),
        "model": training.model.state_dict(),
        "optimizer": training.optimizer.state_dict(),
        "ranks": ranks,
    }
    path = checkpoint.save(training.outputs / "checkpoints", state, config["trainer"]["checkpoint"]["keep"])
    training.artifacts.keep(path)


def _finish(training: Training) -> dict[str, Any]:
    progress, data = training.progress, training.data
    metrics = {key: progress.rows[-1][key] for key in ("train_loss", "test_loss", "test_accuracy")}
    if training.group.process.first:
        export.save_model(training.outputs / "model.pt", training.model, training.data, training.config, metrics)
    training.group.say(
        f"test accuracy {metrics['test_accuracy']:.4f} ({progress.correct} of {len(data.test)} images)",
    )
    return metrics


def _lap(progress: Progress, began: float) -> float:
    now = time.perf_counter()
    progress.epoch_seconds += now - began
    progress.seconds += now - began
    return now
