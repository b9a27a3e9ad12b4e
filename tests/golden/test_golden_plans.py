"""Golden plans: the whole plan, as JSON, of typical command lines. A case is a folder with `overrides.txt`.

`AMLRUN_UPDATE_GOLDEN=1 make test` writes what the plans are now; read the diff before you commit it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import runner
from runner import facts, pipeline
from runner.pipeline import Request
from runner.resources import packaged
from runner.spec import Machine, Plan
from tests.conftest import write

HERE = Path(__file__).parent
CASES = sorted(path.parent.name for path in HERE.glob("*/overrides.txt"))


@pytest.fixture
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """No clock, no chance, no machine."""
    monkeypatch.setattr(facts, "machine", lambda: Machine(gpus=0, cores=2))
    monkeypatch.setattr(facts, "draw", lambda: "aaaaaaaa")
    monkeypatch.setattr("sys.executable", "/usr/bin/python3")


def planned(project: Path, case: str) -> list[Plan]:
    write(project, {"main.py": "print('hello')\n"})
    overrides = (HERE / case / "overrides.txt").read_text().splitlines()
    multirun = overrides[:1] == ["-m"]
    return pipeline.planned(Request(project, overrides[multirun:], multirun)).plans


def masked(plan: Plan) -> dict[str, Any]:
    data = plan.as_json()
    data["created"] = "NOW"
    data["snapshot"] = "SNAPSHOT"  # changes with every line of train/; tests/unit/test_snapshot.py holds it
    text = json.dumps(data).replace(plan.snapshot.digest, "SNAPSHOT").replace(plan.project, "PROJECT")
    text = text.replace(str(Path(runner.__file__).parent), "RUNNER")
    done: dict[str, Any] = json.loads(text)
    return done


@pytest.mark.parametrize("case", CASES)
@pytest.mark.usefixtures("steady")
def test_golden_plan_that_survives_json_and_is_covered_by_its_schema(project: Path, case: str) -> None:
    plans = planned(project, case)
    found = [masked(plan) for plan in plans]
    golden = HERE / case / "plans.json"
    if os.environ.get("AMLRUN_UPDATE_GOLDEN"):
        golden.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    assert found == json.loads(golden.read_text())
    schema = json.loads((packaged("schemas") / "plan.schema.json").read_text())
    for plan in plans:
        text = json.dumps(plan.as_json())
        again = Plan.from_json(json.loads(text))
        assert again == plan
        assert json.dumps(again.as_json()) == text
        jsonschema.validate(plan.as_json(), schema)


def test_sees_every_case() -> None:
    assert {path.name for path in HERE.iterdir() if path.is_dir() and path.name != "__pycache__"} == set(CASES)
    assert len(CASES) >= 6
