"""Watch runs until they end: phases, rank 0's log as it grows, metrics. What is shown how is a Reporter's matter."""

from __future__ import annotations

import codecs
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from runner.redact import redact
from runner.spec import Log, Run, State, Target

# Between two looks: a twentieth of the time that has passed, so that what ends soon is told soon.
SHORTEST_SECONDS, POLL_SECONDS = 0.02, 0.2
# Output that may be a consequence of another rank's failure. It is held back: when the run fails, the diagnosis shows
# the cause and this is noise; when the run goes on for HOLD_SECONDS, it is shown after all.
SUSPECT = re.compile(
    r"^(\[rank\d+\]:?|Traceback \(most recent|\[[WEF]\d{3,4} |Fatal Python error|terminate called|W\d{4} |E\d{4} )"
)
HOLD_SECONDS = 3.0
# What a script has printed belongs before these.
AFTER_OUTPUT = (State.FINALIZING, State.COMPLETED, State.FAILED, State.CANCELED)


class Reporter(Protocol):
    """How progress is shown."""

    def phase(self, run: Run) -> None:
        """The run entered a new state."""

    def line(self, run: Run, text: str) -> None:
        """A line of rank 0's log."""

    def metrics(self, run: Run, row: dict[str, Any]) -> None:
        """A new row of metrics."""

    def close(self) -> None:
        """Nothing more comes."""


@dataclass
class Tail:
    """What was already shown of one log and of its run's metrics. `hide` are values of secrets."""

    hide: Sequence[str] = ()
    offset: int = 0
    rows: int = 0
    rest: str = ""
    decoder: codecs.IncrementalDecoder = field(default_factory=lambda: codecs.getincrementaldecoder("utf-8")("replace"))
    held: list[str] = field(default_factory=list)
    held_since: float = 0.0

    def take(self, content: bytes) -> list[str]:
        """The complete lines that `content` finishes, without secrets."""
        self.offset += len(content)
        *lines, self.rest = (self.rest + self.decoder.decode(content)).replace("\r\n", "\n").split("\n")
        return [self.shown(line) for line in lines]

    def finish(self) -> list[str]:
        """The last line, if it has no end."""
        last, self.rest = self.rest, ""
        return [self.shown(last)] if last else []

    def shown(self, line: str) -> str:
        return redact(line.rsplit("\r", 1)[-1], self.hide)


def follow(
    target: Target,
    runs: Sequence[Run],
    reporter: Reporter,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
    hide: Sequence[str] = (),
) -> list[Run]:
    """Report until every run has ended; returns the runs as they ended, in order. `hide` are values of secrets.

    Raises KeyboardInterrupt where it is interrupted; the caller decides what that means for the runs.
    """
    tails = {run.id: Tail(hide) for run in runs}
    current = list(runs)
    seen: dict[str, int] = {}
    began = clock()
    try:
        while True:
            current = target.states(current)
            for run in current:
                news = new_phases(run, seen)
                for phase in [phase for phase in news if phase.state not in AFTER_OUTPUT]:
                    reporter.phase(phase)
                show_output(target, run, tails[run.id], reporter, clock())
                for phase in [phase for phase in news if phase.state in AFTER_OUTPUT]:
                    reporter.phase(phase)
            if all(run.state.final for run in current):
                return current
            sleep(min(POLL_SECONDS, max(SHORTEST_SECONDS, (clock() - began) / 20)))
    finally:
        reporter.close()


def new_phases(run: Run, seen: dict[str, int]) -> list[Run]:
    """The run in every state that it entered since the last look, also in those that were over before it."""
    entered = [State(state) for state, _ in run.phases[seen.get(run.id, 0) :]]
    seen[run.id] = len(run.phases)
    return [at_state(run, state) for state in entered if state is not State.PLANNED]


def at_state(run: Run, state: State) -> Run:
    return run if run.state is state else replace(run, state=state)


def show_output(target: Target, run: Run, tail: Tail, reporter: Reporter, now: float) -> None:
    rows = target.metrics(run)
    for row in rows[tail.rows :]:
        reporter.metrics(run, row)
    tail.rows = max(tail.rows, len(rows))
    log = first_rank(target.logs(run))
    lines = tail.take(log.read(tail.offset)) if log is not None else []
    if run.state.final:
        lines += tail.finish()
    for line in lines:
        if tail.held or SUSPECT.match(line):
            tail.held_since = tail.held_since if tail.held else now
            tail.held.append(line)
        else:
            reporter.line(run, line)
    if tail.held and (run.state is State.COMPLETED or now - tail.held_since > HOLD_SECONDS) and not is_failing(run):
        for line in tail.held:
            reporter.line(run, line)
        tail.held.clear()


def is_failing(run: Run) -> bool:
    return run.state in (State.FAILED, State.CANCELED, State.FINALIZING) or run.failure is not None


def first_rank(logs: Sequence[Log]) -> Log | None:
    return next((log for log in logs if log.rank == 0), None)
