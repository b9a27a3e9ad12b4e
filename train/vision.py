"""The one place that imports torchvision, on use: it takes a second, and half of the recipes never need it."""

from __future__ import annotations

import functools
import importlib
import re
import sys
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch

from train.errors import TrainError

MISSING_OPERATOR = re.compile(r"operator torchvision::(\w+) does not exist")

# The operators that torchvision looks up while it is imported (0.28: both).
SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
OPERATORS = ("nms", "qnms")

# A library's definitions vanish with the object that made them.
_KEPT: list[Any] = []


@functools.cache
def torchvision() -> ModuleType:
    """torchvision, also where it was built for CUDA and torch was not.

    That pair (a plain `pip install torchvision` beside a CPU build of torch) cannot load torchvision's own operators,
    and the import stops at the first one it looks up. With the schemas defined the import goes through: models,
    transforms and image folders work, detection models and `torchvision.io` do not. On a matched pair nothing is done.
    """
    for _ in OPERATORS:
        try:
            return _import()
        except ModuleNotFoundError as error:
            if error.name != "torchvision":
                raise
            raise TrainError("torchvision is not installed; pip install 'amlrun[train]'") from error
        except RuntimeError as error:
            missing = MISSING_OPERATOR.search(str(error))
            if missing is None or missing[1] not in OPERATORS:
                raise
            _define(missing[1])
    return _import()


def transforms() -> Any:
    """torchvision.transforms.v2"""
    torchvision()
    return importlib.import_module("torchvision.transforms.v2")


class Remade:
    """What `make(*arguments)` returns, called with one value; another process makes it anew.

    Pickled as it is, a transform of torchvision's would import torchvision there without the guard of `torchvision()`.
    """

    def __init__(self, make: Callable[..., Callable[[Any], Any]], *arguments: Any) -> None:
        self._recipe = (make, *arguments)
        self._made = make(*arguments)

    def __call__(self, value: Any) -> Any:
        return self._made(value)

    def __reduce__(self) -> tuple[Any, ...]:
        return Remade, self._recipe


def _define(operator: str) -> None:
    """Name the operator, and forget the modules that were imported halfway."""
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    library.define(f"{operator}{SCHEMA}")  # type: ignore[no-untyped-call]
    _KEPT.append(library)
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]


def _import() -> ModuleType:
    with warnings.catch_warnings():
        # The mismatched pair also warns that its image extension did not load; images are read with Pillow here.
        warnings.filterwarnings("ignore", message="Failed to load image Python extension")
        return importlib.import_module("torchvision")
