"""The losses of the first steps of every experiment, as they were recorded: what is trained, on what, in which order.

A change in data, seeds, initial weights, augmentation, learning rates or the loss shows here. AMLRUN_REWRITE=1 records
them anew; the tolerance is for other processors' rounding.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from runner.compose import compose
from tests.conftest import ROOT
from tests.train.test_data_experiments import FILES
from tests.train.test_idx import NAMES
from train import loop, step
from train.process import Process

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

RECORDED = Path(__file__).with_name("first_losses.json")
STEPS = 5


class Enough(BaseException):
    """No `except Exception` sees it."""


def idx(folder: Path) -> list[str]:
    for part, content in FILES.items():
        (folder / NAMES[part]).write_bytes(gzip.compress(content))
    named = [f"data.files.{part}={{name: {NAMES[part]}, checksum: null}}" for part in FILES]
    return [*named, f"data.path={folder}", "data.url=null", "trainer.batch_size=16", "distribution=none"]


def birds(folder: Path) -> list[str]:
    [_, *overrides] = photographs(folder)
    return [*overrides, f"data.path={folder}", "data.url=null", "model.weights=null"]


def photographs(folder: Path) -> list[str]:
    """Noise around another grey for each class: two of 16 images, six of them held out."""
    draw = np.random.default_rng(0)
    for part, count in (("train", 16), ("val", 6)):
        for label, grey in (("a", 80), ("b", 170)):
            (folder / part / label).mkdir(parents=True)
            for number in range(count):
                pixels = draw.normal(grey, 40, (48, 56, 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / part / label / f"{number}.png")
    return [f"inputs.images.path={folder}", "data.size=32", "trainer.batch_size=8", "trainer.workers=0"]


# What an experiment needs that is not here: data that are downloaded, or the user's own.
SUBSTITUTES: dict[str, Callable[[Path], list[str]]] = {
    "birds": birds,
    "tutorial-sweep": birds,
    "folder": photographs,
    "mnist": idx,
    "mnist-ddp": idx,
    "mnist-horovod": idx,
}
EXPERIMENTS = sorted(
    path.stem for path in (ROOT / "configs/experiment").glob("*.yaml") if "script:" not in path.read_text()
)


def first_losses(config: dict[str, Any], outputs: Path, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    losses: list[float] = []
    real = step.Stepper.step

    def recording(self: step.Stepper, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        losses.append(float(real(self, images, labels)))
        if len(losses) == STEPS:
            raise Enough
        return torch.tensor(losses[-1])

    monkeypatch.setattr(step.Stepper, "step", recording)
    with pytest.raises(Enough):
        loop.train(config, Process(), outputs)
    return losses


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_first_losses(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    (tmp_path / "data").mkdir()
    overrides = SUBSTITUTES.get(name, lambda _: [])(tmp_path / "data")
    [config] = compose(ROOT, [[f"experiment={name}", "trainer.threads=1", *overrides]])
    assert config.problems == ()
    found = first_losses(dict(config.values), tmp_path / "outputs", monkeypatch)
    if os.environ.get("AMLRUN_REWRITE"):
        recorded = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
        lines = [f'  "{key}": {json.dumps(value)}' for key, value in sorted({**recorded, name: found}.items())]
        RECORDED.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    assert found == pytest.approx(json.loads(RECORDED.read_text())[name], rel=0.02, abs=0.02)


def test_every_experiment_is_recorded() -> None:
    assert sorted(json.loads(RECORDED.read_text())) == EXPERIMENTS
    assert len(EXPERIMENTS) >= 9
