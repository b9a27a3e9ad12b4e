"""What every target is tested with: plans made by hand around tiny scripts, and a wait for their end."""

from __future__ import annotations

import secrets
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from runner import history
from runner.spec import Layout, Log, Plan, Run, SnapshotRef, State, Target, digest
from tests.plans import ALONE, make_plan
from tests.watching import processes_of, wait_for

# What a kind of target does not do, and why.
LACKS = {
    ("azureml", "secrets"): "secrets are refused by the check, they would stand in the run's definition",
    ("azureml", "inputs"): "inputs are refused by the check",
    ("azureml", "live outputs"): "Azure uploads ./outputs at the end of a run",
}


def local_settings(slots: int) -> dict[str, Any]:
    """A plan's configuration for a run on this machine."""
    return {"compute": {"kind": "local", "slots": slots}}


@dataclass
class Bench:
    """A project in a temporary folder and one target that runs its plans."""

    project: Path
    target: Target
    kind: str = "local"
    settings: Callable[[int], dict[str, Any]] = local_settings
    sent: list[Plan] = field(default_factory=list)

    def plan(self, script: str = "print('hello')", layout: Layout = ALONE, slots: int = 1, **changes: Any) -> Plan:
        """A plan that runs `script`, staged."""
        script = textwrap.dedent(script)
        code = digest(script)
        staged = history.snapshot_dir(self.project, code)
        staged.mkdir(parents=True, exist_ok=True)
        (staged / "script.py").write_text(script, encoding="utf-8")
        made = {
            "target": self.kind,
            "created": f"2026-01-01T00:00:{len(self.sent):02d}+00:00",
            "config": self.settings(slots),
            "layout": layout,
            "snapshot": SnapshotRef(code, 1, len(script)),
        }
        return make_plan(self.project, f"test-{secrets.token_hex(6)}", **made | changes)

    def needs(self, what: str) -> None:
        """Skip the test where this kind of target lacks it."""
        if (self.kind, what) in LACKS:
            pytest.skip(f"{self.kind}: {LACKS[self.kind, what]}")  # the reason stands in LACKS

    def submit(self, *plans: Plan) -> list[Run]:
        self.sent += plans
        return self.target.submit(list(plans))

    def run(self, script: str = "print('hello')", layout: Layout = ALONE, **changes: Any) -> Run:
        """Submit one plan and wait for its end."""
        return self.ended(self.submit(self.plan(script, layout, **changes)))[0]

    def ended(self, runs: Sequence[Run]) -> list[Run]:
        return self.until(runs, lambda current: all(run.state.final for run in current))

    def until(self, runs: Sequence[Run], condition: Callable[[list[Run]], bool]) -> list[Run]:
        """Ask for the states until `condition` holds for them."""
        current: list[Run] = []

        def look() -> bool:
            current[:] = self.target.states(list(runs))
            return condition(current)

        wait_for(look)
        return current

    def log(self, run: Run, rank: int = 0) -> bytes:
        return next(log.read(0) for log in self.target.logs(run) if log.rank == rank)

    def text(self, run: Run, rank: int = 0) -> str:
        return self.log(run, rank).decode()

    def wait_for_text(self, run: Run, text: str, rank: int = 0) -> None:
        """Until the rank has written `text`."""

        def written() -> bool:
            [standing] = self.target.states([run])
            assert not standing.state.final, f"the run has ended, {standing.state}: {standing.failure}"
            logs: list[Log] = self.target.logs(run)
            return any(log.rank == rank and text.encode() in log.read(0) for log in logs)

        wait_for(written)

    def processes(self, *run_ids: str) -> list[psutil.Process]:
        """Every process of these runs (default: of all)."""
        return [p for run_id in run_ids or [plan.id for plan in self.sent] for p in processes_of(run_id)]


def forever(script: str = "") -> str:
    """A script that goes on until it is stopped."""
    loop = """
        import time
        print("started", flush=True)
        while True:
            time.sleep(0.05)  # a loop, not one long sleep, so that Python handles signals between
    """
    return textwrap.dedent(script) + textwrap.dedent(loop)


def states(run: Run) -> list[State]:
    """Every state the run has been in."""
    return [State(state) for state, _ in run.phases]
