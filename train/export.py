"""The trained model as one file that says all that is needed to use it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from train.checkpoint import write_whole
from train.data import Data


def save_model(
    path: Path, model: nn.Module, data: Data, config: Mapping[str, Any], metrics: Mapping[str, float]
) -> None:
    """Write weights (on the CPU), configuration, classes, image shape, normalisation and metrics.

    `torch.load(path, weights_only=True)` reads it: plain containers and tensors, no pickled code.
    """
    content = {
        "model": {name: value.cpu() for name, value in model.state_dict().items()},
        "config": dict(config),
        "classes": list(data.classes),
        "shape": list(data.shape),
        "normalization": {"mean": list(data.normalization.mean), "std": list(data.normalization.std)},
        "metrics": dict(metrics),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(content, path)
