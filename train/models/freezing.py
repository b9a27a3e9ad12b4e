"""Which parameters learn in which epoch: all, only the head, or from the head inwards.

What is frozen keeps its values and its statistics: `hold_statistics` leaves frozen batch normalisation on what the
weights came with, and frozen dropout off.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from train.errors import TrainError
from train.models.heads import find_head

# A network with fewer blocks below its head is opened: its largest block gives way to what is in it.
FEWEST_BLOCKS = 4

# Of the epoch and `trainer.freeze.epochs`: how many blocks below the head learn; None: all there are.
STAGES: dict[str, Callable[[int, int], int | None]] = {
    "none": lambda _epoch, _every: None,
    "backbone": lambda _epoch, _every: 0,
    "gradual": lambda epoch, every: epoch // every,
}


def set_trainable(model: nn.Module, spec: Mapping[str, Any], epoch: int) -> bool:
    """Let learn what `spec` (`trainer.freeze`) lets learn in this epoch (counted from 0); whether that is a change.

    Depends on nothing but its arguments, so a resumed run is in the stage of an uninterrupted one. Raises TrainError
    for a model that has no head.
    """
    blocks = STAGES[str(spec["kind"])](epoch, int(spec.get("epochs") or 1))
    learning = _learning(model, blocks) if blocks is not None else None
    changed = False
    for name, parameter in model.named_parameters():
        wanted = learning is None or name in learning
        changed |= parameter.requires_grad != wanted
        parameter.requires_grad_(wanted)
    return changed


def hold_statistics(model: nn.Module) -> None:
    """To be called after `model.train()`: modules of which nothing learns go back to evaluation mode."""
    for module in model.modules():
        parameters = list(module.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            module.eval()


def blocks_below_head(model: nn.Module) -> list[list[str]]:
    """Names of all parameters but the head's, in blocks from the input to the head.

    A block is a child of the model; large ones are opened until there are FEWEST_BLOCKS. Vectors alone (a
    normalisation) are no block, they belong to the one before.
    """
    head = _head_of(model)
    blocks: list[tuple[str, nn.Module]] = [("", model)]
    while len(_joined(model, blocks, head)) < FEWEST_BLOCKS:
        at = max(range(len(blocks)), key=lambda at: _size_inside(blocks[at][1]))
        name, largest = blocks[at]
        if not _size_inside(largest):
            break
        blocks[at : at + 1] = [(f"{name}.{child}" if name else child, part) for child, part in largest.named_children()]
    return _joined(model, blocks, head)


def _learning(model: nn.Module, blocks: int) -> set[str] | None:
    """Names of what learns when the head and so many blocks below it do; None: everything."""
    head, below = _head_of(model), blocks_below_head(model)
    if blocks >= max(1, len(below)):
        return None
    return {name for name, _ in model.named_parameters() if _within(name, head)}.union(*below[len(below) - blocks :])


def _head_of(model: nn.Module) -> str:
    head = find_head(model)
    if head is None:
        raise TrainError(
            f"trainer.freeze: '{type(model).__name__}' ends in no linear layer that could learn alone; "
            f"use trainer.freeze.kind=none"
        )
    return head


def _within(name: str, module: str) -> bool:
    return not module or name.startswith(f"{module}.")


def _size_inside(module: nn.Module) -> int:
    """Numbers in the parameters of what the module is made of; 0: it cannot be opened."""
    return sum(parameter.numel() for child in module.children() for parameter in child.parameters())


def _joined(model: nn.Module, modules: list[tuple[str, nn.Module]], head: str) -> list[list[str]]:
    """A list of parameters per module; what lies in none of them (a class token) is at the input."""
    left = {name: p for name, p in model.named_parameters() if not _within(name, head)}
    found: list[list[str]] = []
    for module, _ in modules:
        mine = [name for name in left if _within(name, module)]
        starts = any(left[name].dim() > 1 for name in mine)
        found.append(mine) if starts or not found else found[-1].extend(mine)
    taken = {name for block in found for name in block}
    found[0][:0] = [name for name in left if name not in taken]
    return [block for block in found if block]
