"""The model of a configuration, made to fit the data.

Models of this project are the other modules here; those of torchvision are built by name,
`model._target_=torchvision.models.NAME`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from train.build import build
from train.data import Data
from train.errors import TrainError


def build_model(spec: Mapping[str, Any], data: Data, root: Path) -> nn.Module:
    """The model with one output per class. With `weights` its last linear layer is replaced by a fresh one.

    Raises TrainError if it cannot take images of the data's shape.
    """
    channels, classes = data.shape[0], len(data.classes)
    if spec.get("weights"):
        model = build("model", spec, root, in_channels=channels)
        _replace_head(model, classes, str(spec["_target_"]))
    else:
        model = build("model", spec, root, in_channels=channels, num_classes=classes)
    if not isinstance(model, nn.Module):
        raise TrainError(f"model._target_: '{spec['_target_']}' returned no torch.nn.Module; use one that does")
    _check_fit(model, data, str(spec["_target_"]))
    return model


@contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """Put running statistics back afterwards: what is tried on blank images must not be learned from."""
    kept = [buffer.clone() for buffer in model.buffers()]
    yield
    with torch.no_grad():
        for buffer, before in zip(model.buffers(), kept, strict=True):
            buffer.copy_(before)


def _replace_head(model: nn.Module, classes: int, target: str) -> None:
    """Weights come with the head for their own classes. In torchvision's classifiers the last linear layer is it."""
    name = next((name for name, part in reversed(list(model.named_modules())) if isinstance(part, nn.Linear)), None)
    if name is None:
        raise TrainError(f"model.weights: '{target}' has no linear layer to replace for {classes} classes; use null")
    parent, _, attribute = name.rpartition(".")
    holder = model.get_submodule(parent)
    setattr(holder, attribute, nn.Linear(model.get_submodule(name).in_features, classes))  # type: ignore[arg-type]


def _check_fit(model: nn.Module, data: Data, target: str) -> None:
    """One pass over blank images: a mismatch shows here, in words, and not in the first step's backtrace."""
    shape = "x".join(str(number) for number in data.shape)
    try:
        with torch.no_grad(), unchanged(model):
            logits = model(torch.zeros(2, *data.shape))
    except RuntimeError as error:
        raise TrainError(
            f"model: '{target}' does not take images of {shape} (channels x height x width): {error}; "
            f"set data.channels or data.size, or another model"
        ) from error
    found = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
    if found != (2, len(data.classes)):
        raise TrainError(
            f"model: '{target}' gave {found} for 2 images of {len(data.classes)} classes; "
            f"it must return one number per class (torchvision's auxiliary heads: model.aux_logits=false)"
        )
