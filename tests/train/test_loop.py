from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest
import torch

from train import export, loop, tracking, vision
from train.checkpoint import identity
from train.data import Data, InMemory, Normalization
from train.errors import DivergedError, StoppedError, TrainError
from train.loop import train
from train.process import Process

ROW_KEYS = ["epoch", "epochs", "step", "train_loss", "test_loss", "test_accuracy"]
ROW_KEYS += ["learning_rate", "images_per_second", "seconds"]


class Killed(BaseException):
    """As sudden as a signal: no `except Exception` sees it."""


def killed_at(step, monkeypatch):
    real = loop._train_step

    def stepping(training, images, labels):
        if training.progress.step == step:
            raise Killed
        real(training, images, labels)

    monkeypatch.setattr(loop, "_train_step", stepping)


def weights(folder):
    return (folder / "model.pt").read_bytes()


def rows(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def comparable(folder):
    clock = ("images_per_second", "seconds")
    return [{key: value for key, value in row.items() if key not in clock} for row in rows(folder)]


def test_a_run_writes_rows_checkpoints_and_a_model_that_says_how_to_use_it(config, tmp_path, capsys):
    metrics = train(config, Process(), tmp_path)
    assert [list(row) for row in rows(tmp_path)] == [ROW_KEYS] * 3
    assert [row["step"] for row in rows(tmp_path)] == [6, 12, 18]
    content = torch.load(tmp_path / "model.pt", weights_only=True)
    assert sorted(content) == ["classes", "config", "metrics", "model", "normalization", "shape"]
    assert content["config"] == config
    assert content["classes"] == ["0", "1", "2"]
    assert content["shape"] == [1, 8, 8]
    assert content["metrics"] == metrics
    assert len(list((tmp_path / "checkpoints").glob("step_*.pt"))) == 2
    out = capsys.readouterr().out
    assert "process: rank 0 of 1 (single process), cpu, 1 thread(s)" in out
    assert "\nepoch 3/3  train loss " in out
    right = round(metrics["test_accuracy"] * 13)
    assert out.endswith(f"test accuracy {metrics['test_accuracy']:.4f} ({right} of 13 images)\n")


def same_weights(first, second):
    a, b = (torch.load(folder / "model.pt", weights_only=True)["model"] for folder in (first, second))
    return list(a) == list(b) and all(a[name].numpy().tobytes() == b[name].numpy().tobytes() for name in a)


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(config, tmp_path):
    for name in ("first", "second"):
        torch.rand(7)  # what was drawn before must not matter
        train(config, Process(), tmp_path / name)
    assert same_weights(tmp_path / "first", tmp_path / "second")
    assert comparable(tmp_path / "first") == comparable(tmp_path / "second")
    train({**config, "seed": 4}, Process(), tmp_path / "other")
    assert not same_weights(tmp_path / "first", tmp_path / "other")


@pytest.mark.parametrize("every_steps", [None, 4])
@pytest.mark.parametrize("model", ["small", "batch norm"])
def test_killed_anywhere_and_resumed_is_as_if_never_stopped(config, tmp_path, monkeypatch, every_steps, model):
    config["trainer"]["checkpoint"]["every_steps"] = every_steps
    if model == "batch norm":
        (tmp_path / "normed_for_test.py").write_text(NORMED)
        monkeypatch.delitem(sys.modules, "normed_for_test", raising=False)
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.chdir(tmp_path)
        config["model"] = {"_target_": "normed_for_test.make"}
    train(config, Process(), tmp_path / "whole")
    resumed = tmp_path / "resumed"
    for step in (3, 7, 12, 17):
        with monkeypatch.context() as patch:
            killed_at(step, patch)
            with pytest.raises(Killed):
                train(config, Process(), resumed)
    train(config, Process(), resumed)
    assert same_weights(tmp_path / "whole", resumed)
    assert comparable(tmp_path / "whole") == comparable(resumed)


def test_a_model_that_asks_for_its_version_loads_what_was_saved(tmp_path):
    network = vision.torchvision().models.mnasnet0_5(num_classes=3)
    normal = Normalization((0.0,) * 3, (1.0,) * 3)
    empty = torch.zeros(0, 3, 32, 32)
    samples = InMemory(empty, torch.zeros(0, dtype=torch.int64))
    data = Data(samples, samples, ("a", "b", "c"), (3, 32, 32), normal)
    export.save_model(tmp_path / "model.pt", network, data, {}, {})
    network.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True)["model"])


NORMED = """
from torch import nn
def make(num_classes, in_channels):
    return nn.Sequential(nn.Conv2d(in_channels, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.3), nn.Flatten(),
                         nn.Linear(4 * 36, num_classes))
"""


def sigterm_at(step, monkeypatch):
    real = loop._train_step

    def stepping(training, images, labels):
        if training.progress.step == step:
            os.kill(os.getpid(), signal.SIGTERM)
        real(training, images, labels)

    monkeypatch.setattr(loop, "_train_step", stepping)


@pytest.mark.parametrize("step", [0, 4, 10])  # 4 and 10: the last step of an epoch is the one that hears of it
def test_sigterm_saves_where_it_was_and_the_rest_is_as_if_never_stopped(config, tmp_path, monkeypatch, step):
    config["trainer"]["checkpoint"]["every_epochs"] = None
    train(config, Process(), tmp_path / "whole")
    with monkeypatch.context() as patch:
        sigterm_at(step, patch)
        with pytest.raises(StoppedError, match=rf"SIGTERM: stopped at step {step + 2} ") as caught:
            train(config, Process(), tmp_path / "stopped")
    assert caught.value.exit_code == 143
    assert [path.name for path in (tmp_path / "stopped/checkpoints").glob("step_*")] == [f"step_{step + 2:08d}.pt"]
    train(config, Process(), tmp_path / "stopped")
    assert same_weights(tmp_path / "whole", tmp_path / "stopped")
    assert comparable(tmp_path / "whole") == comparable(tmp_path / "stopped")


def test_checkpoints_by_the_clock_are_written_within_an_epoch(config, tmp_path, monkeypatch):
    config["trainer"]["checkpoint"] |= {"every_epochs": None, "every_minutes": 1e-9, "keep": 9}
    with monkeypatch.context() as patch:
        killed_at(4, patch)
        with pytest.raises(Killed):
            train(config, Process(), tmp_path)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [
        f"step_{step:08d}.pt" for step in (1, 2, 3, 4)
    ]


# The rates of the epochs: the model is at its best in the second, and thrown out of it in the third.
RATES = {1: 1.0, 2: 1.0, 3: 300.0, 4: 1.0, 5: 1.0}


@pytest.mark.parametrize("killed", [False, True])
def test_the_best_model_is_kept_and_patience_ends_the_run(config, tmp_path, monkeypatch, capsys, killed):
    config["trainer"] |= {"epochs": 5, "monitor": {"metric": "test_loss", "patience": 2, "min_delta": 0.0}}
    monkeypatch.setattr(loop, "factor", lambda spec, step, epochs, per_epoch: RATES[step // per_epoch + 1])
    if killed:
        with monkeypatch.context() as patch:
            killed_at(20, patch)  # in the fourth epoch
            with pytest.raises(Killed):
                train(config, Process(), tmp_path)
    metrics = train(config, Process(), tmp_path)
    losses = [row["test_loss"] for row in rows(tmp_path)]
    assert len(losses) == 4
    assert min(losses) == losses[1] < losses[3] == metrics["test_loss"]
    best, last = (torch.load(tmp_path / name, weights_only=True) for name in ("best.pt", "model.pt"))
    assert best["metrics"]["test_loss"] == losses[1]
    assert (best["metrics"]["epoch"], best["metrics"]["step"]) == (2, 12)
    assert not all(torch.equal(best["model"][name], last["model"][name]) for name in last["model"])
    assert [path.name for path in (tmp_path / "checkpoints").glob("best_*")] == ["best_00000012.pt"]
    capsys.readouterr()
    train(config, Process(), tmp_path)  # there is nothing left to do, whatever the epochs say
    assert len(rows(tmp_path)) == 4


def test_the_evaluation_is_written_class_by_class(config, tmp_path):
    metrics = train(config, Process(), tmp_path)
    table = (tmp_path / "evaluation/confusion.csv").read_text().splitlines()
    counts = [[int(cell) for cell in line.split(",")[1:]] for line in table[1:]]
    assert sum(map(sum, counts)) == 13
    assert sum(counts[at][at] for at in range(3)) == round(metrics["test_accuracy"] * 13)


@pytest.mark.parametrize(
    ("trainer", "text"),
    [
        ({"accumulation": 9}, "trainer.accumulation: a batch of 8 images per process cannot be computed in 9 parts"),
        ({"fused": True}, "trainer.fused: 'torch.optim.LBFGS' has no fused form"),
    ],
)
def test_what_the_optimizer_or_the_batch_cannot_do_is_refused(config, tmp_path, trainer, text):
    config["trainer"] |= trainer
    if "fused" in trainer:
        config["optimizer"] = {"_target_": "torch.optim.LBFGS", "lr": 0.1}
    with pytest.raises(TrainError, match=text):
        train(config, Process(), tmp_path)


def test_every_way_to_be_fast_trains_to_the_same_end(config, tmp_path):
    """Rounding apart; compiling is tried by a slow test."""
    config["model"]["dropout"] = 0.0
    plain = train(config, Process(), tmp_path / "plain")
    for name, trainer in {
        "fused": {"fused": True},
        "parts": {"accumulation": 3},
        "channels_last": {"channels_last": True},
        "half": {"reference_batch_size": 4, "clip_norm": 1e6},
    }.items():
        changed = {**config, "trainer": {**config["trainer"], **trainer}}
        if name == "half":  # the rate for half the batch, doubled again by the rule
            changed["optimizer"] = {**config["optimizer"], "lr": config["optimizer"]["lr"] / 2}
        found = train(changed, Process(), tmp_path / name)
        assert found["test_loss"] == pytest.approx(plain["test_loss"], abs=1e-3), name


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated")  # torch's compiler, of torch
def test_compiled_is_the_same_and_says_so(config, tmp_path, capsys):
    config["model"]["dropout"] = 0.0
    plain = train(config, Process(), tmp_path / "plain")
    config["trainer"] |= {"compile": True, "epochs": 3}
    compiled = train(config, Process(), tmp_path / "compiled")
    assert compiled["test_loss"] == pytest.approx(plain["test_loss"], abs=1e-3)
    assert ", cpu, compiled, 1 thread(s) each" in capsys.readouterr().out
    names = [
        list(torch.load(tmp_path / name / "model.pt", weights_only=True)["model"]) for name in ("plain", "compiled")
    ]
    assert names[0] == names[1]


def test_a_finished_run_has_nothing_left_to_do(config, tmp_path, capsys):
    metrics = train(config, Process(), tmp_path)
    capsys.readouterr()
    assert train(config, Process(), tmp_path) == metrics
    out = capsys.readouterr().out
    assert "3 of 3 epochs done" in out
    assert "nothing left to train; trainer.resume=never starts over" in out
    assert len(rows(tmp_path)) == 3


def test_another_configuration_in_the_same_folder_starts_anew(config, tmp_path, capsys):
    train(config, Process(), tmp_path)
    other = {**config, "optimizer": {**config["optimizer"], "lr": 0.002}}
    assert identity(other) != identity(config)
    capsys.readouterr()
    train(other, Process(), tmp_path)
    assert "2 checkpoint(s) of another configuration" in capsys.readouterr().out
    assert rows(tmp_path)[0]["learning_rate"] == pytest.approx(0.002)


def test_a_checkpoint_of_another_model_is_refused(config, tmp_path):
    train(config, Process(), tmp_path / "first")
    config["model"]["width"] = 16
    config["trainer"]["resume"] = str(tmp_path / "first" / "checkpoints")
    with pytest.raises(TrainError, match=r"trainer.resume: the checkpoint is of another model or optimizer"):
        train(config, Process(), tmp_path / "second")


def test_given_hyperparameters_win_over_the_checkpoints(config, tmp_path):
    train(config, Process(), tmp_path / "first")
    config["trainer"] |= {"epochs": 5, "resume": str(tmp_path / "first" / "checkpoints")}
    config["optimizer"]["lr"] = 0.5
    config["schedule"] = {"kind": "constant", "warmup_epochs": 0}
    train(config, Process(), tmp_path / "second")
    assert [row["learning_rate"] for row in rows(tmp_path / "second")][3:] == [0.5, 0.5]


def test_a_loss_that_is_no_number_stops_the_run_at_its_step(config, tmp_path, monkeypatch):
    (tmp_path / "bad_for_test.py").write_text(BAD)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    config["model"] = {"_target_": "bad_for_test.Bad"}
    with pytest.raises(DivergedError) as caught:
        train(config, Process(), tmp_path / "run")
    assert str(caught.value).startswith("the loss became nan or inf at step 9 (epoch 2, batch 3 of 6, training images ")
    assert caught.value.exit_code == 1
    kept = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert kept == ["best_00000006.pt", "step_00000006.pt"]
    assert not (tmp_path / "run" / "model.pt").exists()


BAD = """
import torch
from torch import nn
class Bad(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.linear, self.steps = nn.Linear(64, num_classes), 0
    def forward(self, images):
        if self.training and torch.is_grad_enabled():
            self.steps += 1
        return self.linear(images.flatten(1)) * (float("nan") if self.steps == 9 else 1.0)
"""


def test_a_tracker_that_fails_does_not_stop_the_training(config, tmp_path, monkeypatch, capsys):
    class Failing:
        def __init__(self, outputs, rows):
            pass

        def write(self, row):
            raise ConnectionError("server gone")

    monkeypatch.setitem(tracking.TRACKERS, "failing", Failing)
    config["tracking"]["trackers"] = ["failing", "jsonl"]
    train(config, Process(), tmp_path)
    assert len(rows(tmp_path)) == 3
    err = capsys.readouterr().err
    assert err.count("tracker 'failing' failed and is off from here: ConnectionError('server gone')") == 1


def test_an_unknown_tracker_is_refused():
    with pytest.raises(TrainError, match=r"tracking.trackers: 'tensorbord' is unknown"):
        tracking.Trackers().open(["tensorbord"], Path(), [])


def test_data_that_returns_something_else_is_refused(config, tmp_path):
    config["data"] = {"_target_": "train.models.small_cnn.SmallCNN", "num_classes": 2}
    with pytest.raises(TrainError, match=r"must return a train.data.Data, not SmallCNN"):
        train(config, Process(), tmp_path)


@pytest.mark.slow
def test_digits_reach_the_promised_accuracy(config, tmp_path):
    config["data"] = {"_target_": "train.data.digits.load"}
    config["model"] = {"_target_": "train.models.small_cnn.SmallCNN"}
    config["optimizer"]["lr"] = 0.005
    config["trainer"] |= {"epochs": 15, "batch_size": 64}
    assert train(config, Process(), tmp_path)["test_accuracy"] >= 0.98
