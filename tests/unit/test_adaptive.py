"""The loop of sweeps that decide while they run, over a target that only counts."""

from __future__ import annotations

import argparse
import math
import shutil
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest

from runner import adaptive, history, pipeline
from runner.adaptive import Outcome, begin, carry_on
from runner.carrying import alone, write_stopped
from runner.errors import ConfigError, Problem, RunFailedError, TargetError
from runner.pipeline import Request
from runner.progress import Quiet
from runner.spec import Plan, Run, State
from runner.sweeps import Sweep
from runner.targets.local_supervisor import Active, Supervisor
from runner.verbs import ending
from runner.verbs.sweeping import resumed
from tests.conftest import write

SCRIPT = "code:\n  module: null\n  script: s.py\n  arguments: {lr: 0.1, n: 1}\n"
BANDIT = "policy: {kind: bandit, slack_factor: 0.15, delay_evaluation: 2}\n"
JUDGED = "metric: acc\ngoal: maximize\nseed: 0\nmax_total: 2\nmax_concurrent: null\n"
RANDOM = f"sampler: random\n{JUDGED}{BANDIT}params:\n  code.arguments.lr: interval(0.1, 1.0)\n"
BOTH = "  code.arguments.lr: interval(0.1, 1.0)\n  code.arguments.n: range(1, 4)\n"
BAYESIAN = f"sampler: bayesian\n{JUDGED}params:\n{BOTH}"
# What a run reports, or how it ends.
Curve = Callable[[Mapping[str, Any]], Sequence[Any]]


class KilledError(BaseException):
    """As kill -9: nothing catches it."""


@dataclass
class Fake:
    """Runs that report one value each time they are asked for. It dies at call number `dies_at`."""

    project: Path
    curve: Curve
    metric: str = "acc"
    sent: list[str] = field(default_factory=list)
    ticks: dict[str, int] = field(default_factory=dict)
    canceled: list[str] = field(default_factory=list)
    away: int = 0
    most: int = 0
    calls: int = 0
    dies_at: int = -1

    def check(self, plans: list[Plan]) -> list[Problem]:
        return []

    def submit(self, plans: list[Plan]) -> list[Run]:
        self.step()
        for plan in plans:
            if plan.id not in self.sent:  # as every target: a repeated id is the run that is there
                self.sent.append(plan.id)
                self.enter(plan.id, State.RUNNING)
                self.step()
        self.most = max(self.most, len(self.running()))
        return [history.load_run(self.project, plan.id) for plan in plans]

    def states(self, runs: list[Run]) -> list[Run]:
        self.step()
        if self.away:
            self.away -= 1
            raise TargetError("not reachable")
        for run in runs:
            if history.load_run(self.project, run.id).state is State.RUNNING:
                self.ticks[run.id] = self.ticks.get(run.id, 0) + 1
                values = self.values(run)
                if self.ticks[run.id] > len(values) or isinstance(values[self.ticks[run.id] - 1], State):
                    self.enter(run.id, State.COMPLETED if self.ticks[run.id] > len(values) else values[-1])
        return [history.load_run(self.project, run.id) for run in runs]

    def metrics(self, run: Run) -> list[dict[str, Any]]:
        values = self.values(run)[: self.ticks.get(run.id, 0)]
        return [{"epoch": n, self.metric: value} for n, value in enumerate(values) if not isinstance(value, State)]

    def cancel(self, run: Run) -> None:
        self.step()
        self.canceled.append(run.id)
        self.enter(run.id, State.CANCELED)

    def values(self, run: Run) -> Sequence[Any]:
        return self.curve(history.load_plan(self.project, run.id).config["code"]["arguments"])

    def running(self) -> list[str]:
        return [run_id for run_id in self.sent if not history.load_run(self.project, run_id).state.final]

    def enter(self, run_id: str, state: State) -> None:
        run = history.load_run(self.project, run_id)
        history.store_run(self.project, replace(run, state=state, phases=(*run.phases, (state.value, run.created))))

    def step(self) -> None:
        self.calls += 1
        if self.calls == self.dies_at:
            raise KilledError


@dataclass
class Bench:
    """A project with one stored sweep, and the fake target in the place of the real one."""

    project: Path
    monkeypatch: pytest.MonkeyPatch
    blank: Path
    said: list[str] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)

    def begin(self, sweep: str, curve: Curve, *overrides: str, **options: Any) -> tuple[Fake, Sweep]:
        write(self.project, {"configs/sweep/mine.yaml": sweep, "s.py": ""})
        write(self.project, {"configs/experiment/e.yaml": f"# @package _global_\nname: e\n{SCRIPT}"})
        fake = Fake(self.project, curve)
        for module in (adaptive, pipeline):
            self.monkeypatch.setattr(module, "load_target", lambda *_: fake)
        request = Request(self.project, ("experiment=e", "sweep=mine", *overrides))
        begun = begin(pipeline.planned(request), request, options)
        shutil.copy(self.blank, history.sweep_dir(self.project, begun.id) / "study.optuna")
        return fake, begun

    def carry_on(self, sweep: Sweep, sleep: Callable[[float], None] | None = None) -> Outcome:
        with alone(self.project, sweep.id):
            return carry_on(self.project, sweep.id, Quiet(), self.said.append, sleep or self.slept.append)

    def stored(self, sweep: Sweep) -> Sweep:
        return history.load_sweep(self.project, sweep.id)


@pytest.fixture(scope="module")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study's file in which there is nothing yet: making its tables takes most of a second."""
    import optuna

    path = tmp_path_factory.mktemp("blank") / "study.optuna"
    optuna.storages.RDBStorage(f"sqlite:///{path}")
    return path


@pytest.fixture
def bench(bare: Path, monkeypatch: pytest.MonkeyPatch, blank: Path) -> Bench:
    return Bench(bare, monkeypatch, blank)


def rising(arguments: Mapping[str, Any]) -> list[float]:
    return [arguments["lr"] * step for step in range(1, 6)]


def test_what_falls_behind_is_canceled_on_the_target_and_the_best_goes_on(bench: Bench) -> None:
    fake, sweep = bench.begin(RANDOM, rising, "sweep.max_total=6")
    outcome = bench.carry_on(sweep)

    assert fake.sent == list(sweep.runs)
    assert set(fake.canceled) == set(outcome.stopped)
    assert 0 < len(fake.canceled) < 6
    best = max(outcome.runs, key=lambda run: outcome.best[run.id] or 0)
    assert best.state is State.COMPLETED
    for run in outcome.runs:
        assert (run.state is State.CANCELED) == (run.id in outcome.stopped)
        assert run.note == outcome.stopped.get(run.id, "")
        assert len(fake.metrics(run)) >= 2  # delay_evaluation
    assert all(f"{run_id} is stopped: bandit policy at report 2" in " ".join(bench.said) for run_id in fake.canceled)


def test_on_a_cluster_no_more_at_once_than_asked(bench: Bench) -> None:
    cluster = ("compute=cpu-cluster", "workspace=emulator", "sweep.max_concurrent=2")
    fake, sweep = bench.begin(RANDOM, rising, "sweep.max_total=5", "sweep.policy.delay_evaluation=99", *cluster)
    bench.carry_on(sweep)
    assert (len(fake.sent), fake.most) == (5, 2)


def test_points_are_chosen_from_results_within_the_slots(bench: Bench) -> None:
    fake, sweep = bench.begin(BAYESIAN, rising, "sweep.max_total=7", "compute.slots=2")
    assert len(sweep.runs) == 1
    outcome = bench.carry_on(sweep)
    assert (len(fake.sent), fake.most) == (7, 2)
    assert bench.stored(sweep).runs == tuple(fake.sent)
    assert {trial.state.name for trial in trials(bench, sweep)} == {"COMPLETE"}
    assert [trial.value for trial in trials(bench, sweep)] == [outcome.best[run_id] for run_id in fake.sent]


def test_what_runs_is_the_configuration_and_the_code_as_they_were(bench: Bench) -> None:
    fake, sweep = bench.begin(BAYESIAN, rising, "sweep.max_total=3")
    write(bench.project, {"configs/experiment/e.yaml": "name: [", "s.py": "changed", "configs/sweep/mine.yaml": "no"})
    bench.carry_on(sweep)
    plans = [history.load_plan(bench.project, run_id) for run_id in fake.sent]
    assert {(plan.name, plan.snapshot.digest) for plan in plans} == {("e", plans[0].snapshot.digest)}
    assert len(plans) == 3


def test_a_failed_run_and_one_of_nan_are_told_as_failed(bench: Bench) -> None:
    ends = iter([[0.1, State.FAILED], [math.nan, math.nan], [0.5, math.nan, 0.4], [0.5, State.FAILED]])
    known: dict[float, Any] = {}
    fake, sweep = bench.begin(
        BAYESIAN, lambda a: known[a["lr"]] if a["lr"] in known else known.setdefault(a["lr"], next(ends)),
        "sweep.max_total=4",
    )  # fmt: skip
    outcome = bench.carry_on(sweep)
    assert [trial.state.name for trial in trials(bench, sweep)] == ["FAIL", "FAIL", "COMPLETE", "FAIL"]
    assert [outcome.best[run_id] for run_id in fake.sent] == [None, None, 0.5, None]


def test_a_stopped_run_is_pruned_in_the_study_with_what_it_reached(bench: Bench) -> None:
    fake, sweep = bench.begin(BAYESIAN + BANDIT, rising, "sweep.max_total=6", "compute.slots=3")
    outcome = bench.carry_on(sweep)
    pruned = {trial.number: trial.value for trial in trials(bench, sweep) if trial.state.name == "PRUNED"}
    assert pruned == {fake.sent.index(run_id): outcome.best[run_id] for run_id in fake.canceled} != {}


def test_an_invalid_suggestion_is_told_as_failed_and_shown(bench: Bench) -> None:
    """Neither 6 in a batch nor 4 processes is wrong, both together are."""
    params = "  trainer.batch_size: choice(4, 6)\n  distribution.processes_per_node: choice(2, 4)\n"
    given = f"sampler: bayesian\n{JUDGED.replace('acc', 'test_loss')}params:\n{params}"
    train = ("code.module=train", "code.script=null", "code.arguments=null", "distribution=pytorch")
    write(bench.project, {"train/__init__.py": "", "train/__main__.py": ""})
    fake, sweep = bench.begin(given, lambda _: [0.5], "sweep.max_total=8", "sweep.seed=1", *train)
    fake.metric = "test_loss"
    bench.carry_on(sweep)
    failed = [trial for trial in trials(bench, sweep) if trial.state.name == "FAIL"]
    assert len(failed) == len(bench.said) == 8 - len(fake.sent) > 0
    assert all("batch_size=6 distribution.processes_per_node=4" in text and "batch_size" in text for text in bench.said)


def test_a_wrong_option_is_found_before_anything_is_sent(bench: Bench) -> None:
    with pytest.raises(ConfigError, match="seed"):
        bench.begin(f"sampler: bayesian\n{JUDGED}params:\n  seed: choice(1, 2, -3)\n", rising, "sweep.max_total=2")
    assert history.list_sweeps(bench.project) == []


def test_a_metric_that_is_not_there_is_named_with_those_that_are(bench: Bench) -> None:
    fake, sweep = bench.begin(RANDOM, rising, "sweep.max_total=2")
    fake.metric = "accuracy"
    with pytest.raises(RunFailedError, match=r"'acc' is no column of metrics.jsonl; it has: epoch, accuracy"):
        bench.carry_on(sweep)


def test_canceled_by_somebody_else_no_more_is_sent_until_it_is_resumed(bench: Bench) -> None:
    fake, sweep = bench.begin(BAYESIAN, lambda a: [0.1, State.CANCELED] if a == first else [0.5], "sweep.max_total=3")
    first = history.load_plan(bench.project, sweep.runs[0]).config["code"]["arguments"]
    bench.carry_on(sweep)
    assert len(fake.sent) == 1
    assert f"'amlrun resume {sweep.id}' goes on" in bench.said[0]
    bench.carry_on(sweep)
    assert len(set(fake.sent)) == len(fake.sent) == 3


def test_after_a_failure_that_is_to_stop_the_others_nothing_is_sent(bench: Bench) -> None:
    fake, sweep = bench.begin(BAYESIAN, lambda _: [State.FAILED], "sweep.max_total=3", stop_on_failure=True)
    bench.carry_on(sweep)
    assert len(fake.sent) == 1


def test_a_target_that_is_away_is_asked_again_and_later_each_time(bench: Bench) -> None:
    fake, sweep = bench.begin(RANDOM, rising, "sweep.max_total=2")
    fake.away = 3
    assert {run.state for run in bench.carry_on(sweep).runs} <= {State.COMPLETED, State.CANCELED}
    assert sorted(bench.slept)[-3:] == [2.0, 4.0, 8.0]
    assert bench.said[0] == "asking again: not reachable"


def test_two_processes_do_not_decide_about_one_sweep(bench: Bench) -> None:
    _, sweep = bench.begin(RANDOM, rising, "sweep.max_total=2")

    def another(_: float) -> None:
        with pytest.raises(TargetError, match="carried on by another process"):
            bench.carry_on(sweep)

    bench.carry_on(sweep, another)


@pytest.mark.parametrize(
    ("sweep", "deaths"),
    [(RANDOM, range(1, 14)), pytest.param(BAYESIAN + BANDIT, range(1, 24, 2), marks=pytest.mark.slow)],
)
def test_killed_at_any_moment_it_goes_on_and_sends_none_twice(sweep: str, deaths: range, bench: Bench) -> None:
    died = 0
    for moment in deaths:
        fake, begun = bench.begin(sweep, rising, "sweep.max_total=4", "compute.slots=2")
        fake.dies_at = moment
        try:
            outcome = bench.carry_on(begun)
        except KilledError:
            died += 1
            outcome = bench.carry_on(begun)
        assert len(set(fake.sent)) == len(fake.sent) == len(outcome.runs) == 4
        assert bench.stored(begun).runs == tuple(run.id for run in outcome.runs)
        assert all(run.state.final for run in outcome.runs)
        assert {run.id for run in outcome.runs if run.state is State.CANCELED} == set(outcome.stopped)
    assert died > len(deaths) // 2


def test_killed_while_a_point_becomes_a_run_it_is_that_run_all_the_same(bench: Bench) -> None:
    fake, sweep = bench.begin(BAYESIAN, rising, "sweep.max_total=3")
    store = history.store_together
    with bench.monkeypatch.context() as patched:
        patched.setattr(history, "store_together", lambda *_: (_ for _ in ()).throw(KilledError()))
        with pytest.raises(KilledError):
            bench.carry_on(sweep)
    asked = [trial.params for trial in trials(bench, sweep)]
    assert store is history.store_together
    bench.carry_on(sweep)
    assert len(fake.sent) == len(trials(bench, sweep)) == 3
    assert [trial.params for trial in trials(bench, sweep)][: len(asked)] == asked


def test_processes_with_runs_of_one_sweep_share_its_slots(tmp_path: Path) -> None:
    one, other = (Supervisor(tmp_path, deque(), 2, shared=tmp_path) for _ in range(2))
    assert [one.is_free(0), one.is_free(0), other.is_free(0), other.is_free(1)] == [True, True, False, True]
    one.active[0] = cast("Active", None)
    one.release(0)
    assert other.is_free(0)
    for lock in (*one.locks.values(), *other.locks.values()):
        lock.close()


def test_what_failed_is_repeated_in_its_place_and_in_the_study_what_was_stopped_is_not(bench: Bench) -> None:
    ends = iter([[0.1, State.FAILED], *[[0.5, 0.6]] * 5])
    known: dict[float, Any] = {}
    fake, sweep = bench.begin(
        BAYESIAN, lambda a: known.get(a["lr"]) or known.setdefault(a["lr"], next(ends)), "sweep.max_total=3"
    )
    bench.carry_on(sweep)
    (failed, stopped, _) = bench.stored(sweep).runs
    bench.monkeypatch.setattr(ending, "load_target", lambda *_: fake)
    fake.enter(stopped, State.CANCELED)
    write_stopped(bench.project, sweep.id, {stopped: "by a policy"})
    known.clear()
    asked = argparse.Namespace(failed=True, max_cost=None)
    repeated, waiting = resumed(bench.project, sweep, asked, lambda plan, _: replace(plan, id=f"{plan.id}-again"))
    assert [plan.id for plan in waiting] == [f"{failed}-again"]

    for _ in range(2):  # what is done is not done again
        outcome = bench.carry_on(sweep)

    assert [run.id for run in outcome.runs] == [f"{failed}-again", *repeated.runs[1:]]
    assert len(fake.sent) == len(set(fake.sent)) == 4
    made = trials(bench, sweep)
    assert [trial.state.name for trial in made] == ["FAIL", "COMPLETE", "COMPLETE", "COMPLETE"]
    assert (made[3].params, made[3].value) == (made[0].params, 0.6)


def trials(bench: Bench, sweep: Sweep) -> list[Any]:
    import optuna

    path = history.sweep_dir(bench.project, sweep.id) / "study.optuna"
    return list(optuna.load_study(study_name=None, storage=f"sqlite:///{path}").trials)
