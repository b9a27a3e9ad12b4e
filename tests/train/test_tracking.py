"""Trackers: each is given every row, those before a resume too; one that fails never stops the training."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from train.errors import TrainError
from train.tracking import TRACKERS, Trackers, numbers

EARLIER = [{"epoch": 1, "epochs": 3, "loss": 2.0, "accuracy": 0.25, "note": "text", "best": True}]
ROW = {"epoch": 2, "epochs": 3, "loss": 1.0, "accuracy": 0.5}


def logged(outputs: Path, *names: str) -> None:
    trackers = Trackers()
    trackers.open(names, outputs, EARLIER)
    trackers.write(ROW)
    trackers.close()


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ({}, {}),
        ({"epoch": 1, "epochs": 2}, {}),
        (EARLIER[0], {"loss": 2.0, "accuracy": 0.25}),
        ({"loss": float("inf"), "steps": 3, "name": "1"}, {"loss": float("inf"), "steps": 3.0}),
    ],
)
def test_metrics_are_the_numbers_of_a_row(row: dict[str, Any], found: dict[str, float]) -> None:
    assert numbers(row) == found


def test_jsonl_is_written_whatever_is_chosen(tmp_path: Path) -> None:
    logged(tmp_path / "outputs")
    lines = (tmp_path / "outputs" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [*EARLIER, ROW]


@pytest.mark.slow  # imports tensorboard: 4 s
def test_tensorboard_reads_what_was_written(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs tensorboard: pip install 'amlrun[tracking]'")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logged(tmp_path, "tensorboard")
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert sorted(events.Tags()["scalars"]) == ["accuracy", "loss"]
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(1, 2.0), (2, 1.0)]


@pytest.mark.slow  # imports mlflow: 2 s
@pytest.mark.filterwarnings("ignore::FutureWarning")  # MLflow's, of its file store
def test_mlflow_keeps_a_store_in_the_outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow", reason="needs mlflow-skinny: pip install 'amlrun[tracking]'")
    from mlflow import MlflowClient

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    logged(tmp_path, "mlflow")
    client = MlflowClient((tmp_path / "mlruns").as_uri())
    [run] = client.search_runs(["0"])
    assert run.info.status == "FINISHED"
    history = client.get_metric_history(run.info.run_id, "loss")
    assert [(metric.step, metric.value) for metric in history] == [(1, 2.0), (2, 1.0)]


@pytest.fixture
def sdk(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """azureml.core as far as it is used; what its run was told."""
    told: list[tuple[Any, ...]] = []
    run = SimpleNamespace(
        log=lambda name, value, step: told.append((name, value, step)),
        flush=lambda timeout_seconds: told.append(("flush", timeout_seconds)),
    )
    core = ModuleType("azureml.core")
    core.Run = SimpleNamespace(get_context=lambda allow_offline: run)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "azureml", ModuleType("azureml"))
    monkeypatch.setitem(sys.modules, "azureml.core", core)
    monkeypatch.setenv("AZUREML_RUN_ID", "r")
    return told


def test_azureml_logs_to_the_run_and_waits_until_it_has_arrived(tmp_path: Path, sdk: list[tuple[Any, ...]]) -> None:
    logged(tmp_path, "azureml")
    assert sdk == [("loss", 2.0, 1), ("accuracy", 0.25, 1), ("loss", 1.0, 2), ("accuracy", 0.5, 2), ("flush", 60)]


def test_azureml_is_off_where_the_run_is_not_on_azure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("AZUREML_RUN_ID", raising=False)
    logged(tmp_path, "azureml")
    said = capsys.readouterr().err
    assert said.startswith("train: tracker 'azureml' failed and is off from here")
    assert "for runs on Azure ML; here metrics are in outputs/metrics.jsonl" in said
    assert (tmp_path / "metrics.jsonl").is_file()


@pytest.mark.parametrize("step", ["open", "write", "close"])
def test_a_tracker_that_fails_is_said_once_and_the_others_go_on(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Broken:
        def __init__(self, outputs: Path, rows: Any) -> None:
            self.at("open")

        def write(self, row: Any) -> None:
            self.at("write")

        def close(self) -> None:
            self.at("close")

        def at(self, where: str) -> None:
            if where == step:
                raise OSError(f"no {where}")

    monkeypatch.setitem(TRACKERS, "broken", Broken)
    trackers = Trackers()
    trackers.open(["broken"], tmp_path, [])
    for _ in range(3):
        trackers.write(ROW)
    trackers.close()

    assert capsys.readouterr().err.count("train: tracker 'broken' failed and is off from here") == 1
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 3


def test_an_unknown_tracker_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(TrainError, match=r"tracking.trackers: 'wandb' is unknown; use one of jsonl, tensorboard"):
        Trackers().open(["jsonl", "wandb"], tmp_path / "outputs", [])
    assert not (tmp_path / "outputs").exists()
