"""The model of a configuration, made to fit the data.

Models of this project are the other modules here; those of torchvision are built by name,
`model._target_=torchvision.models.NAME`. `model.weights` is a name that the target knows, or a file: see `weights.py`.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import nn

from train.build import build, find_target
from train.data import Data
from train.errors import TrainError
from train.models.download import fetch
from train.models.heads import find_head, outputs_of, replace_head
from train.models.weights import is_file, load, named, normalization_of, read

__all__ = ["build_model", "normalization_of", "unchanged"]

# Two of torchvision's models have further heads, for training alone, and in training return something else than logits.
AUXILIARY = ("aux1", "aux2", "AuxLogits")
# What the two need to be told. Their weights expect that they undo ImageNet's normalisation themselves: so with weights
# and without.
FROM_SCRATCH = {"aux_logits": False, "init_weights": True, "transform_input": True}
DEFAULTS = {"googlenet": FROM_SCRATCH, "inception_v3": FROM_SCRATCH}
# What a model raises for images that it does not take.
MISFIT = (RuntimeError, ValueError, AssertionError)
# Sides of images that are tried for the message when a model does not take the data's.
SIZES = (32, 64, 75, 96, 128, 224, 256, 299, 384, 448, 512, 518)


def build_model(spec: Mapping[str, Any], data: Data, root: Path) -> nn.Module:
    """The model with one output per class. With `weights` its head is replaced, unless it is for the same classes.

    Raises TrainError if it cannot take images of the data's shape, or if the weights do not fit.
    """
    target, classes = str(spec["_target_"]), len(data.classes)
    wanted = str(spec.get("weights") or "")
    file = read(wanted, root) if wanted and is_file(wanted, root) else None
    by_name = bool(wanted) and file is None
    if by_name and (entry := named(spec, root)) is not None:
        fetch(entry)
    model = _build(_arguments(spec, data, root, by_name), data, root, by_name)
    if by_name:
        _drop_auxiliary(model)
    if by_name or (file is not None and _outputs(model) not in (None, classes)):
        _replace_head(model, classes, target)
    if file is not None:
        load(model, file, data.classes)
    _check_fit(model, data, target)
    return model


@contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """Put running statistics back afterwards: what is tried on blank images must not be learned from."""
    kept = [buffer.clone() for buffer in model.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, before in zip(model.buffers(), kept, strict=True):
                buffer.copy_(before)


def _arguments(spec: Mapping[str, Any], data: Data, root: Path, by_name: bool) -> dict[str, Any]:
    """The target's own: `weights` only if they are its business, and what torchvision's models need to be told."""
    family, _, name = str(spec["_target_"]).rpartition(".")
    keys = dict(spec)
    if not by_name and not (spec.get("weights") is None and _takes_weights(spec, root)):
        keys.pop("weights", None)
    if not family.startswith("torchvision.models"):
        return keys
    if by_name:  # whose models are as their weights want them, and nothing may be said
        return {key: value for key, value in keys.items() if key not in ("aux_logits", "init_weights")}
    supplied: dict[str, Any] = {"image_size": data.shape[1]} if name.startswith("vit_") else DEFAULTS.get(name, {})
    return {**supplied, **keys}


def _takes_weights(spec: Mapping[str, Any], root: Path) -> bool:
    return "weights" in inspect.signature(find_target("model", str(spec["_target_"]), root)).parameters


def _build(arguments: Mapping[str, Any], data: Data, root: Path, by_name: bool) -> nn.Module:
    target = str(arguments["_target_"])
    # Weights by name come with the head for their own classes.
    supplied = {"in_channels": data.shape[0]} | ({} if by_name else {"num_classes": len(data.classes)})
    try:
        model = build("model", arguments, root, **supplied)
    except (ValueError, AssertionError) as error:
        raise TrainError(
            f"model: '{target}' refuses its arguments for images of {_shape(data)}: {error}; "
            f"set data.size, or change the keys of model"
        ) from error
    if not isinstance(model, nn.Module):
        raise TrainError(f"model._target_: '{target}' returned no torch.nn.Module; use one that does")
    return model


def _drop_auxiliary(model: nn.Module) -> None:
    if getattr(model, "aux_logits", False) is True:
        model.aux_logits = False  # type: ignore[assignment]
        for name in AUXILIARY:
            if hasattr(model, name):
                setattr(model, name, None)


def _outputs(model: nn.Module) -> int | None:
    head = find_head(model)
    return outputs_of(model.get_submodule(head)) if head is not None else None


def _replace_head(model: nn.Module, classes: int, target: str) -> None:
    name = find_head(model)
    if name is None:
        raise TrainError(f"model.weights: '{target}' has no linear layer to replace for {classes} classes; use null")
    replace_head(model, name, classes)


def _check_fit(model: nn.Module, data: Data, target: str) -> None:
    """One pass over blank images: a mismatch shows here, in words, and not in the first step's backtrace."""
    try:
        logits = _blank_pass(model, data.shape)
    except MISFIT as error:
        raise TrainError(
            f"model: '{target}' does not take images of {_shape(data)} (channels x height x width): {error}; "
            f"{_what_fits(model, data.shape[0])}"
        ) from error
    found = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
    if found != (2, len(data.classes)):
        raise TrainError(
            f"model: '{target}' gave {found} for 2 images of {len(data.classes)} classes; "
            f"it must return one number per class (torchvision's auxiliary heads: model.aux_logits=false)"
        )


def _blank_pass(model: nn.Module, shape: tuple[int, ...]) -> Any:
    with torch.no_grad(), unchanged(model):
        return model(torch.zeros(2, *shape))


def _what_fits(model: nn.Module, channels: int) -> str:
    for size in SIZES:
        with suppress(*MISFIT):
            _blank_pass(model, (channels, size, size))
            return f"it takes {size}x{size}: set data.size={size}"
    return "set data.channels or data.size, or another model"


def _shape(data: Data) -> str:
    return "x".join(map(str, data.shape))
