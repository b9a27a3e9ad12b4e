"""What a registered model is said to be of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runner import history
from runner.targets.azureml_frameworks import framework_of
from tests.azureml.conftest import MakePlan
from tests.conftest import write

PINNED = "dependencies:\n  - python=3.11\n  - pip:\n      - torchvision==0.23.0\n      - torch==2.8.0\n"
AUTO = {"kind": "auto", "conda_file": "conda.yml", "pip": []}


@pytest.mark.parametrize(
    ("asked", "config", "expected"),
    [
        ({"path": "outputs/model.pt"}, {"env": AUTO}, ("PyTorch", "2.8.0")),
        ({"path": "outputs/checkpoints"}, {"env": {**AUTO, "pip": ["torch==2.9.1"]}}, ("PyTorch", "2.9.1")),
        ({"path": "outputs/model.pt"}, {"env": {"kind": "curated"}}, ("PyTorch", None)),
        ({"path": "outputs/model.pt"}, {"env": {**AUTO, "conda_file": "gone.yml"}}, ("PyTorch", None)),
        ({"path": "outputs/model.pt", "framework_version": "1.0"}, {"env": AUTO}, ("PyTorch", "1.0")),
        ({"path": "outputs/model.onnx"}, {"env": AUTO, "export": {"onnx": True, "opset": 17}}, ("Onnx", "1.12")),
        ({"path": "outputs/other.ONNX"}, {"env": AUTO, "export": {"onnx": False, "opset": 17}}, ("Onnx", None)),
        ({"path": "outputs/m.pkl", "framework": "ScikitLearn"}, {"env": AUTO}, ("ScikitLearn", None)),
    ],
)
def test_framework_and_version(
    asked: dict[str, Any], config: dict[str, Any], expected: tuple[str, str | None], make_plan: MakePlan, tmp_path: Path
) -> None:
    plan = make_plan(project=str(tmp_path), config={"register": asked, **config})
    write(history.snapshot_dir(tmp_path, plan.snapshot.digest), {"conda.yml": PINNED})

    assert framework_of(plan) == expected
