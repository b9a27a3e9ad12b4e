"""Watch a sweep until nothing of it is under way: one question about all states, a few about metrics, at each look."""

from __future__ import annotations

import math
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


@dataclass(frozen=True, slots=True)
class Members:
    """A sweep as it is stored, its runs and (by run id) their plans. `carried`: a process may send more of it."""

    sweep: Sweep
    plans: Mapping[str, Plan]
    runs: Sequence[Run]
    carried: bool = False


@dataclass(slots=True)
class Metrics:
    """What is known of each run's metrics. Files here cost nothing to read, so `at_once` may be all."""

    target: Target
    at_once: float
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
        count = int(min(self.at_once, len(running)))
        for at in range(count):
            run = running[(self.turn + at) % len(running)]
            self.rows[run.id] = self.target.metrics(run)
        self.turn += count
        return self.rows


def follow_sweep(
    target: Target,
    members: Callable[[], Members],
    board: Board,
    sleep: Callable[[float], None] = time.sleep,
) -> Standing:
    """Show it again and again; returns how it stood in the end. `members` is asked at each look: they may change.

    Raises KeyboardInterrupt where it is interrupted, TargetError where the target does not answer for long.
    """
    known, failures = members(), 0
    current = {run.id: run for run in known.runs}
    local = all(plan.target == "local" for plan in known.plans.values())
    metrics = Metrics(target, math.inf if local else AT_ONCE)
    try:
        while True:
            runs = [current.get(run.id, run) for run in known.runs]
            try:
                runs = target.states(runs)
                current.update({run.id: run for run in runs})
                rows, failures = metrics.look(runs), 0
            except TargetError:
                rows, failures = metrics.rows, failures + 1
                if failures > PATIENCE:
                    raise
            found = standing(known.sweep, known.plans, runs, rows, datetime.now(timezone.utc))
            board.show(found)
            if found.over and not known.carried and not failures:
                return found
            sleep(POLL_SECONDS)
            known = members()
    finally:
        board.close()
