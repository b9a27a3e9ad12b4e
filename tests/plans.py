"""Plans made by hand: the one place in the tests that names every field of a Plan."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

from runner.spec import GitState, Layout, Plan, SnapshotRef

ALONE = Layout("none", 1, 1)


def make_plan(project: Path, run_id: str, /, **changes: Any) -> Plan:
    """A plan for one process of `script.py`; nothing is stored or staged."""
    plan = Plan(
        id=run_id,
        name="test",
        target="local",
        created="2026-01-01T00:00:00+00:00",
        project=str(project),
        overrides=(),
        frozen=(),
        choices={},
        config={},
        digests={},
        layout=ALONE,
        python=sys.executable,
        script="script.py",
        arguments=(),
        command=(),
        shell="",
        environment={},
        secrets=(),
        inputs={},
        limits={},
        tags={},
        resolved={},
        snapshot=SnapshotRef("5a5a", 1, 1),
        git=GitState(),
    )
    return dataclasses.replace(plan, **changes)
