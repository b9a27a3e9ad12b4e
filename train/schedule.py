"""Learning rate over the run, as a factor of `optimizer.lr`, set before every step.

A function of the step alone: there is no state to save, and nothing to call in the right order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from torch.optim import Optimizer

from train.errors import TrainError

Shape = Callable[[float, float, Mapping[str, Any]], float]


def set_rates(optimizer: Optimizer, scale: float) -> float:
    """Give each parameter group `scale` times the rate it was built with. Returns the first group's."""
    for group in optimizer.param_groups:
        group["lr"] = group.setdefault("initial_lr", group["lr"]) * scale
    return float(optimizer.param_groups[0]["lr"])


def factor(spec: Mapping[str, Any], step: int, epochs: int, steps_per_epoch: int) -> float:
    """What `optimizer.lr` is multiplied with in step `step`, counted from 0.

    Warm-up rises linearly and reaches 1 in its last step; the shape begins after it.
    """
    shape = SHAPES.get(str(spec["kind"]))
    if shape is None:
        raise TrainError(f"schedule.kind: '{spec['kind']}' is unknown; use one of {', '.join(SHAPES)}")
    warmup = round(float(spec["warmup_epochs"]) * steps_per_epoch)
    if step < warmup:
        return (step + 1) / warmup
    left = max(1, epochs * steps_per_epoch - warmup)
    return shape((step - warmup) / steps_per_epoch, (step - warmup) / left, spec)


def _constant(epochs: float, share: float, spec: Mapping[str, Any]) -> float:  # noqa: ARG001 - one signature in SHAPES
    return 1.0


def _step(epochs: float, share: float, spec: Mapping[str, Any]) -> float:  # noqa: ARG001
    # 1e-9: 3 epochs of 22 steps must not become 2.9999999.
    return float(spec["gamma"]) ** (int(epochs + 1e-9) // int(spec["every_epochs"]))


def _cosine(epochs: float, share: float, spec: Mapping[str, Any]) -> float:  # noqa: ARG001
    final = float(spec["final_factor"])
    return final + (1 - final) * (1 + math.cos(math.pi * min(share, 1.0))) / 2


# Arguments: epochs since the warm-up, and the same as a share of what the run has after it.
SHAPES: dict[str, Shape] = {"constant": _constant, "step": _step, "cosine": _cosine}
