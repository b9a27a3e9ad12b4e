"""model.onnx: that it answers as torch does, says what it needs, and is not there when it does not."""

from __future__ import annotations

import json
import math
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import yaml
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import nn

from runner import scoring
from tests.conftest import ROOT
from train import export
from train.data import folder, synthetic
from train.errors import TrainError
from train.models import build_model
from train.models.small_cnn import SmallCNN

SPEC = {"onnx": True, "opset": 18, "tolerance": 1e-4}
MODELS = sorted((ROOT / "configs/model").glob("*.yaml"))


@pytest.fixture
def data():
    return synthetic.load(classes=3, channels=1, size=8, train_images=4, test_images=23)


@pytest.fixture
def quick(monkeypatch):
    """Only the tracing exporter: the other takes seconds."""
    monkeypatch.setattr(export, "EXPORTERS", {"trace": export._traced})


def seen(path, images):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"images": images.numpy()})[0]


def test_the_file_answers_as_torch_does_and_says_what_it_needs(data, quick, tmp_path, monkeypatch):
    monkeypatch.setenv("AMLRUN_RUN_ID", "small-1")
    model = SmallCNN(3, 1, width=8, dropout=0.5).train()
    model.head.eval()  # a frozen part
    said, before = [], {name: value.clone() for name, value in model.state_dict().items()}

    metadata = export.write_onnx(tmp_path / "outputs/model.onnx", model, data, SPEC, said.append)

    assert (model.training, model.features.training, model.head.training) == (True, True, False)
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())
    assert [path.name for path in (tmp_path / "outputs").iterdir()] == ["model.onnx"]
    model.eval()
    for count in (1, 3, 23):
        images = data.test.images[:count]
        assert np.abs(seen(tmp_path / "outputs/model.onnx", images) - model(images).detach().numpy()).max() < 1e-5
    proto = onnx.load(tmp_path / "outputs/model.onnx")
    onnx.checker.check_model(proto, full_check=True)
    assert proto.opset_import[0].version == 18
    stored = {each.key: json.loads(each.value) for each in proto.metadata_props}[scoring.METADATA]
    assert stored == json.loads(json.dumps(metadata))
    assert (stored["format"], stored["labels"], stored["shape"]) == (scoring.FORMAT, ["0", "1", "2"], [1, 8, 8])
    assert stored["normalization"]["mean"] == list(data.normalization.mean)
    assert (stored["provenance"]["run"], stored["provenance"]["torch"]) == ("small-1", str(torch.__version__))
    assert (stored["parity"]["images"], stored["parity"]["batches"]) == (23, [1, 2, 7])
    assert 0 <= stored["parity"]["max_abs_difference"] < 1e-5
    assert f"{stored['parity']['max_abs_difference']:.1e} on 23 test images (tolerance 0.0001)" in said[0]


def test_the_images_of_the_check_come_in_batches_of_each_size(data):
    assert [len(batch) for batch in export._test_images(data)] == [1, 2, 7, 1, 2, 7, 1, 2]
    few = synthetic.load(classes=3, channels=1, size=8, train_images=4, test_images=4)
    assert [len(batch) for batch in export._test_images(few)] == [1, 2, 7]
    many = synthetic.load(classes=3, channels=1, size=8, train_images=4, test_images=1000)
    batches = torch.cat(export._test_images(many))
    assert len(batches) == 64
    assert batches[-1].equal(many.test.images[63 * 1000 // 64])


class Wrong(nn.Module):
    """Whatever a trace cannot see: here, that the second batch is another one than the first."""

    def __init__(self, extra):
        super().__init__()
        self.linear, self.extra = nn.Linear(64, 3), extra

    def forward(self, images):
        return self.linear(images.flatten(1)) + (self.extra if torch.onnx.is_in_onnx_export() else 0.0)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (Wrong(0.25), r"differ from torch's by up to 0\.25 on 23 test images, and export\.tolerance is 0\.0001"),
        (Wrong(math.nan), r"differ from torch's by up to nan"),
        (nn.Sequential(nn.Flatten(), nn.AdaptiveMaxPool1d(3)), r"'Sequential' cannot be exported \(trace: .*opset"),
    ],
)
def test_what_does_not_agree_leaves_no_file(model, expected, data, quick, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"of an earlier run")
    with pytest.raises(TrainError, match=expected):
        export.write_onnx(path, model, data, SPEC, print)
    assert list(tmp_path.iterdir()) == []


def test_the_next_exporter_is_asked_when_one_fails_or_is_wrong(data, tmp_path, monkeypatch):
    def failing(model, example, opset):
        raise RuntimeError("no such operator\nand a page of backtrace")

    exporters = {"failing": failing, "wrong": lambda *given: export._traced(Wrong(9.0), *given[1:])}
    monkeypatch.setattr(export, "EXPORTERS", {**exporters, "right": export._traced})
    metadata = export.write_onnx(tmp_path / "model.onnx", SmallCNN(3, 1, width=8), data, SPEC, print)
    assert metadata["provenance"]["exporter"] == "right"
    monkeypatch.setattr(export, "EXPORTERS", exporters)
    with pytest.raises(TrainError, match=r"\(failing: no such operator; wrong: the file's answers differ"):
        export.write_onnx(tmp_path / "model.onnx", SmallCNN(3, 1, width=8), data, SPEC, print)


@pytest.mark.parametrize("name", ["onnx", "onnxruntime"])
def test_a_missing_package_is_told_of_before_training(name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    export.require_onnx({**SPEC, "onnx": False})
    with pytest.raises(TrainError, match=rf"export.onnx: '{name}' is not installed; pip install 'amlrun\[onnx\]'"):
        export.require_onnx(SPEC)


def test_images_become_the_numbers_that_training_saw(quick, tmp_path):
    """Bit for bit, on photographs of odd sizes, formats and modes, against the test images of train.data.folder."""
    china, flower = (Image.fromarray(image) for image in load_sample_images().images)
    photos = {
        "a": [china, china.crop((3, 5, 104, 402)), china.crop((0, 0, 41, 37)), china.convert("L"), china.rotate(90)],
        "b": [flower.crop((9, 9, 640, 52)), flower.convert("P"), flower.convert("CMYK"), flower.resize((55, 55))],
    }
    for name, images in photos.items():
        for part, kept in (("train", images[-1:]), ("val", images)):
            (tmp_path / part / name).mkdir(parents=True)
            for number, image in enumerate(kept):
                suffix = "tif" if image.mode == "CMYK" else "jpg" if number == 1 and image.mode == "RGB" else "png"
                image.save(tmp_path / part / name / f"{number}.{suffix}")
    data = folder.load(str(tmp_path), size=48)
    export.write_onnx(tmp_path / "model.onnx", SmallCNN(2, 3, width=8), data, SPEC, print)
    scorer = scoring.load(tmp_path / "model.onnx")
    assert len(data.test) == 9
    for at, (name, _) in enumerate(data.test.files):
        assert np.array_equal(scoring.read_image(scorer, tmp_path / name), data.test[at][0].numpy()), name


def warmed(model, images):
    """With the BatchNorm statistics and heads that they start with, some models answer 0 whatever they see."""
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = None
        if isinstance(part, nn.Linear) and not part.weight.any():
            nn.init.normal_(part.weight, std=0.1)
    with torch.no_grad():
        model.train()(images)
    return model


@pytest.mark.slow
@pytest.mark.parametrize("file", MODELS, ids=lambda path: path.stem)
def test_every_model_of_the_configuration_is_exported(file, tmp_path):
    spec = {**yaml.safe_load(file.read_text()), "weights": None}
    spec = {key: value for key, value in spec.items() if key != "weights" or "torchvision" in spec["_target_"]}
    size = spec.get("image_size", 224 if "vit_" in spec["_target_"] else 64)
    data = synthetic.load(classes=5, channels=3, size=size, train_images=8, test_images=10)
    torch.manual_seed(0)
    model = warmed(build_model(spec, data, ROOT), data.train.images).to(memory_format=torch.channels_last)
    found = export.write_onnx(tmp_path / "model.onnx", model, data, {**SPEC, "tolerance": 1e-3}, print)
    images = data.test.images[:7]
    with torch.no_grad():
        wanted = model.eval()(images).numpy()
    assert wanted.std() > 1e-3  # it tells images apart, so that agreeing means something
    for count in (1, 2, 7):
        assert np.abs(seen(tmp_path / "model.onnx", images[:count]) - wanted[:count]).max() <= 1e-4
    assert found["parity"]["max_abs_difference"] <= 1e-4
    assert len(MODELS) >= 3
