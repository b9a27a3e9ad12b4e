"""logs SWEEP: every run's logs of ranks; each line begins with what sets its run apart."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from runner import board, history
from runner.errors import StoppedError, TargetError
from runner.follow import Tail
from runner.follow_sweep import AT_ONCE, PATIENCE, POLL_SECONDS, Members
from runner.spec import Log, Run, State
from runner.standing import Standing, standing
from runner.sweeps import Sweep
from runner.targets import load_target
from runner.verbs.ending import refreshed
from runner.verbs.sweeping import members_of


def logs(project: Path, sweep: Sweep, args: argparse.Namespace) -> int:
    tails = Tails(project, args.rank)
    members = members_of(project, sweep.id)
    if args.follow and not args.json:
        return follow_logs(members, tails, sweep)
    known = members()
    runs = refreshed(project, known.runs)
    texts = []
    for run, label in labels(known, runs):
        for log, lines in tails.new(run, final=True):
            texts.append({"run": run.id, "name": log.name, "rank": log.rank, "text": "\n".join(lines)})
            if not args.json:
                show(label, log, lines)
    if args.json:
        print(json.dumps({"logs": texts}, indent=2))
    return 0


@dataclass(slots=True)
class Tails:
    """What was already shown of the logs of each run. `whole`: runs of which that is all."""

    project: Path
    rank: int | None
    shown: dict[tuple[str, str], Tail] = field(default_factory=dict)
    whole: set[str] = field(default_factory=set)
    turn: int = 0

    def new(self, run: Run, *, final: bool) -> Iterator[tuple[Log, list[str]]]:
        hide = history.secret_values(self.project, run.id)
        for log in load_target(run.target, self.project).logs(run):
            if log.rank is not None and self.rank in (None, log.rank):
                tail = self.shown.setdefault((run.id, log.name), Tail(hide))
                yield log, tail.take(log.read(tail.offset)) + (tail.finish() if final else [])
        if final:
            self.whole.add(run.id)

    def due(self, runs: Sequence[Run]) -> list[Run]:
        """All that have ended since, and some of those that run, in turns: a service is asked run by run."""
        running = [run for run in runs if run.state in (State.RUNNING, State.FINALIZING)]
        some = [running[(self.turn + at) % len(running)] for at in range(min(AT_ONCE, len(running)))]
        self.turn += len(some)
        return [run for run in runs if (run.state.final and run.id not in self.whole) or run in some]


def follow_logs(members: Callable[[], Members], tails: Tails, sweep: Sweep) -> int:
    """Until nothing of the sweep is under way."""
    failures = 0
    try:
        while True:
            known = members()
            try:
                runs = refreshed(tails.project, known.runs)
                due = tails.due(runs)
                for run, label in labels(known, [run for run in runs if run in due]):
                    for log, lines in tails.new(run, final=run.state.final):
                        show(label, log, lines)
                failures = 0
            except TargetError:
                failures += 1
                if failures > PATIENCE:
                    raise
            if not failures and not known.carried and stands(known, runs).over:
                return 0
            time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        raise StoppedError(f"stopped following; 'amlrun logs -f {sweep.id}' begins anew") from None


def labels(known: Members, runs: Sequence[Run]) -> Iterator[tuple[Run, str]]:
    for each in stands(known, runs).points:
        yield each.run, board.label(each)


def stands(known: Members, runs: Sequence[Run]) -> Standing:
    return standing(known.sweep, known.plans, runs, {}, datetime.now(timezone.utc))


def show(label: str, log: Log, lines: Sequence[str]) -> None:
    rank = f" rank {log.rank}" if log.rank else ""
    print("".join(f"[{label}{rank}] {line}\n" for line in lines), end="", flush=True)
