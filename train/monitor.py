"""Which epoch was the best, and whether it is time to give up waiting for a better one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from train.errors import TrainError

# Metrics that can be watched, and which way is better.
METRICS: Mapping[str, int] = {"test_accuracy": 1, "test_loss": -1}


def best(rows: Sequence[Mapping[str, Any]], spec: Mapping[str, Any]) -> int:
    """The index of the row whose `spec.metric` no later one beat by more than `spec.min_delta`. `rows` has some.

    Raises TrainError for a metric that is not watched.
    """
    metric, sign = str(spec["metric"]), METRICS.get(str(spec["metric"]))
    if sign is None:
        raise TrainError(f"trainer.monitor.metric: '{metric}' is not measured; use one of {', '.join(METRICS)}")
    found = 0
    for index, row in enumerate(rows):
        if (row[metric] - rows[found][metric]) * sign > float(spec["min_delta"]):
            found = index
    return found


def exhausted(rows: Sequence[Mapping[str, Any]], spec: Mapping[str, Any]) -> bool:
    """Whether `spec.patience` epochs have passed since the best one."""
    patience = spec["patience"]
    return patience is not None and bool(rows) and len(rows) - 1 - best(rows, spec) >= int(patience)
