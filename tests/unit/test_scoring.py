"""From an image file to an answer: the same numbers as in training, and what a request may be."""

from __future__ import annotations

import base64
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from runner import packaging, scoring
from runner.errors import TargetError
from tests.conftest import Cli

LABELS = ["dark", "red", "green", "blue"]
STEPS = {"channels": 3, "size": 6, "resize": 7, "resample": "bilinear"}
COLOURS = {"red": (250, 10, 20), "green": (10, 240, 30), "blue": (0, 30, 255), "dark": (0, 0, 0)}


def make_model(path: Path, **changes: Any) -> Path:
    """Answers with the colour that is strongest on the average."""
    weights = np.array([[0, 0, 0], [4, -2, -2], [-2, 4, -2], [-2, -2, 4]], np.float32).T
    nodes = [
        helper.make_node("ReduceMean", ["images", "axes"], ["means"], keepdims=0),
        helper.make_node("MatMul", ["means", "weights"], ["logits"]),
    ]
    constants = [
        numpy_helper.from_array(np.array([2, 3], np.int64), "axes"),
        numpy_helper.from_array(weights, "weights"),
    ]
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, 6, 6])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 4])
    graph = helper.make_graph(nodes, "colours", [images], [logits], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    said = {"format": 1, "labels": LABELS, "shape": [3, 6, 6], "preprocessing": STEPS}
    said |= {"normalization": {"mean": [0.0] * 3, "std": [1.0] * 3}, **changes}
    if changes.get("format") != "foreign":
        model.metadata_props.add(key="amlrun", value=json.dumps(said))
    onnx.save(model, path)
    return path


def picture(path: Path, colour: str, size: tuple[int, int] = (30, 20)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, COLOURS[colour]).save(path)
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return make_model(tmp_path / "colours.onnx")


@pytest.fixture
def served(model: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("AZUREML_MODEL_DIR", str(model.parent))
    scoring.init()
    yield
    scoring._served.clear()


def encoded(colour: str, kind: str = "PNG") -> str:
    content = io.BytesIO()
    Image.new("RGB", (9, 9), COLOURS[colour]).save(content, kind)
    return base64.b64encode(content.getvalue()).decode()


def test_grey_models_read_photographs_as_grey(tmp_path: Path) -> None:
    steps = {"channels": 1, "size": 2, "resize": 2, "resample": "bilinear"}
    path = make_model(tmp_path / "m.onnx", preprocessing=steps, normalization={"mean": [0.5], "std": [0.25]})
    image = picture(tmp_path / "a.png", "green")
    grey = Image.open(image).convert("L").getpixel((0, 0))
    found = scoring.read_image(scoring.load(path), image)
    assert found.shape == (1, 2, 2)
    assert found.ravel().tolist() == pytest.approx([(float(grey) / 255 - 0.5) / 0.25] * 4, abs=1e-6)  # type: ignore[arg-type]


def test_predict_answers_for_files_folders_and_patterns(cli: Cli, model: Path) -> None:
    folder = model.parent
    for number in range(40):  # more than a batch
        picture(folder / f"many/{number:02}.png", ("red", "green", "blue")[number % 3], (5 + number, 44 - number))
    picture(folder / "many/more/dark.jpg", "dark")
    (folder / "many/notes.txt").write_text("no image, and not taken for one")
    picture(folder / "a=b.png", "red")

    done = cli(folder, "models", "predict", "colours.onnx", "many", "a=b.png", "many/0[01].png", "--json")

    assert (done.code, done.err) == (0, "")
    answer = json.loads(done.out)
    assert answer["model"] == "colours.onnx"
    rows = answer["predictions"]
    assert [row["image"] for row in rows] == [*(f"many/{n:02}.png" for n in range(40)), "many/more/dark.jpg", "a=b.png"]
    assert [row["label"] for row in rows] == [*(("red", "green", "blue")[n % 3] for n in range(40)), "dark", "red"]
    assert [len(row["labels"]) for row in rows] == [3] * 42
    assert all(row["probability"] == max(row["probabilities"]) for row in rows)


def test_predict_prints_a_line_for_each_image(cli: Cli, model: Path) -> None:
    picture(model.parent / "a.png", "red")
    done = cli(model.parent, "models", "predict", "colours.onnx", "a.png", "--top", "2")
    first, second = done.out.split("  ")[1:]
    assert done.out.startswith("a.png  red 0.9")
    assert second.split()[0] in LABELS
    assert float(first.split()[1]) > float(second.split()[1])


def test_an_unreadable_image_is_named_and_the_others_are_answered(cli: Cli, model: Path) -> None:
    folder = model.parent
    picture(folder / "a.png", "red")
    (folder / "torn.png").write_bytes((folder / "a.png").read_bytes()[:60])
    (folder / "text.png").write_text("no image")
    picture(folder / "z.png", "blue")

    done = cli(folder, "models", "predict", "colours.onnx", "a.png", "torn.png", "text.png", "gone.png", "z.png")

    assert done.code == 2
    assert [line.split()[:2] for line in done.out.splitlines()] == [["a.png", "red"], ["z.png", "blue"]]
    assert [line.split("'")[1] for line in done.err.splitlines()] == ["torn.png", "text.png", "gone.png"]
    assert "amlrun: 'text.png' is no image in a format that Pillow reads; repair it or leave it out\n" in done.err


@pytest.mark.parametrize(
    ("changes", "words", "code", "expected"),
    [
        (
            {"format": "foreign"},
            ["a.png"],
            4,
            "does not say its labels and preprocessing (no 'amlrun' in its metadata)",
        ),
        ({"format": 7}, ["a.png"], 4, "is of format 7 and this reads 1"),
        ({"preprocessing": None}, ["a.png"], 2, "'a.png' the model was not trained on image files"),
        ({}, [], 2, "no image is named; amlrun models predict MODEL IMAGE|FOLDER..."),
        ({}, ["empty"], 2, "no image is in 'empty'; images end in .bmp"),
        ({}, ["no*.png"], 2, "no image is in 'no*.png'"),
    ],
)
def test_what_predict_refuses(
    changes: dict[str, Any], words: list[str], code: int, expected: str, cli: Cli, tmp_path: Path
) -> None:
    make_model(tmp_path / "m.onnx", **changes)
    picture(tmp_path / "a.png", "red")
    (tmp_path / "empty").mkdir()
    done = cli(tmp_path, "models", "predict", "m.onnx", *words)
    assert (done.code, done.out) == (code, "")
    assert expected in done.err


def test_without_onnxruntime_it_says_what_to_install(cli: Cli, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "runner.scoring")
    monkeypatch.delattr("runner.scoring")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    done = cli(model.parent, "models", "predict", "colours.onnx", "a.png")
    assert (done.code, done.err) == (4, "amlrun: 'onnxruntime' is not installed; pip install 'amlrun[onnx]'\n")


NUMBERS = np.full((3, 6, 6), 0.1)
NUMBERS[2] = 0.9


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (encoded("red"), ["red"]),
        ([encoded("green", "JPEG"), encoded("blue")], ["green", "blue"]),
        (
            [f"data:image/png;base64,{encoded('blue')}", encoded("red")[:40] + "\n" + encoded("red")[40:]],
            ["blue", "red"],
        ),
        ([encoded("red"), "!!!", "AAAA", encoded("blue")], ["red", None, None, "blue"]),
        (NUMBERS.tolist(), ["blue"]),
        ((NUMBERS * 1e5).tolist(), ["blue"]),  # e to this is no number any more
        ([NUMBERS.tolist(), NUMBERS[::-1].tolist()], ["blue", "red"]),
    ],
)
def test_a_request_holds_images_or_numbers(data: Any, expected: list[str | None], served: None) -> None:
    for request in (json.dumps({"data": data}), json.dumps({"data": data}).encode(), {"data": data}):
        answer = scoring.run(request)
        assert json.loads(json.dumps(answer)) == answer
        assert [row.get("label") for row in answer["predictions"]] == expected
        assert [bool(row.get("error")) for row in answer["predictions"]] == [label is None for label in expected]
    if isinstance(data, list):
        assert scoring.run(json.dumps(data)) == answer


@pytest.mark.parametrize(
    ("request_text", "expected"),
    [
        ("no json", "Expecting value"),
        ("{}", 'send {"data": IMAGES}'),
        ('{"data": []}', 'send {"data": IMAGES}'),
        ('{"data": [1, 2]}', "has the shape (2,); the model takes (3, 6, 6)"),
        ('{"data": [[1], [2, 3]]}', "neither base64 text nor a regular list of numbers"),
        ('{"data": ["AAAA", 1]}', "neither base64 text nor a regular list of numbers"),
    ],
)
def test_another_request_is_answered_with_what_is_wrong(request_text: str, expected: str, served: None) -> None:
    answer = scoring.run(request_text)
    assert list(answer) == ["error"]
    assert expected in answer["error"]


def test_the_service_wants_one_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZUREML_MODEL_DIR", str(tmp_path))
    with pytest.raises(scoring.ScoringError, match=r"holds 0 \.onnx files and not one"):
        scoring.init()


def test_a_package_is_tried_and_answers_as_predict_does(cli: Cli, model: Path) -> None:
    folder = model.parent
    picture(folder / "a.png", "green")
    done = cli(folder, "models", "package", "colours.onnx", "a.png", "--json")
    assert done.code == 0, done.err
    made = folder / "colours-package"
    manifest = json.loads(done.out)
    assert sorted(path.name for path in made.iterdir()) == sorted([*manifest["files"], "amlrun.json"])
    assert (made / "score.py").read_bytes() == Path(scoring.__file__).read_bytes()
    assert (made / "model.onnx").read_bytes() == model.read_bytes()
    predicted = json.loads(cli(folder, "models", "predict", "colours.onnx", "a.png", "--json").out)["predictions"][0]
    assert (manifest["label"], manifest["labels"][:3]) == ("green", predicted["labels"])
    environment = (made / "environment.yml").read_text()
    assert "onnxruntime==" in environment
    assert "azureml-defaults==" in environment
    assert "4 classes: dark, red, green, blue." in (made / "README.md").read_text()
    assert len((made / "README.md").read_text().splitlines()) <= 45


def test_a_package_replaces_its_own_files_and_no_others(cli: Cli, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packaging, "compare", lambda answer, expected: None)
    monkeypatch.setattr(packaging, "tried", lambda made: {})
    folder = model.parent
    (folder / "mine").mkdir()
    (folder / "mine/README.md").write_text("mine")
    refused = cli(folder, "models", "package", "colours.onnx", "--output", "mine")
    assert (refused.code, refused.out) == (4, "")
    assert "'mine' holds files that no package wrote; choose another --output, or --force" in refused.err
    assert (folder / "mine/README.md").read_text() == "mine"
    (folder / "mine/notes").write_text("kept")
    assert cli(folder, "models", "package", "colours.onnx", "--output", "mine", "--force").code == 0
    assert (folder / "mine/notes").read_text() == "kept"
    (folder / "mine/score.py").write_text("old")
    again = cli(folder, "models", "package", "colours.onnx", "--output", "mine")
    assert again.code == 0, again.err
    assert "init()" in (folder / "mine/README.md").read_text()
    assert (folder / "mine/score.py").read_text() != "old"
    assert [path for path in folder.iterdir() if path.name.startswith(".amlrun")] == []


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        ("def init(): pass\ndef run(data): return {'predictions': [{'labels': ['red']}]}", "and 'predict'"),
        ("def init(): pass\ndef run(data): return {'error': 'no'}", "the package answers {'error': 'no'}"),
        ("import not_there_at_all", "the package does not run (ModuleNotFoundError: No module named"),
    ],
)
def test_a_package_that_does_not_answer_right_is_not_written(
    score: str, expected: str, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = model.parent / "other.py"
    other.write_text(score)
    monkeypatch.setattr(scoring, "__file__", str(other))
    with pytest.raises(TargetError) as caught:
        packaging.package(model, model.parent / "made", None, False)
    assert expected in str(caught.value)
    assert not (model.parent / "made").exists()


@pytest.mark.parametrize(
    ("here", "newest", "expected"),
    [
        ("1.32.0+cpu", None, "1.32.0"),
        ("2.4.6", "2.3.2", "2.3.2"),
        ("2.2.6", "2.3.2", "2.2.6"),
        ("2.10.0", "2.9.9", "2.9.9"),
    ],
)
def test_versions_are_those_of_here_that_the_server_admits(here: str, newest: str | None, expected: str) -> None:
    assert packaging.pinned(here, newest) == expected
