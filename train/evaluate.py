"""How good a model is on images it was not trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from train.data.batches import Loader, loaded
from train.group import Group

TOP = 5


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Of the whole held-out part: `loss` is the mean, the others count images.

    `confusion` is (classes, classes), int64, on the CPU: row = the true class, column = the answer. `correct_top5` is
    None where five guesses are no test: with up to five classes.
    """

    loss: float
    correct: int
    correct_top5: int | None
    count: int
    confusion: torch.Tensor

    @property
    def accuracy(self) -> float:
        return self.correct / self.count

    @property
    def accuracy_top5(self) -> float | None:
        return None if self.correct_top5 is None else self.correct_top5 / self.count


def evaluate(
    group: Group,
    model: nn.Module,
    forward: Callable[[torch.Tensor], torch.Tensor],
    tests: Loader,
    expected: int,
    classes: int,
) -> Evaluation:
    """The same on every rank: sums over all of them, each of the `expected` images counted once.

    `forward` takes images on the device to logits (B, classes) through `model`, which is left in evaluation mode.
    """
    group.share_buffers(model)
    model.eval()
    loss = torch.zeros(1, dtype=torch.float64, device=group.device)
    counts = torch.zeros(1 + classes * classes, dtype=torch.int64, device=group.device)
    with torch.inference_mode():
        for images, labels in loaded(tests, group.device):
            _add(loss, counts, forward(images), labels)
    counts = group.total(counts).cpu()
    confusion = counts[1:].view(classes, classes)
    count = int(confusion.sum())
    assert count == expected, f"{count} of {expected} test images were evaluated"
    return Evaluation(
        loss=group.total(loss).item() / count,
        correct=int(confusion.trace()),
        correct_top5=int(counts[0]) if classes > TOP else None,
        count=count,
        confusion=confusion,
    )


def _add(loss: torch.Tensor, counts: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor) -> None:
    """Nothing here waits for a GPU. Losses are added in float64: however they are divided among batches and ranks."""
    logits = logits.float()
    classes = logits.shape[1]
    loss += functional.cross_entropy(logits, labels, reduction="none").double().sum()
    if classes > TOP:
        counts[0] += (logits.topk(TOP).indices == labels[:, None]).sum()
    counts[1:].scatter_add_(0, labels * classes + logits.argmax(1), torch.ones_like(labels))
