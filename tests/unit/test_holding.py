"""Sweeps on a service of which only some may run at once, or none after a failure: the loop decides nothing else."""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import replace
from typing import Any

import pytest

from runner import adaptive, carrying, history, pipeline
from runner.errors import TargetError
from runner.pipeline import Request
from runner.spec import Plan, Run, State
from runner.sweeps import Sweep, is_held, together
from tests.conftest import write
from tests.unit.test_adaptive import SCRIPT, Bench, Curve, Fake, KilledError, bench, blank, rising

__all__ = ["bench", "blank"]


def held(bench: Bench, curve: Curve, points: int = 5, at_once: int | None = 2, **options: Any) -> tuple[Fake, Sweep]:
    """A grid on Azure without a metric, as `run` stores it."""
    limit = "null" if at_once is None else at_once
    grid = f"sampler: grid\nmax_concurrent: {limit}\nparams: {{code.arguments.n: 'range({points})'}}\n"
    write(bench.project, {"configs/sweep/mine.yaml": grid, "s.py": ""})
    write(bench.project, {"configs/experiment/e.yaml": f"# @package _global_\nname: e\n{SCRIPT}"})
    fake = Fake(bench.project, curve)
    for module in (adaptive, pipeline):
        bench.monkeypatch.setattr(module, "load_target", lambda *_: fake)
    overrides = ("experiment=e", "sweep=mine", "compute=cpu-cluster", "workspace=emulator")
    planned = pipeline.planned(Request(bench.project, overrides))
    sweep, plans = together(planned.plans, overrides, options)
    assert sweep is not None
    assert is_held(sweep, plans[0])
    pipeline.accepted(replace(planned, plans=plans), bench.project, sweep)
    return fake, sweep


def test_a_grid_is_held_without_a_metric_and_without_asking_for_any(bench: Bench) -> None:
    fake, sweep = held(bench, lambda _: [0.1, 0.2])
    bench.monkeypatch.setattr(fake, "metrics", lambda run: pytest.fail("asked for metrics"))
    outcome = bench.carry_on(sweep)
    assert {run.state for run in outcome.runs} == {State.COMPLETED}
    assert (fake.sent, fake.most) == (list(sweep.runs), 2)


def test_canceled_while_nothing_of_it_runs_it_sends_nothing_until_it_is_not(bench: Bench) -> None:
    fake, sweep = held(bench, lambda _: [0.1])
    history.sweep_dir(bench.project, sweep.id).mkdir()
    carrying.cancel(bench.project, sweep.id)
    assert {run.state for run in bench.carry_on(sweep).runs} == {State.PLANNED}
    assert f"{sweep.id} was canceled" in bench.said[0]
    carrying.uncancel(bench.project, sweep.id)
    bench.carry_on(sweep)
    assert fake.sent == list(sweep.runs)


def test_canceled_between_two_looks_no_more_is_sent(bench: Bench) -> None:
    fake, sweep = held(bench, lambda _: [0.1, 0.2])
    looks = iter(range(99))

    def cancel(_: float) -> None:
        if next(looks) == 1:
            carrying.cancel(bench.project, sweep.id)

    bench.carry_on(sweep, cancel)
    assert fake.sent == list(sweep.runs[:2])


def test_after_a_failure_what_waits_on_a_service_is_canceled_and_what_runs_goes_on(bench: Bench) -> None:
    fake, sweep = held(bench, lambda a: [State.FAILED] if a["n"] == 0 else [0.1] * 3, 4, None, stop_on_failure=True)
    submit = fake.submit

    def queued(plans: list[Plan]) -> list[Run]:
        submit(plans)
        fake.enter(plans[-1].id, State.QUEUED)
        return [history.load_run(bench.project, plan.id) for plan in plans]

    bench.monkeypatch.setattr(fake, "submit", queued)
    outcome = bench.carry_on(sweep)
    assert [run.state.value for run in outcome.runs] == ["failed", "completed", "completed", "canceled"]
    assert outcome.runs[3].note == f"canceled before it began, because {sweep.runs[0]} had failed"


def test_what_a_service_did_not_take_is_sent_later_and_the_rest_is_not_forgotten(bench: Bench) -> None:
    fake, sweep = held(bench, lambda _: [0.1])
    submit, refused = fake.submit, iter([True])

    def half(plans: list[Plan]) -> list[Run]:
        if next(refused, False):
            submit(plans[:1])
            raise TargetError("1 of 2 runs were not sent")
        return submit(plans)

    bench.monkeypatch.setattr(fake, "submit", half)
    assert {run.state for run in bench.carry_on(sweep).runs} == {State.COMPLETED}
    assert (sorted(fake.sent), fake.most) == (sorted(sweep.runs), 2)


def test_a_held_sweep_that_is_killed_at_any_moment_sends_none_twice_and_never_too_many(bench: Bench) -> None:
    for moment in range(1, 16):
        fake, sweep = held(bench, rising)
        fake.dies_at = moment
        with contextlib.suppress(KilledError):
            bench.carry_on(sweep)
        bench.carry_on(sweep)
        assert (sorted(fake.sent), fake.most) == (sorted(sweep.runs), 2)


def test_runs_that_were_removed_are_left_out(bench: Bench) -> None:
    fake, sweep = held(bench, lambda _: [0.1])
    shutil.rmtree(history.files(bench.project, sweep.runs[0]).root)
    assert [run.id for run in bench.carry_on(sweep).runs] == fake.sent == list(sweep.runs[1:])
