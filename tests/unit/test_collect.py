"""What a run left: the newest value of every metric, numbers worth a line, files, and the record of `show`."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from runner import history
from runner.collect import headline, last_values, output_files, summary
from runner.resources import packaged
from runner.spec import Failure, GitState, Layout, Run, SnapshotRef, State
from tests.conftest import write
from tests.plans import make_plan

START = "2026-01-01T00:00:00+00:00"


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], {}),
        ([{}], {}),
        ([{"a": 1}, {"a": 2}], {"a": 2}),
        ([{"a": 1, "b": 2}, {"a": 3}], {"a": 3, "b": 2}),  # what is measured now and then stays
        ([{"a": 1}, {"a": None}], {"a": None}),
        ([{"a": math.inf}, {}], {"a": math.inf}),
        ([{"a": {"x": 1}}, {"a": {"y": 2}}], {"a": {"y": 2}}),
        ([{"epoch": 2}, {"epoch": 1}], {"epoch": 1}),  # after a resume: the newest row, not the largest
    ],
)
def test_last_values(rows: list[dict[str, Any]], expected: dict[str, Any]) -> None:
    assert last_values(rows) == expected


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        ({}, []),
        ({"epoch": 3, "epochs": 9, "step": 1, "seconds": 2.5}, []),
        (
            {"train_loss": 1, "test_loss": 2, "best_x": 3, "val_y": 4},
            ["best x 3", "test loss 2", "val y 4", "train loss 1"],
        ),
        ({"a": math.nan, "b": -math.inf}, ["a nan", "b -inf"]),
        ({"a": True, "b": "1", "c": None, "d": [1], "e": {"x": 1}}, []),
        (
            {"a": 0, "b": -0.0, "c": 1e-10, "d": 123456.789, "e": 99999},
            ["a 0", "b -0", "c 1e-10", "d 1.235e+05", "e 1e+05"],
        ),
        ({"a": 10**308, "b": 10**400, "c": -(10**4000)}, ["a 1e+308"]),
        ({"": 1}, [" 1"]),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_headline(metrics: dict[str, Any], expected: list[str]) -> None:
    assert [f"{name} {value}" for name, value in headline(metrics)] == expected


def test_output_files_are_relative_sorted_and_no_folders(tmp_path: Path) -> None:
    write(tmp_path, {"b.txt": "", "a/c.txt": "", "a/ü.txt": "", "Z": ""})
    (tmp_path / "empty").mkdir()
    assert output_files(tmp_path) == ["Z", "a/c.txt", "a/ü.txt", "b.txt"]
    assert output_files(tmp_path / "gone") == []
    assert output_files(tmp_path / "Z") == []


@pytest.mark.parametrize("failure", [None, Failure("boom", 1, 3, "Traceback", "logs/rank_1.log", "mend it")])
def test_the_record_has_its_schemas_form(tmp_path: Path, failure: Failure | None) -> None:
    plan = make_plan(
        tmp_path,
        "r-1",
        layout=Layout("mpi", 2, 6),
        git=GitState("a" * 40, None, ("? x",), "ü" * 10),
        digests={"config": "1", "training": "2"},
        snapshot=SnapshotRef("3", 1, 1),
        tags={"a": "b"},
    )
    history.store_plan(tmp_path, plan)
    place = history.files(tmp_path, "r-1")
    write(
        place.root, {f"logs/rank_{rank}.log": "" for rank in (10, 2, 0)} | {"logs/launcher.log": "", "outputs/m.pt": ""}
    )
    run = Run("r-1", plan.url, "r", "local", State.FAILED, START, (("failed", START),), START, failure)
    record = summary(tmp_path, run, [{"a": 1}, {"a": 2}])
    schema = json.loads((packaged("schemas") / "show.schema.json").read_text())
    jsonschema.validate(record, schema)
    assert set(record) == set(schema["properties"])
    assert [Path(path).name for path in record["logs"]] == ["rank_0.log", "rank_2.log", "rank_10.log"]
    assert record["files"] == ["m.pt"]
    assert record["git"] == {"commit": "a" * 40, "branch": None, "dirty": ["? x"], "diff_bytes": 20}
    assert record["digest"] == {"config": "1", "training": "2", "snapshot": "3"}
    assert (record["metrics"], len(record["layout"]["ranks"])) == ({"a": 2}, 12)
    assert json.loads(json.dumps(record)) == record
