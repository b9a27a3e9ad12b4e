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

from train import best, checkpoint, export, monitor, reports, seeds
from train.data.batches import loaded
from train.errors import DivergedError, StoppedError
from train.evaluate import Evaluation, evaluate
from train.group import joined
from train.job import training_digest
from train.models.freezing import hold_statistics
from train.prepare import Training, prepare
from train.process import Process
from train.schedule import factor, set_rates
from train.wishes import Wish

# How often a GPU is asked whether the loss is still finite: each question waits for all work queued on it.
STEPS_BETWEEN_CHECKS = 50


def train(config: Mapping[str, Any], process: Process, outputs: Path = Path("outputs")) -> dict[str, Any]:
    """Train what the resolved configuration asks for and return the last epoch's metrics.

    Writes metrics.jsonl, checkpoints/, evaluation/, model.pt, best.pt and (if asked for) model.onnx below `outputs`.
    Raises TrainError for what the user can mend, StoppedError after SIGTERM.
    """
    with joined(process, config["trainer"], config["distribution"]) as group:
        training = prepare(config, group, outputs)
        with closing(training.trackers), training.wishes.listening():
            while not _done(training):
                _train_epoch(training)
                _finish_epoch(training)
        metrics = _finish(training)
        # Freed later, DDP would be the last to hold the process group, and taking that down from there can deadlock:
        # gloo's threads are waited for while they wait for Python's lock (seen in one of ten runs, torch 2.13).
        training.release()
    return metrics


def _done(training: Training) -> bool:
    progress, spec = training.progress, training.config["trainer"]["monitor"]
    return progress.epoch >= training.epochs or monitor.exhausted(progress.rows, spec)


def _train_epoch(training: Training) -> None:
    progress, group = training.progress, training.group
    training.unfreeze()
    training.shares.set_epoch(progress.epoch, progress.batch)
    training.stepper.parallel.train()
    hold_statistics(training.model)
    began = time.perf_counter()
    for images, labels in loaded(training.batches, group.device, training.speed.channels_last):
        training.wishes.ask()
        _train_step(training, images, labels)
        wish = training.wishes.answer()
        inside = progress.batch < len(training.shares)  # else the epoch's end decides
        if wish is Wish.STOP or (inside and (wish or _time_to_save(training))):
            began = _lap(progress, began)
            _save_checkpoint(training)
        if wish is Wish.STOP:
            _stop(training)
    _stop_if_diverged(training)  # the GPU has finished the epoch when this returns
    _lap(progress, began)


def _time_to_save(training: Training) -> bool:
    every_steps = training.config["trainer"]["checkpoint"]["every_steps"]
    return bool(every_steps) and training.progress.step % every_steps == 0


def _train_step(training: Training, images: torch.Tensor, labels: torch.Tensor) -> None:
    progress, optimizer = training.progress, training.stepper.optimizer
    scale = factor(training.config["schedule"], progress.step, training.epochs, len(training.shares))
    progress.learning_rate = set_rates(optimizer, scale * training.rate_factor)
    loss = training.stepper.step(images, labels)
    progress.batch += 1
    progress.step += 1
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


def _stop(training: Training) -> None:
    """Raises StoppedError on every rank, when the checkpoint is whole."""
    progress = training.progress
    training.group.gather(None)  # whoever leaves first has the launcher stop the others, rank 0 perhaps writing
    raise StoppedError(
        f"SIGTERM: stopped at step {progress.step} ({progress.epoch} of {training.epochs} epochs done); what is needed "
        f"to go on from here is in '{training.outputs / 'checkpoints'}'"
    )


def _finish_epoch(training: Training) -> None:
    progress, trainer = training.progress, training.config["trainer"]
    began = time.perf_counter()
    found = _evaluate(training)
    loss_sum, images = training.group.total(training.sums.clone()).tolist()
    progress.seconds += time.perf_counter() - began
    row = {
        "epoch": progress.epoch + 1,
        "epochs": training.epochs,
        "step": progress.step,
        "train_loss": loss_sum / images,
        **_tested(found),
        "learning_rate": progress.learning_rate,
        "images_per_second": images / progress.epoch_seconds,
        "seconds": progress.seconds,
    }
    if not math.isfinite(found.loss):
        raise DivergedError(f"the test loss is {found.loss} after epoch {row['epoch']}; lower optimizer.lr")
    progress.rows.append(row)
    progress.epoch, progress.batch, progress.correct, progress.epoch_seconds = row["epoch"], 0, found.correct, 0.0
    training.sums.zero_()
    training.trackers.write(row)
    training.group.say(
        f"epoch {row['epoch']}/{training.epochs}  train loss {row['train_loss']:.3f}  test loss {found.loss:.3f}  "
        f"test accuracy {row['test_accuracy']:.4f}  {row['images_per_second']:.0f} img/s",
    )
    _keep_if_best(training)
    if checkpoint.due(trainer["checkpoint"], progress, last=_done(training)):
        _save_checkpoint(training)


def _evaluate(training: Training) -> Evaluation:
    training.evaluation = evaluate(
        training.group, training.model, training.forward, training.tests, len(training.data.test),
        len(training.data.classes),
    )  # fmt: skip
    return training.evaluation


def _tested(found: Evaluation) -> dict[str, float]:
    tested = {"test_loss": found.loss, "test_accuracy": found.accuracy}
    if found.accuracy_top5 is not None:
        tested["test_top5_accuracy"] = found.accuracy_top5
    return tested


def _keep_if_best(training: Training) -> None:
    """Kept among the checkpoints, so that a run that goes on from one of them still has it."""
    row = training.progress.rows[-1]
    if training.group.process.first and _best_step(training) == row["step"]:
        path = best.path_of(training.outputs / "checkpoints", row["step"])
        export.save_model(path, training.model, training.data, training.config, row)
        training.artifacts.keep(path)


def _best_step(training: Training) -> int | None:
    return best.step_of(training.progress.rows, training.config["trainer"]["monitor"])


def _save_checkpoint(training: Training) -> None:
    _stop_if_diverged(training)
    group, config, stepper = training.group, training.config, training.stepper
    training.wishes.saved()
    ranks = group.gather({"random": seeds.states(), "sums": training.sums.tolist()})
    if not group.process.first:
        return
    state = {
        "identity": checkpoint.identity(config),
        "training_digest": training_digest(config, group.process.world_size),
        "config": dict(config),
        "progress": asdict(training.progress),
        "model": training.model.state_dict(),
        "optimizer": stepper.optimizer.state_dict(),
        "scaler": training.speed.scaler.state_dict(),
        "ranks": ranks,
    }
    path = checkpoint.save(training.outputs / "checkpoints", state, config["trainer"]["checkpoint"]["keep"])
    training.artifacts.keep(path)
    best.forget_others(training.outputs / "checkpoints", _best_step(training))


def _finish(training: Training) -> dict[str, Any]:
    """Every rank evaluates; rank 0 writes what the run leaves."""
    progress, data, outputs = training.progress, training.data, training.outputs
    found = training.evaluation or _evaluate(training)  # resumed with nothing left to train
    row = progress.rows[-1]
    metrics = {key: row[key] for key in ("train_loss", *_tested(found))}
    if training.group.process.first:
        export.save_model(outputs / "model.pt", training.model, data, training.config, metrics)
        best.publish(outputs, _best_step(training), training.group.say)
        reports.write(outputs / "evaluation", found, data.classes)
        if training.config["export"]["onnx"]:
            spec, say = training.config["export"], training.group.say
            export.write_onnx(outputs / "model.onnx", training.model, data, spec, say)
    training.group.say(
        f"test accuracy {metrics['test_accuracy']:.4f} ({progress.correct} of {len(data.test)} images)",
    )
    return metrics


def _lap(progress: checkpoint.Progress, began: float) -> float:
    now = time.perf_counter()
    progress.epoch_seconds += now - began
    progress.seconds += now - began
    return now
