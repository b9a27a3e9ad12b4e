"""Where the metrics of each epoch go: always to outputs/metrics.jsonl, and to the chosen trackers."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from train.errors import TrainError

Row = Mapping[str, Any]
AXES = ("epoch", "epochs", "step")
FLUSH_SECONDS = 60


class Tracker(Protocol):
    """`rows` written before a resume are given again at opening: a tracker may drop what came after them."""

    def write(self, row: Row) -> None: ...

    def close(self) -> None: ...


class JsonLines:
    """outputs/metrics.jsonl: one JSON object per line, on disk before `write` returns."""

    def __init__(self, outputs: Path, rows: Sequence[Row]) -> None:
        outputs.mkdir(parents=True, exist_ok=True)
        self._file = (outputs / "metrics.jsonl").open("w", encoding="utf-8")
        for row in rows:
            self.write(row)

    def write(self, row: Row) -> None:
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()


class TensorBoard:
    """outputs/tensorboard: event files; `tensorboard --logdir` shows them."""

    def __init__(self, outputs: Path, rows: Sequence[Row]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(outputs / "tensorboard"))
        for row in rows:
            self.write(row)

    def write(self, row: Row) -> None:
        for name, value in numbers(row).items():
            self._writer.add_scalar(name, value, row.get("epoch"))
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class MLflow:
    """The run that MLFLOW_TRACKING_URI and MLFLOW_RUN_ID name (Azure ML sets both), else a store in outputs/mlruns."""

    def __init__(self, outputs: Path, rows: Sequence[Row]) -> None:
        import mlflow

        if not os.environ.get("MLFLOW_TRACKING_URI"):
            # MLflow 3 wants a database; of a folder that travels with the run's outputs, files are the right form.
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
            mlflow.set_tracking_uri((outputs / "mlruns").resolve().as_uri())
        self._mlflow: Any = mlflow
        mlflow.start_run()
        for row in rows:
            self.write(row)

    def write(self, row: Row) -> None:
        self._mlflow.log_metrics(numbers(row), step=row.get("epoch"))

    def close(self) -> None:
        self._mlflow.end_run()


class AzureRun:
    """The metrics of the run in Azure ML, through azureml-core, as `run.log` does."""

    def __init__(self, outputs: Path, rows: Sequence[Row]) -> None:
        if not os.environ.get("AZUREML_RUN_ID"):
            raise TrainError("tracker 'azureml' is for runs on Azure ML; here metrics are in outputs/metrics.jsonl")
        from azureml.core import Run

        self._run: Any = Run.get_context(allow_offline=False)
        for row in rows:
            self.write(row)

    def write(self, row: Row) -> None:
        for name, value in numbers(row).items():
            self._run.log(name, value, step=row.get("epoch"))

    def close(self) -> None:
        self._run.flush(timeout_seconds=FLUSH_SECONDS)


def numbers(row: Row) -> dict[str, float]:
    """What of a row is a metric: its numbers, without the axis that they are drawn over."""
    plain = {name: value for name, value in row.items() if isinstance(value, int | float) and name not in AXES}
    return {name: float(value) for name, value in plain.items() if not isinstance(value, bool)}


TRACKERS: dict[str, Callable[[Path, Sequence[Row]], Tracker]] = {
    "jsonl": JsonLines,
    "tensorboard": TensorBoard,
    "mlflow": MLflow,
    "azureml": AzureRun,
}


class Trackers:
    """All that were chosen. One that fails is reported once on stderr and left alone from then on."""

    def __init__(self) -> None:
        self._open: dict[str, Tracker] = {}

    def open(self, names: Sequence[str], outputs: Path, rows: Sequence[Row]) -> None:
        unknown = [name for name in names if name not in TRACKERS]
        if unknown:
            raise TrainError(f"tracking.trackers: '{unknown[0]}' is unknown; use one of {', '.join(TRACKERS)}")
        for name in dict.fromkeys(["jsonl", *names]):
            self._guard(name, partial(self._start, name, outputs, rows))

    def write(self, row: Row) -> None:
        for name, tracker in list(self._open.items()):
            self._guard(name, partial(tracker.write, row))

    def close(self) -> None:
        for name, tracker in list(self._open.items()):
            self._guard(name, tracker.close)
        self._open.clear()

    def _start(self, name: str, outputs: Path, rows: Sequence[Row]) -> None:
        self._open[name] = TRACKERS[name](outputs, rows)

    def _guard(self, name: str, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:  # noqa: BLE001 - whatever a tracker does, hours of training are worth more
            self._open.pop(name, None)
            print(f"train: tracker '{name}' failed and is off from here: {error!r}", file=sys.stderr, flush=True)
