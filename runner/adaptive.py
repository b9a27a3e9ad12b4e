"""Sweeps that decide while they run: the one loop over the pipeline.

A policy stops runs that fall behind; a bayesian sampler draws points from what earlier ones gave. What the loop knows
is on disk before it acts on it (plans, the sweep's list of runs, the study, which runs are to be stopped), so it may be
killed at any moment: `carry_on` begins where it ended, asks for the runs, and sends none twice. Later points are made
from the configuration as it was when the sweep began, and run on the code of the first.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from runner import history, pipeline
from runner.configs import compose
from runner.cost import over_limit, priced
from runner.errors import ConfigError, Place, Problem, RunFailedError, TargetError
from runner.facts import draw, now
from runner.follow import Reporter, new_phases
from runner.pipeline import Planned, Request
from runner.plan import Facts, plan, snapshot_key
from runner.policies import best_of, due, verdict
from runner.processes import machine
from runner.sampling import Space, drawn, having
from runner.snapshot import Snapshot
from runner.spec import Plan, Run, State, Target
from runner.studies import Study, Suggestion, open_study
from runner.sweep import space_of
from runner.sweeps import TAG, Sweep, together
from runner.targets import addressed, load_target
from runner.validate import make_code, validate

POLL_SECONDS = 1.0
# With how many points an option is tried before it counts as wrong.
MOST_OTHERS = 4
# How often in a row a target may not answer.
MOST_REFUSALS = 8


def decides(plans: Sequence[Plan]) -> bool:
    """Whether the sweep of these plans needs something alive while it runs."""
    asked = asked_of(plans[0])
    return grows(plans) or policy_of(asked) is not None


def grows(plans: Sequence[Plan]) -> bool:
    """Whether their sweep draws points from results: of it only the first plan is known."""
    return asked_of(plans[0]).get("sampler") == "bayesian"


def begin(planned: Planned, request: Request, options: Mapping[str, Any]) -> Sweep:
    """Check everything, stage the code and store the sweep; nothing is sent."""
    if grows(planned.plans):
        if len(planned.plans) > 1:
            what = f"{len(planned.plans)} sweeps that draw points while they run"
            raise ConfigError([Problem(Place.of_override("-m"), "", what, "write what varies in sweep.params")])
        every = planned.plans * int(asked_of(planned.plans[0])["max_total"])
        planned = replace(planned, blockers=[*planned.blockers, *over_limit(every, request.max_cost)])
    sweep, plans = together(planned.plans, request.overrides, options, growing=True)
    assert sweep is not None
    if grows(plans):
        space = space_of(compose(request.project, [sweep.overrides])[0])
        refuse_never_valid(request, space, drawn(space, int(asked_of(plans[0]).get("seed", 0)), MOST_OTHERS))
        sweep = replace(sweep, swept=tuple(space))
    pipeline.accepted(replace(planned, plans=plans), request.project, sweep)
    folder = history.sweep_dir(request.project, sweep.id)
    shutil.copytree(request.project / "configs", folder / "configs", dirs_exist_ok=True)
    return sweep


def carry_on(
    project: Path,
    sweep_id: str,
    reporter: Reporter,
    say: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
) -> Outcome:
    """Until every run has ended. Raises TargetError where another process is at it."""
    with alone(project, sweep_id):
        sweep = history.load_sweep(project, sweep_id)
        first = history.load_plan(project, sweep.runs[0])
        asked = asked_of(first)
        growth = Growth.of(project, sweep, first) if grows([first]) else None
        loop = Loop(project, load_target(first.target, project), sweep, asked, reporter, say, growth, sleep)
        try:
            return loop.work(places(first, asked, whole=growth is None))
        finally:
            reporter.close()


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the runs ended, in order; each one's best value of the metric; why some were stopped."""

    runs: list[Run]
    best: Mapping[str, float | None]
    stopped: Mapping[str, str]


@dataclass
class Growth:
    """Where new points come from. `base` is the first plan: later ones run on its code."""

    project: Path
    sweep_id: str
    base: Plan
    overrides: tuple[str, ...]
    study: Study

    @classmethod
    def of(cls, project: Path, sweep: Sweep, base: Plan) -> Growth:
        folder = history.sweep_dir(project, sweep.id)
        space = space_of(compose(folder, [sweep.overrides])[0])
        study = open_study(folder / "study.optuna", asked_of(base), space, base.overrides[: len(space)])
        if base.id not in study.runs() and (trial := next(iter(study.unfinished()), None) or study.ask()):
            study.is_run(trial.number, base.id)
        return cls(project, sweep.id, base, sweep.overrides, study)

    def suggestion(self, known: Sequence[str]) -> Suggestion | None:
        """One that was asked for and never became one of the `known` runs, else a new one."""
        runs = {number for run_id, number in self.study.runs().items() if run_id in known}
        return next((each for each in self.study.unfinished() if each.number not in runs), None) or self.study.ask()

    def plan(self, suggestion: Suggestion) -> Plan:
        """Raises ConfigError where the point is not valid."""
        (config,) = compose(history.sweep_dir(self.project, self.sweep_id), [[*suggestion.point, *self.overrides]])
        jobs, _ = validate([replace(config, project=self.project)])
        key = snapshot_key(jobs[0].code)
        if key != snapshot_key(make_code(self.base.config["code"], self.project)):
            raise ConfigError(
                [Problem(config.origin("code").value, "code", "the points of this sweep share their code")]
            )
        code = Snapshot(key[0], (), {}, (), digest=self.base.snapshot.digest)
        facts = Facts(machine(), self.base.python, now(), draw, self.base.git, {key: code})
        (made,) = priced(plan(jobs, facts), self.project)
        made = replace(made, snapshot=self.base.snapshot, tags={**made.tags, TAG: self.sweep_id})
        return addressed(made, self.project)


@dataclass
class Loop:
    """`reports` are the values of the metric, `rows` the columns seen, `decided` the report last decided at, by run.

    `stopped` says why a run is stopped; `told` are runs whose end is dealt with; `sent` those sent by this process, and
    `earlier` those that had ended before it began.
    """

    project: Path
    target: Target
    sweep: Sweep
    asked: Mapping[str, Any]
    reporter: Reporter
    say: Callable[[str], None]
    growth: Growth | None = None
    sleep: Callable[[float], None] = time.sleep
    runs: dict[str, Run] = field(default_factory=dict)
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
    closed: bool = False

    def work(self, places: float) -> Outcome:
        """At most `places` runs at once."""
        self.runs = {run_id: history.load_run(self.project, run_id) for run_id in self.sweep.runs}
        self.earlier = {run.id for run in self.runs.values() if run.state.final}
        self.phases = {run.id: len(run.phases) for run in self.runs.values()}
        self.stopped = read_stopped(self.project, self.sweep.id)
        refusals = 0
        while True:
            try:
                self.look()
                self.decide()
                self.fill(places)
                refusals = 0
            except TargetError as error:  # a loop that lives for days outlives a service that is away for minutes
                refusals += 1
                if refusals > MOST_REFUSALS:
                    raise
                self.say(f"asking again: {error}")
            if not refusals and not self.active():
                return self.outcome()
            self.sleep(POLL_SECONDS * 2**refusals)

    def active(self) -> list[Run]:
        return [run for run in self.runs.values() if not run.state.final and run.state is not State.PLANNED]

    def look(self) -> None:
        """Ask for the runs that were sent, read what they report, and deal with those that have ended."""
        if active := self.active():
            self.runs.update({run.id: run for run in self.target.states(active)})
        for run in list(self.runs.values()):
            if run.state is State.PLANNED or run.id in self.told:
                continue
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
        value = self.value(run)
        if run.state is State.COMPLETED and not self.reports[run.id]:
            self.closed = True
            raise RunFailedError(missing(self.asked["metric"], run, self.columns))
        reason = self.stopped.get(run.id)
        if reason is not None and run.state is State.CANCELED:
            self.runs[run.id] = run = replace(run, note=reason)
            history.store_run(self.project, run)
        elif run.state is State.CANCELED and not self.closed and run.id not in self.earlier:
            self.closed = True
            self.say(f"{run.id} was canceled, so no more is sent; 'amlrun resume {self.sweep.id}' goes on")
        elif run.state is State.FAILED and self.sweep.options.get("stop_on_failure") and run.id not in self.earlier:
            self.closed = True
        if self.growth is not None:
            stopped_at = len(self.reports[run.id]) if reason is not None and run.state is State.CANCELED else None
            self.growth.study.tell(run.id, value, stopped_at)

    def value(self, run: Run) -> float | None:
        """What the run is worth; None for one that failed, or was canceled by somebody else."""
        if run.state is State.COMPLETED or run.id in self.stopped:
            return best_of(self.reports.get(run.id, ()), self.asked["goal"])
        return None

    def decide(self) -> None:
        """Stop what the policy does not let go on. That it is to be stopped is written down first."""
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
            if run.id in self.stopped and run.id not in self.canceled:
                self.target.cancel(run)
                self.canceled.add(run.id)

    def fill(self, places: float) -> None:
        """Send what there is room for; what another process of this sweep had sent is not sent again."""
        plans: list[Plan] = []
        while not self.closed and len(self.active()) + len(plans) < places:
            made = self.next_planned(plans) or self.next_suggested()
            if made is None:
                break
            plans.append(made)
        if plans:
            self.sent.update(made.id for made in plans)
            self.runs.update({run.id: run for run in self.target.submit(plans)})

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
        runs = [self.runs[run_id] for run_id in self.sweep.runs]
        return Outcome(runs, {run.id: self.value(run) for run in runs}, self.stopped)


def refuse_never_valid(request: Request, space: Space, others: Sequence[Sequence[str]]) -> None:
    """Raises ConfigError for an option, or the end of an interval, that is valid with none of the `others`."""
    tries = [having(space, other) for other in others]
    wrong: dict[int, ConfigError] = dict.fromkeys(range(len(tries[0])), ConfigError([]))
    for points in tries:
        configs = compose(request.project, [[*points[index], *request.overrides] for index in wrong])
        found: dict[int, ConfigError] = {}
        for index, config in zip(wrong, configs, strict=True):
            try:
                validate([config])
            except ConfigError as error:
                found[index] = error
        wrong = found
    if wrong:
        raise ConfigError([problem for error in wrong.values() for problem in error.problems])


def asked_of(first: Plan) -> Mapping[str, Any]:
    return first.config.get("sweep") or {}


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


@contextlib.contextmanager
def alone(project: Path, sweep_id: str) -> Iterator[None]:
    """One process at a time carries a sweep on. Ends with the process, however that ends."""
    folder = history.sweep_dir(project, sweep_id)
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            what = f"{sweep_id} is carried on by another process"
            raise TargetError(f"{what}; 'amlrun watch {sweep_id}' shows what it does") from None
        yield


def read_stopped(project: Path, sweep_id: str) -> dict[str, str]:
    with contextlib.suppress(FileNotFoundError):
        found: dict[str, str] = json.loads((history.sweep_dir(project, sweep_id) / "stopped.json").read_bytes())
        return found
    return {}


def write_stopped(project: Path, sweep_id: str, stopped: Mapping[str, str]) -> None:
    history.write_json(history.sweep_dir(project, sweep_id) / "stopped.json", stopped)
