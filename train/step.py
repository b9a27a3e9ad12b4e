"""One step of the optimizer: forward and backward over the parts of a batch, gradients averaged, clipped, applied."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional
from torch.optim import Optimizer

from train.collectives import Collective
from train.speed import Speed


@dataclass(slots=True)
class Stepper:
    """`parallel` is the model as it is called while training; a batch is computed in `parts` that add up."""

    collective: Collective
    speed: Speed
    parallel: nn.Module
    optimizer: Optimizer
    parts: int
    clip_norm: float | None

    def step(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Learn from one batch (B, C, H, W), (B,). Returns its mean loss, detached, in float32."""
        self.optimizer.zero_grad()  # to None: what did not learn in this step has no gradient
        loss = torch.zeros((), device=images.device)
        for some, wanted, last in self._parts(images, labels):
            if last:
                loss += self._learn(some, wanted, len(wanted) / len(labels))
            else:
                with self.collective.alone(self.parallel):
                    loss += self._learn(some, wanted, len(wanted) / len(labels))
        with self.collective.reduce(self.optimizer):
            if self.clip_norm is not None:
                self.speed.scaler.unscale_(self.optimizer)
                nn.utils.clip_grad_norm_(self.parallel.parameters(), self.clip_norm)
            self.speed.scaler.step(self.optimizer)
        self.speed.scaler.update()
        return loss

    def _parts(self, images: torch.Tensor, labels: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor, bool]]:
        pairs = list(zip(images.tensor_split(self.parts), labels.tensor_split(self.parts), strict=True))
        for number, (some, wanted) in enumerate(pairs, 1):
            yield some, wanted, number == len(pairs)

    def _learn(self, images: torch.Tensor, labels: torch.Tensor, share: float) -> torch.Tensor:
        with self.speed.autocast():
            loss = functional.cross_entropy(self.parallel(images), labels)
        self.speed.scaler.scale(loss * share).backward()  # type: ignore[no-untyped-call]
        return loss.detach().float() * share
