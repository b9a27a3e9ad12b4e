"""What programs read is what `json.dumps(..., indent=2)` writes, though plans share what they have in common."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runner.json_text import document, text
from runner.spec import State, jsonable
from tests.plans import make_plan

ODD: dict[str, Any] = {
    "": None,
    'ü\n"': "a\u2028\\ \ud800 '",
    "numbers": [0, -1, 1.5, 1e-7, 1e300, float("nan"), float("inf"), -float("inf"), True, False],
    "empty": [{}, [], (), [[]], {"a": {}}],
    "deep": {"a": [{"b": [1, (2, {"c": State.RUNNING})]}]},
}


@pytest.mark.parametrize("value", [ODD, [ODD], [], {}, "x", None, State.FAILED])
def test_a_value(value: Any) -> None:
    assert text(value, 0) == json.dumps(jsonable(value), indent=2)


def test_plans_that_share_parts(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, "run")
    shared = {"kind": "local", "slots": [1, ODD]}
    config = {**plan.config, "compute": shared, "again": shared, "one": 1}
    plans = [
        replace(plan, config=config, request={"compute": shared, "here": [shared]}, frozen=("a", "b")),
        replace(plan, config={**config, "one": True}, inputs={"x": {}}),
        replace(plan, config={**config, "compute": {**shared, "slots": []}}, id="other"),
    ]
    rest = {"snapshot": {"files": 3}, "problems": [], "cost": {}}
    expected = json.dumps({"plans": [each.as_json() for each in plans], **rest}, indent=2)
    assert "".join(document(plans, rest)) == expected
