"""The trained model as files that say all that is needed to use them: model.pt, and model.onnx for other programs."""

from __future__ import annotations

import importlib
import json
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import default_collate

from train.checkpoint import write_whole
from train.data import Data
from train.errors import TrainError

METADATA = "amlrun"  # the key in the file; runner/scoring.py reads it
FORMAT = 1
IMAGES, BATCHES = 64, (1, 2, 7)
NEEDED = ("onnx", "onnxruntime")


def save_model(
    path: Path, model: nn.Module, data: Data, config: Mapping[str, Any], metrics: Mapping[str, float]
) -> None:
    """Write weights (on the CPU), configuration, classes, image shape, normalisation and metrics.

    `torch.load(path, weights_only=True)` reads it: plain containers and tensors, no pickled code.
    """
    content = {
        "model": _on_cpu(model.state_dict()),
        "config": dict(config),
        "classes": list(data.classes),
        "shape": list(data.shape),
        "normalization": {"mean": list(data.normalization.mean), "std": list(data.normalization.std)},
        "metrics": dict(metrics),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(content, path)


def _on_cpu(state: dict[str, Any]) -> dict[str, Any]:
    """The same mapping: it carries versions that some models (mnasnet) ask for when they load it."""
    for name, value in state.items():
        state[name] = value.cpu()
    return state


def require_onnx(spec: Mapping[str, Any]) -> None:
    """Raises TrainError if `export.onnx` is on and a package that it needs is missing: before hours of training."""
    for name in NEEDED if spec["onnx"] else ():
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            raise TrainError(f"export.onnx: '{name}' is not installed; pip install 'amlrun[onnx]'") from error


def write_onnx(
    path: Path, model: nn.Module, data: Data, spec: Mapping[str, Any], say: Callable[[str], None]
) -> dict[str, Any]:
    """Write `model` for batches of any size, with what is needed to use it in the file's metadata; returns that.

    Every number of up to 64 test images' logits must be within `spec["tolerance"]` of torch's on the CPU, at batches of
    1, 2 and 7, when onnxruntime runs the file. Else TrainError, and there is no file at `path`.
    """
    require_onnx({**spec, "onnx": True})
    path.unlink(missing_ok=True)
    batches = _test_images(data)
    with _plain(model):
        wanted = [_logits_of_torch(model, images) for images in batches]
        proto, how, difference = _first_that_agrees(model, batches, wanted, spec)
    count = sum(map(len, batches))
    parity = {"max_abs_difference": difference, "tolerance": spec["tolerance"], "images": count, "batches": BATCHES}
    metadata = {**_description(data), "parity": parity, "provenance": _provenance(model, how, spec)}
    _store(proto, metadata, path)
    say(
        f"onnx: {path}, {path.stat().st_size / 1e6:.1f} MB, opset {spec['opset']}: differs from torch by at most "
        f"{difference:.1e} on {count} test images (tolerance {spec['tolerance']:g})"
    )
    return metadata


def _test_images(data: Data) -> list[torch.Tensor]:
    """Batches of 1, 2, 7, 1, 2, 7, ... of images spread over the held-out part; at least one batch of each size."""
    most = min(IMAGES, len(data.test))
    count = max(most, sum(BATCHES))
    places = [at * len(data.test) // most for at in range(most)]
    images = [data.test[place][0] for place in places]
    batches, start, turn = [], 0, 0
    while start < count:
        end = min(count, start + BATCHES[turn % len(BATCHES)])
        batches.append(default_collate([images[at % most] for at in range(start, end)]))
        start, turn = end, turn + 1
    return batches


@contextmanager
def _plain(model: nn.Module) -> Iterator[None]:
    """`model` on the CPU, evaluating; afterwards where and as it was."""
    device = next((tensor.device for tensor in model.state_dict().values()), torch.device("cpu"))
    modes = [(part, part.training) for part in model.modules()]
    model.to("cpu").eval()
    try:
        yield
    finally:
        model.to(device)
        for part, training in modes:
            part.training = training


def _logits_of_torch(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = model(images)
    return logits


def _first_that_agrees(
    model: nn.Module, batches: list[torch.Tensor], wanted: list[torch.Tensor], spec: Mapping[str, Any]
) -> tuple[Any, str, float]:
    """The ONNX model (onnx.ModelProto), the exporter that made it, and how far its answers are from torch's."""
    failures = []
    for name, export in EXPORTERS.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of deprecation, and of Python branches that depend on sizes
                proto = export(model, batches[1], int(spec["opset"]))
            found = _logits_of_runtime(proto.SerializeToString(), batches)
        except Exception as error:  # noqa: BLE001 - whatever an operator or a library raises: the next one may do
            failures.append(f"{name}: {_first_line(error)}")
            continue
        difference = max(float((a - b).abs().max()) for a, b in zip(wanted, found, strict=True))
        if difference <= spec["tolerance"]:  # nan is not
            return proto, name, difference
        failures.append(
            f"{name}: the file's answers differ from torch's by up to {difference:.2g} on {sum(map(len, batches))} "
            f"test images, and export.tolerance is {spec['tolerance']:g}"
        )
    raise TrainError(
        f"export.onnx: '{type(model).__name__}' cannot be exported ({'; '.join(failures)}); "
        f"try another export.opset or export.tolerance, or set export.onnx=false"
    )


def _logits_of_runtime(content: bytes, batches: list[torch.Tensor]) -> list[torch.Tensor]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return [torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0]) for images in batches]


def _traced(model: nn.Module, example: torch.Tensor, opset: int) -> Any:
    import onnx

    with tempfile.TemporaryDirectory(prefix="amlrun-onnx-") as folder:
        file = Path(folder, "model.onnx")
        torch.onnx.export(
            model,
            (example,),
            file,
            dynamo=False,
            opset_version=opset,
            input_names=["images"],
            output_names=["logits"],
            dynamic_axes={"images": {0: "batch"}, "logits": {0: "batch"}},
        )
        return onnx.load(file)


def _captured(model: nn.Module, example: torch.Tensor, opset: int) -> Any:
    program = torch.onnx.export(
        model,
        (example,),
        dynamo=True,
        opset_version=opset,
        input_names=["images"],
        output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        verbose=False,
    )
    assert program is not None
    return program.model_proto


EXPORTERS: Mapping[str, Callable[[nn.Module, torch.Tensor, int], Any]] = {"trace": _traced, "dynamo": _captured}


def _description(data: Data) -> dict[str, Any]:
    """What a program needs that has nothing but the file."""
    normalization = {"mean": list(data.normalization.mean), "std": list(data.normalization.std)}
    steps = None if data.preprocessing is None else asdict(data.preprocessing)
    return {
        "format": FORMAT,
        "labels": list(data.classes),
        "shape": list(data.shape),
        "preprocessing": steps,
        "normalization": normalization,
    }


def _provenance(model: nn.Module, how: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    import onnxruntime

    return {
        "run": os.environ.get("AMLRUN_RUN_ID"),
        "model": f"{type(model).__module__}.{type(model).__qualname__}",
        "exporter": how,
        "opset": int(spec["opset"]),
        "torch": str(torch.__version__),
        "onnxruntime": str(onnxruntime.__version__),
    }


def _store(proto: Any, metadata: Mapping[str, Any], path: Path) -> None:
    """Whole or not at all. Paths of this machine (each node's backtrace, kept by an exporter) stay here."""
    for node in proto.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    proto.metadata_props.add(key=METADATA, value=json.dumps(metadata))
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(proto.SerializeToString())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]
