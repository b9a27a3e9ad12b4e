from __future__ import annotations

import pytest

from train import best, monitor
from train.errors import TrainError


def spec(metric="test_accuracy", patience=None, min_delta=0.0):
    return {"metric": metric, "patience": patience, "min_delta": min_delta}


def rows(*values, metric="test_accuracy"):
    return [{metric: value} for value in values]


@pytest.mark.parametrize(
    ("values", "chosen", "expected"),
    [
        ((0.5, 0.7, 0.6), spec(), 1),
        ((0.5, 0.7, 0.7), spec(), 1),  # the first of equals
        ((0.5, 0.7, 0.75, 0.81), spec(min_delta=0.1), 3),
        ((0.5, 0.55, 0.61), spec(min_delta=0.1), 2),  # little by little counts in the end
        ((0.5,), spec(), 0),
    ],
)
def test_the_best_is_the_one_that_none_beat(values, chosen, expected):
    assert monitor.best(rows(*values), chosen) == expected


def test_of_losses_the_lowest_is_best():
    assert monitor.best(rows(0.9, 0.4, 0.5, metric="test_loss"), spec("test_loss")) == 1


@pytest.mark.parametrize(
    ("values", "patience", "expected"),
    [
        ((), 1, False),
        ((0.5,), 1, False),
        ((0.5, 0.4), 1, True),
        ((0.5, 0.4), 2, False),
        ((0.5, 0.4, 0.5), 2, True),
        ((0.5, 0.4, 0.6), 2, False),
        ((0.5, 0.4, 0.3, 0.2), None, False),
    ],
)
def test_patience_is_counted_from_the_best(values, patience, expected):
    assert monitor.exhausted(rows(*values), spec(patience=patience)) is expected


def test_an_unknown_metric_is_refused():
    with pytest.raises(TrainError, match=r"trainer.monitor.metric: 'f1' is not measured; use one of test_accuracy"):
        monitor.best(rows(0.1), spec("f1"))


def test_others_are_forgotten_and_the_best_is_published_whole(tmp_path):
    checkpoints, said = tmp_path / "checkpoints", []
    checkpoints.mkdir()
    for step in (6, 12):
        best.path_of(checkpoints, step).write_text(str(step))
    (checkpoints / "step_00000012.pt").touch()
    best.forget_others(checkpoints, 12)
    assert sorted(path.name for path in checkpoints.iterdir()) == ["best_00000012.pt", "step_00000012.pt"]
    best.publish(tmp_path, 12, said.append)
    assert (tmp_path / "best.pt").read_text() == "12"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.pt", "checkpoints"]
    assert said == []


def test_a_best_model_that_is_gone_is_said(tmp_path):
    said = []
    best.publish(tmp_path, None, said.append)
    assert said == []
    best.publish(tmp_path, 6, said.append)
    assert said == ["best: the model of step 6 was lost with the disk it was on; model.pt is the last epoch's"]
    assert not (tmp_path / "best.pt").exists()
