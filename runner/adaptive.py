"""Sweeps that something has to stay alive for: the one loop over the pipeline.

A policy stops runs that fall behind; a bayesian sampler draws points from what earlier ones gave; on a service somebody
has to see to it that not more run at once than asked for, and that none begins after a failure. What the loop knows is
on disk before it acts on it (plans, the sweep's list of runs, the study, which runs are to be stopped), so it may be
killed at any moment: `carry_on` begins where it ended, asks for the runs, and sends none twice.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from runner import history, pipeline
from runner.carrying import read_stopped, sending, write_stopped
from runner.configs import compose
from runner.errors import ConfigError, Place, Problem, RunFailedError, TargetError
from runner.follow import Reporter, new_phases
from runner.growing import Growth, refuse_never_valid
from runner.pipeline import Planned, Request
from runner.policies import best_of, due, verdict
from runner.progress import Quiet
from runner.sampling import drawn
from runner.spec import Plan, Run, State, Target
from runner.sweep import space_of
from runner.sweeps import Sweep, asked_of, grows, is_held, together
from runner.targets import load_target

POLL_SECONDS = 1.0
# With how many points an option is tried before it counts as wrong.
MOST_OTHERS = 4
# How often in a row a target may not answer, and how long is waited at most in between: an hour in all.
MOST_REFUSALS, LONGEST_SECONDS = 60, 64.0
WAITING = (State.PREPARING, State.QUEUED)


def decides(plans: Sequence[Plan]) -> bool:
    """Whether the sweep of these plans draws points or stops runs by what they report."""
    return grows(plans) or policy_of(asked_of(plans[0])) is not None


def begin(planned: Planned, request: Request, options: Mapping[str, Any]) -> Sweep:
    """Check everything, stage the code and store the sweep; nothing is sent."""
    if grows(planned.plans) and len(planned.plans) > 1:
        what = f"{len(planned.plans)} sweeps that draw points while they run"
        raise ConfigError([Problem(Place.of_override("-m"), "", what, "write what varies in sweep.params")])
    sweep, plans = together(planned.plans, request.overrides, options, growing=True)
    assert sweep is not None
    if grows(plans):
        space = space_of(compose(request.project, [sweep.overrides])[0])
        refuse_never_valid(request, space, drawn(space, int(asked_of(plans[0]).get("seed", 0)), MOST_OTHERS))
        sweep = replace(sweep, swept=tuple(space))
    pipeline.accepted(replace(planned, plans=plans), request.project, sweep)
    folder = history.sweep_dir(request.project, sweep.id)
    folder.mkdir(parents=True, exist_ok=True)
    if grows(plans):
        shutil.copytree(request.project / "configs", folder / "configs", dirs_exist_ok=True)
    return sweep


def carry_on(
    project: Path,
    sweep_id: str,
    reporter: Reporter,
    say: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
) -> Outcome:
    """Until every run has ended, for who has the lock (`carrying.alone`)."""
    try:
        return loop_of(project, sweep_id, reporter, say, sleep).work()
    finally:
        reporter.close()


def sent_first(project: Path, sweep_id: str) -> list[Run]:
    """What there is room for is sent, for who has the lock; raises TargetError at the first that is not."""
    loop = loop_of(project, sweep_id, Quiet(), lambda _: None)
    before = {run.id for run in loop.runs.values() if run.state is State.PLANNED}
    loop.ask()
    loop.fill()
    return [run for run in loop.runs.values() if run.id in before and run.state is not State.PLANNED]


def loop_of(
    project: Path,
    sweep_id: str,
    reporter: Reporter,
    say: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
) -> Loop:
    """The loop as it stands; runs that were removed are left out."""
    sweep = history.load_sweep(project, sweep_id)
    known = set(history.run_ids(project))
    runs = {run_id: history.load_run(project, run_id) for run_id in sweep.runs if run_id in known}
    if not runs:
        raise TargetError(f"the runs of {sweep_id} were removed; there is nothing to go on with")
    first = history.load_plan(project, next(iter(runs)))
    growth = Growth.of(project, sweep, first) if grows([first]) else None
    loop = Loop(project, load_target(first.target, project), sweep, asked_of(first), reporter, say, growth, sleep, runs)
    loop.places = places(first, loop.asked, whole=growth is None)
    loop.judged = decides([first])
    loop.is_held = is_held(sweep, first)
    loop.earlier = {run.id for run in runs.values() if run.state.final}
    loop.phases = {run.id: len(run.phases) for run in runs.values()}
    loop.stopped = read_stopped(project, sweep_id)
    return loop


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the runs ended, in order; each one's best value of the metric; why some were stopped."""

    runs: list[Run]
    best: Mapping[str, float | None]
    stopped: Mapping[str, str]


@dataclass
class Loop:
    """At most `places` runs at once. `judged`: what they report is asked for; else only how they are.

    `reports` are the values of the metric, `rows` the columns seen, `decided` the report last decided at, by run.
    `stopped` says why a run is stopped; `told` are runs whose end is dealt with; `sent` those sent by this process, and
    `earlier` those that had ended before it began. `closed`: nothing more is sent; `failed`: because that one did, and
    `left` are those that are canceled for it.
    """

    project: Path
    target: Target
    sweep: Sweep
    asked: Mapping[str, Any]
    reporter: Reporter
    say: Callable[[str], None]
    growth: Growth | None
    sleep: Callable[[float], None]
    runs: dict[str, Run]
    places: float = math.inf
    judged: bool = True
    is_held: bool = False
    reports: dict[str, list[float]] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    columns: dict[str, None] = field(default_factory=dict)
    decided: dict[str, int] = field(default_factory=dict)
    stopped: dict[str, str] = field(default_factory=dict)
    phases: dict[str, int] = field(default_factory=dict)
    told: set[str] = field(default_factory=set)
    sent: set[str] = field(default_factory=set)
    canceled: set[str] = field(default_factory=set)
    earlier: set[str] = field(default_factory=set)
    left: dict[str, str] = field(default_factory=dict)
    closed: bool = False
    failed: str = ""

    def work(self) -> Outcome:
        refusals = 0
        while True:
            try:
                self.look()
                self.decide()
                self.fill()
                refusals = 0
            except TargetError as error:  # a loop that lives for days outlives a service that is away for a while
                refusals += 1
                if refusals > MOST_REFUSALS:
                    raise
                self.say(f"asking again: {error}")
            if not refusals and not self.active():
                return self.outcome()
            self.sleep(min(LONGEST_SECONDS, POLL_SECONDS * 2**refusals))

    def active(self) -> list[Run]:
        return [run for run in self.runs.values() if not run.state.final and run.state is not State.PLANNED]

    def ask(self) -> None:
        if active := self.active():
            self.runs.update({run.id: run for run in self.target.states(active)})

    def look(self) -> None:
        """Ask for the runs that were sent, read what they report, and deal with those that have ended."""
        self.ask()
        for run in list(self.runs.values()):
            if run.state is State.PLANNED or run.id in self.told:
                continue
            if self.judged:
                self.read(run)
            for phase in new_phases(run, self.phases):
                self.reporter.phase(phase)
            if run.state.final:
                self.end(run)
                self.told.add(run.id)

    def read(self, run: Run) -> None:
        rows = self.target.metrics(run)
        if len(rows) < self.rows.get(run.id, 0):
            return  # what was logged is asked for no more, and the file is not here yet
        for row in rows[self.rows.get(run.id, 0) :]:
            self.reporter.metrics(run, row)
            self.columns.update(dict.fromkeys(row))
        self.rows[run.id] = len(rows)
        name = self.asked["metric"]
        self.reports[run.id] = [number(row[name]) for row in rows if name in row]

    def end(self, run: Run) -> None:
        if self.judged and run.state is State.COMPLETED and not self.reports[run.id]:
            self.closed = True
            raise RunFailedError(missing(self.asked["metric"], run, self.columns))
        reason = self.stopped.get(run.id)
        if run.state is State.CANCELED and (note := reason or self.left.get(run.id)):
            self.runs[run.id] = run = replace(run, note=note)
            history.store_run(self.project, run)
        elif run.state is State.CANCELED and self.judged and not self.closed and run.id not in self.earlier:
            self.closed = True
            self.say(f"{run.id} was canceled, so no more is sent; 'amlrun resume {self.sweep.id}' goes on")
        elif run.state is State.FAILED and self.sweep.options.get("stop_on_failure") and run.id not in self.earlier:
            self.closed, self.failed = True, run.id
        if self.growth is not None:
            stopped_at = len(self.reports[run.id]) if reason is not None and run.state is State.CANCELED else None
            self.growth.study.tell(run.id, self.value(run), stopped_at)

    def value(self, run: Run) -> float | None:
        """What the run is worth; None for one that failed, or was canceled by somebody else."""
        if self.judged and (run.state is State.COMPLETED or run.id in self.stopped):
            return best_of(self.reports.get(run.id, ()), self.asked["goal"])
        return None

    def decide(self) -> None:
        """Stop what the policy does not let go on (written down first), and after a failure what has not begun."""
        policy = policy_of(self.asked)
        for run in self.active():
            at = due(policy, len(self.reports.get(run.id, ())))
            if policy is not None and at > self.decided.get(run.id, 0) and run.id not in self.stopped:
                self.decided[run.id] = at
                others = [values for run_id, values in self.reports.items() if run_id != run.id]
                reason = verdict(policy, self.asked["goal"], at, self.reports[run.id], others)
                if reason is not None:
                    self.stopped[run.id] = reason
                    write_stopped(self.project, self.sweep.id, self.stopped)
                    self.say(f"{run.id} is stopped: {reason}")
            is_left = self.is_held and self.failed and run.state in WAITING
            if (run.id in self.stopped or is_left) and run.id not in self.canceled:
                self.target.cancel(run)
                self.canceled.add(run.id)
            if is_left and run.id not in self.left:
                self.left[run.id] = f"canceled before it began, because {self.failed} had failed"
                self.say(f"{run.id} is {self.left[run.id]}")

    def fill(self) -> None:
        """Send what there is room for; what another process of this sweep had sent is not sent again."""
        with sending(self.project, self.sweep.id) as may_be:
            if not may_be:
                self.end_by_cancel()
            plans: list[Plan] = []
            while not self.closed and len(self.active()) + len(plans) < self.places:
                made = self.next_planned(plans) or self.next_suggested()
                if made is None:
                    break
                plans.append(made)
            if plans:
                self.send(plans)

    def send(self, plans: Sequence[Plan]) -> None:
        """Of several some may be sent and others not, which are tried again."""
        try:
            self.target.submit(list(plans))
            self.sent.update(made.id for made in plans)
        finally:
            self.runs.update({made.id: history.load_run(self.project, made.id) for made in plans})

    def end_by_cancel(self) -> None:
        """Somebody cancels the sweep, which cancels also what was only planned."""
        if not self.closed:
            self.closed = True
            self.say(f"{self.sweep.id} was canceled, so no more is sent; 'amlrun resume {self.sweep.id}' goes on")

    def next_planned(self, taken: Sequence[Plan]) -> Plan | None:
        known = {*self.sent, *(made.id for made in taken)}
        waiting = (run.id for run in self.runs.values() if run.state is State.PLANNED and run.id not in known)
        run_id = next(waiting, None)
        return None if run_id is None else history.load_plan(self.project, run_id)

    def next_suggested(self) -> Plan | None:
        """A new point of the study, stored as a run of the sweep. An invalid one is told as failed, and shown."""
        if self.growth is None:
            return None
        study = self.growth.study
        while (suggestion := self.growth.suggestion(self.sweep.runs)) is not None:
            try:
                made = self.growth.plan(suggestion)
            except ConfigError as error:
                study.fail(suggestion.number)
                self.say(f"not sent: {' '.join(suggestion.point)}: {error}")
                continue
            study.is_run(suggestion.number, made.id)
            self.sweep = replace(self.sweep, runs=(*self.sweep.runs, made.id))
            history.store_together(self.project, [made], self.sweep)
            self.runs[made.id] = history.load_run(self.project, made.id)
            return made
        return None

    def outcome(self) -> Outcome:
        runs = [history.load_run(self.project, run_id) for run_id in self.runs]
        return Outcome(runs, {run.id: self.value(run) for run in runs}, self.stopped)


def policy_of(asked: Mapping[str, Any]) -> Mapping[str, Any] | None:
    policy = asked.get("policy") or {}
    return policy if policy.get("kind", "none") != "none" else None


def places(first: Plan, asked: Mapping[str, Any], *, whole: bool) -> float:
    """How many runs at once. The target of this machine has a queue of its own: a sweep that is known goes in whole."""
    compute = first.config.get("compute") or {}
    if compute.get("kind") == "local":
        slots = int(compute.get("slots") or 1)
        return math.inf if whole else min(slots, asked.get("max_concurrent") or slots)
    nodes = int(compute.get("max_nodes") or 0) // first.layout.nodes
    return asked.get("max_concurrent") or (math.inf if whole else max(1, nodes))


def number(value: Any) -> float:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number else math.nan


def missing(metric: str, run: Run, columns: Mapping[str, None]) -> str:
    there = f"it has: {', '.join(columns)}" if columns else f"{run.id} wrote no metrics"
    return f"sweep.metric: '{metric}' is no column of metrics.jsonl; {there}"
