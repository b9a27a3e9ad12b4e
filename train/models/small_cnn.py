"""A convolutional network that trains in seconds on a CPU."""

from __future__ import annotations

import torch
from torch import nn


class SmallCNN(nn.Module):
    """Three convolutions at two resolutions, global average, linear head: (B, C, H, W) to (B, classes).

    Group normalisation on purpose: it looks at one image at a time, so how a batch is divided among processes changes
    nothing, and there are no running statistics to keep equal between them (Wu and He 2018, arXiv:1803.08494).
    """

    def __init__(self, num_classes: int, in_channels: int = 3, width: int = 24, dropout: float = 0.0) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_block(in_channels, width), *_block(width, 2 * width), nn.MaxPool2d(2), *_block(2 * width, 4 * width)
        )
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(4 * width, num_classes)
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.features(images))
        return logits


def _block(inputs: int, outputs: int) -> list[nn.Module]:
    # Groups of 8 channels where that divides, else of one: layers stay valid for any width.
    groups = outputs // 8 if outputs % 8 == 0 else outputs
    return [
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.GroupNorm(groups, outputs),
        nn.ReLU(inplace=True),
    ]
