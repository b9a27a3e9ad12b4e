"""How the arithmetic is done: precision, memory format, compilation. What is computed changes by rounding alone."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from train.errors import TrainError

# Names in YAML to what autocast computes in; weights stay in float32.
PRECISIONS: Mapping[str, torch.dtype | None] = {"float32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, slots=True)
class Speed:
    """`scaler` keeps fp16 gradients from vanishing, and does nothing in other precisions."""

    device: torch.device
    dtype: torch.dtype | None
    channels_last: bool
    compile: bool
    scaler: torch.amp.GradScaler

    def autocast(self) -> AbstractContextManager[Any]:
        """Forward passes and losses belong inside (torch's automatic mixed precision), backward passes do not."""
        if self.dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.dtype)

    def form(self, tensor: torch.Tensor) -> torch.Tensor:
        """Images, or what stands for them, in the memory format of the model."""
        return tensor.to(memory_format=torch.channels_last) if self.channels_last else tensor

    def place(self, model: nn.Module) -> nn.Module:
        """`model` on the device, in the memory format."""
        placed: nn.Module = model.to(self.device)
        if self.channels_last:
            placed = placed.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return placed

    def faster(self, model: nn.Module) -> nn.Module:
        """`model` compiled, if that was asked for. Parameters and state stay those of `model`."""
        return torch.compile(model) if self.compile else model  # type: ignore[return-value]

    def describe(self) -> str:
        """What differs from the plain way, for people."""
        precision = next(name for name, dtype in PRECISIONS.items() if dtype == self.dtype)
        extras = [
            ("channels_last", self.channels_last),
            ("compiled", self.compile),
            (precision, precision != "float32"),
        ]
        return "".join(f", {name}" for name, on in extras if on)


def choose_speed(trainer: Mapping[str, Any], device: torch.device) -> Speed:
    """Raises TrainError for a precision that this device has not."""
    precision = str(trainer["precision"])
    if precision not in PRECISIONS:
        raise TrainError(f"trainer.precision: '{precision}' is unknown; use one of {', '.join(PRECISIONS)}")
    if precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise TrainError("trainer.precision: this GPU cannot compute in 'bf16' (it takes an A100 or newer); use 'fp16'")
    return Speed(
        device=device,
        dtype=PRECISIONS[precision],
        channels_last=bool(trainer["channels_last"]),
        compile=bool(trainer["compile"]),
        scaler=torch.amp.GradScaler(device.type, enabled=precision == "fp16"),
    )
