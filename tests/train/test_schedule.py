from __future__ import annotations

import math

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, StepLR

from train.errors import TrainError
from train.schedule import factor, set_rates

COSINE = {"kind": "cosine", "warmup_epochs": 0, "final_factor": 0.1}
STEP = {"kind": "step", "warmup_epochs": 0, "every_epochs": 2, "gamma": 0.5}


def torchs(scheduler_of, steps):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = scheduler_of(optimizer)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def test_cosine_is_torchs():
    ours = [factor(COSINE, step, 4, 5) for step in range(20)]
    assert ours == pytest.approx(torchs(lambda o: CosineAnnealingLR(o, T_max=20, eta_min=0.1), 20))


def test_step_is_torchs():
    ours = [factor(STEP, epoch * 3, 7, 3) for epoch in range(7)]
    assert ours == pytest.approx(torchs(lambda o: StepLR(o, step_size=2, gamma=0.5), 7))
    assert factor(STEP, 5, 7, 3) == 1.0
    assert factor(STEP, 6, 7, 3) == 0.5


def test_warmup_rises_linearly_to_one_and_the_shape_starts_after_it():
    spec = {**COSINE, "warmup_epochs": 1.5}
    assert [factor(spec, step, 4, 4) for step in range(7)] == pytest.approx(
        [1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1.0, 1.0]
    )
    half = 0.1 + 0.9 * (1 + math.cos(math.pi / 2)) / 2
    assert factor(spec, 11, 4, 4) == pytest.approx(half)


def test_constant_and_a_warmup_longer_than_the_run():
    assert factor({"kind": "constant", "warmup_epochs": 0}, 99, 3, 5) == 1.0
    assert factor({**COSINE, "warmup_epochs": 9}, 14, 3, 5) == pytest.approx(15 / 45)


def test_rates_are_scaled_from_what_they_were_built_with_however_often_they_are_set():
    groups = [{"params": [torch.zeros(1, requires_grad=True)], "lr": lr} for lr in (0.1, 0.2)]
    optimizer = torch.optim.SGD(groups)
    assert set_rates(optimizer, 0.5) == pytest.approx(0.05)
    assert set_rates(optimizer, 0.25) == pytest.approx(0.025)
    assert optimizer.param_groups[1]["lr"] == pytest.approx(0.05)


def test_an_unknown_kind_is_refused():
    with pytest.raises(TrainError, match="'linear' is unknown; use one of constant, step, cosine"):
        factor({"kind": "linear", "warmup_epochs": 0}, 0, 1, 1)
