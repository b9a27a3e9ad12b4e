"""How good a model is on images it was not trained on."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from train.data.batches import Loader, loaded
from train.group import Group


@torch.inference_mode()
def evaluate(group: Group, model: nn.Module, tests: Loader, expected: int) -> tuple[float, int]:
    """Mean loss and number of right answers over the whole held-out part, each image counted once by one rank."""
    group.share_buffers(model)
    model.eval()
    sums = torch.zeros(3, dtype=torch.float64, device=group.device)
    for images, labels in loaded(tests):
        logits, wanted = model(group.on_device(images)), group.on_device(labels)
        sums[0] += functional.cross_entropy(logits, wanted, reduction="sum")
        sums[1] += (logits.argmax(1) == wanted).sum()
        sums[2] += len(wanted)
    loss, correct, count = group.total(sums).tolist()
    assert count == expected, f"{count} of {expected} test images were evaluated"
    return loss / count, int(correct)
