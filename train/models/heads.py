"""The head of a classifier: the last layer, whose outputs are the classes."""

from __future__ import annotations

from torch import nn


def find_head(model: nn.Module) -> str | None:
    """The name of the last linear layer; where there is none (squeezenet), of the last convolution, if it is 1 x 1.

    "Last" in the order in which the model's modules were made. None: the model ends in neither.
    """
    linear: list[str] = [name for name, part in model.named_modules() if isinstance(part, nn.Linear)]
    if linear:
        return linear[-1]
    convolutions = {name: part for name, part in model.named_modules() if isinstance(part, nn.Conv2d)}
    last = list(convolutions)[-1:]
    return last[0] if last and convolutions[last[0]].kernel_size == (1, 1) else None


def outputs_of(head: nn.Module) -> int:
    return head.out_channels if isinstance(head, nn.Conv2d) else int(head.out_features)  # type: ignore[arg-type]


def replace_head(model: nn.Module, name: str, classes: int) -> None:
    """A fresh layer of the same kind, with one output per class, in the place of the head."""
    old = model.get_submodule(name)
    parent, _, attribute = name.rpartition(".")
    setattr(model.get_submodule(parent), attribute, _fresh(old, classes))


def _fresh(old: nn.Module, classes: int) -> nn.Module:
    if isinstance(old, nn.Conv2d):
        return nn.Conv2d(old.in_channels, classes, 1, bias=old.bias is not None)
    return nn.Linear(int(old.in_features), classes, bias=old.bias is not None)  # type: ignore[arg-type]
