"""Watch a sweep until nothing of it is under way: one question about all states, a few about metrics, at each look."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone

from runner.board import Board
from runner.errors import TargetError
from runner.report.series import Rows
from runner.spec import Plan, Run, State, Target
from runner.standing import Standing, standing
from runner.sweeps import Sweep

POLL_SECONDS = 1.0
# Metrics are asked for run by run where a service has them: so many runs at each look, in turns.
AT_ONCE = 8
# So many looks may fail one after the other before following ends: hours are longer than most interruptions.
PATIENCE = 30


@dataclass(slots=True)
class Metrics:
    """What is known of each run's metrics. Files here cost nothing to read, so `at_once` may be all."""

    target: Target
    at_once: int
    rows: dict[str, Rows] = field(default_factory=dict)
    whole: set[str] = field(default_factory=set)
    turn: int = 0

    def look(self, runs: Sequence[Run]) -> Mapping[str, Rows]:
        """All that is known now: of runs that have ended all there is, of those that run what is their turn."""
        for run in runs:
            if run.state.final and run.id not in self.whole:
                self.rows[run.id] = self.target.metrics(run)
                self.whole.add(run.id)
        running = [run for run in runs if run.state in (State.RUNNING, State.FINALIZING)]
        for at in range(min(self.at_once, len(running))):
            run = running[(self.turn + at) % len(running)]
            self.rows[run.id] = self.target.metrics(run)
        self.turn += self.at_once
        return self.rows


def follow_sweep(
    target: Target,
    sweep: Sweep,
    plans: Mapping[str, Plan],
    board: Board,
    runs: Sequence[Run],
    sleep: Callable[[float], None] = time.sleep,
) -> Standing:
    """Show it again and again; returns how it stood in the end. `plans` are by run id.

    Raises KeyboardInterrupt where it is interrupted, TargetError where the target does not answer for long.
    """
    current, failures = list(runs), 0
    local = all(plan.target == "local" for plan in plans.values())
    metrics = Metrics(target, len(current) if local else AT_ONCE)
    try:
        while True:
            try:
                current = target.states(current)
                rows, failures = metrics.look(current), 0
                leave_rest(target, sweep, current)
            except TargetError:
                rows, failures = metrics.rows, failures + 1
                if failures > PATIENCE:
                    raise
            found = standing(sweep, plans, current, rows, datetime.now(timezone.utc))
            board.show(found)
            if found.over and not failures:
                return found
            sleep(POLL_SECONDS)
    finally:
        board.close()


def leave_rest(target: Target, sweep: Sweep, runs: Sequence[Run]) -> None:
    """After a failure that is to stop the others: what waits on the service is canceled (here nothing waits there)."""
    if not sweep.options.get("stop_on_failure") or not any(run.state is State.FAILED for run in runs):
        return
    for run in runs:
        if run.target != "local" and run.state in (State.PREPARING, State.QUEUED):
            target.cancel(run)
