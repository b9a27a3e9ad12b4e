"""Answers of a model.onnx that says what it needs, for image files here (`amlrun models predict`) and, copied as
score.py, for requests to a web service on Azure (`init`, `run`): what was tried is what is served.

Stands alone: Python, numpy, Pillow and onnxruntime. Annotations are no strings here: Azure's server runs the file
without naming it in sys.modules, where a dataclass would look up what they mean.
"""

import base64
import binascii
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image, UnidentifiedImageError

METADATA = "amlrun"  # the key in the file; train/export.py writes it
FORMAT = 1
TOP = 5  # answers for each image of a request
RESAMPLE = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
MODES = {1: "L", 3: "RGB"}


class ScoringError(Exception):
    """What the caller can mend: the file, an image, a request."""


@dataclass(frozen=True)
class Scorer:
    """A model in memory. `mean` and `std` are (channels, 1, 1); `steps` is None if images do not fit the model."""

    session: Any
    labels: tuple[str, ...]
    shape: tuple[int, int, int]
    mean: np.ndarray
    std: np.ndarray
    steps: Mapping[str, Any] | None


def load(path: Path, threads: int = 0) -> Scorer:
    """The model of a file; `threads` 0: all cores. Raises ScoringError for what is no such file."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no base class but Exception
        raise ScoringError(f"'{path}' is no ONNX file that onnxruntime reads ({first_line(error)})") from error
    text = session.get_modelmeta().custom_metadata_map.get(METADATA)
    if text is None:
        raise ScoringError(
            f"'{path}' does not say its labels and preprocessing (no '{METADATA}' in its metadata); "
            f"export it with 'amlrun run ... export.onnx=true'"
        )
    said = json.loads(text)
    if said["format"] != FORMAT:
        raise ScoringError(f"'{path}' is of format {said['format']} and this reads {FORMAT}; use the amlrun of its run")
    mean, std = (np.array(said["normalization"][key], np.float32)[:, None, None] for key in ("mean", "std"))
    return Scorer(session, tuple(said["labels"]), tuple(said["shape"]), mean, std, said["preprocessing"])


def read_image(scorer: Scorer, source: str | Path | bytes) -> np.ndarray:
    """A file, or the bytes of one, to what the model takes (channels, height, width). Raises ScoringError."""
    if scorer.steps is None:
        raise ScoringError("the model was not trained on image files and does not say how to read them; send numbers")
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            pixels = image.convert(MODES[scorer.steps["channels"]])
    except UnidentifiedImageError as error:
        raise ScoringError("is no image in a format that Pillow reads") from error
    except Exception as error:  # what Pillow raises depends on the format and on what is wrong in it
        raise ScoringError(f"cannot be read as an image ({first_line(error)})") from error
    return prepare(scorer, pixels)


def prepare(scorer: Scorer, pixels: Image.Image) -> np.ndarray:
    """The test images' way in training, number for number: torchvision's Resize, CenterCrop, ToDtype, Normalize."""
    assert scorer.steps is not None
    size, shorter = scorer.steps["size"], scorer.steps["resize"]
    scaled = [int(shorter * side / min(pixels.size)) for side in pixels.size]
    if scaled != list(pixels.size):
        pixels = pixels.resize(scaled, RESAMPLE[scorer.steps["resample"]])
    left, top = round((scaled[0] - size) / 2), round((scaled[1] - size) / 2)
    cut = np.asarray(pixels.crop((left, top, left + size, top + size)), np.float32)
    channels_first = cut[None] if cut.ndim == 2 else cut.transpose(2, 0, 1)  # grey has no third axis
    numbers: np.ndarray = (channels_first * np.float32(1 / 255) - scorer.mean) / scorer.std
    return numbers


def classify(scorer: Scorer, images: Sequence[np.ndarray], top: int = TOP) -> list[dict[str, Any]]:
    """For each image the `top` best labels, and how probable each is."""
    (logits,) = scorer.session.run(["logits"], {"images": np.stack(images).astype(np.float32)})
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    answers = []
    for row in shifted / shifted.sum(axis=1, keepdims=True):
        best = np.argsort(-row, kind="stable")[:top]
        labels, probabilities = [scorer.labels[at] for at in best], [float(row[at]) for at in best]
        answers.append({"label": labels[0], "probability": probabilities[0]})
        answers[-1] |= {"labels": labels, "probabilities": probabilities}
    return answers


def first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]


# The web service: Azure calls `init` once, then `run` for each request.

_served: list[Scorer] = []


def init() -> None:
    """Load the model.onnx that is somewhere below AZUREML_MODEL_DIR."""
    folder = Path(os.environ["AZUREML_MODEL_DIR"])
    found = sorted(folder.rglob("*.onnx"))
    if len(found) != 1:
        raise ScoringError(f"'{folder}' holds {len(found)} .onnx files and not one; register the model alone")
    _served[:] = [load(found[0])]


def run(data: str | bytes | Mapping[str, Any]) -> dict[str, Any]:
    """JSON `{"data": ...}`: base64 of an image file, or a list of them, or numbers as the model takes them.

    Returns `{"predictions": [...]}`, one for each image: label, probability, and the best labels with their
    probabilities; or `{"error": ...}` in the place of an image that is none, and of the whole for no such request
    (what is raised here reaches no client: Azure's server answers 500 without a word of it).
    """
    (scorer,) = _served
    try:
        return {"predictions": predictions(scorer, data)}
    except (ScoringError, ValueError) as error:
        return {"error": first_line(error)}


def predictions(scorer: Scorer, data: str | bytes | Mapping[str, Any]) -> list[dict[str, Any]]:
    given = json.loads(data) if isinstance(data, (str, bytes, bytearray)) else data
    values = given.get("data") if isinstance(given, Mapping) else given
    items = [values] if isinstance(values, str) else values
    if not isinstance(items, list) or not items:
        raise ScoringError('send {"data": IMAGES}: base64 of an image file, a list of them, or a list of numbers')
    if all(isinstance(item, str) for item in items):
        return answer(scorer, items)
    return classify(scorer, list(numbers_of(scorer, items)))


def answer(scorer: Scorer, texts: Iterable[str]) -> list[dict[str, Any]]:
    """One image that cannot be read spoils no other."""
    read: list[np.ndarray | str] = []
    for text in texts:
        try:
            read.append(read_image(scorer, base64.b64decode(plain(text), validate=True)))
        except (ScoringError, binascii.Error) as error:
            read.append(str(error))
    images = [image for image in read if not isinstance(image, str)]
    answers = iter(classify(scorer, images) if images else ())
    return [{"error": image} if isinstance(image, str) else next(answers) for image in read]


def plain(text: str) -> str:
    """Base64 as browsers (`data:image/png;base64,...`) and command lines (broken into lines) write it."""
    return "".join(text.partition(",")[2 if text.startswith("data:") else 0].split())


def numbers_of(scorer: Scorer, items: list[Any]) -> np.ndarray:
    """A normalised image (channels, height, width), or several of them."""
    try:
        numbers = np.array(items, np.float32)
    except (TypeError, ValueError) as error:
        raise ScoringError(
            f"'data' is neither base64 text nor a regular list of numbers ({first_line(error)})"
        ) from error
    if numbers.shape == scorer.shape:
        numbers = numbers[None]
    if numbers.shape[1:] != scorer.shape:
        raise ScoringError(f"'data' has the shape {numbers.shape}; the model takes {scorer.shape} for each image")
    return numbers
