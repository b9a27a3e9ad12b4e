"""Stored sweeps become the points they stand for; what is not known beforehand is refused, not ignored."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runner.rules.sweep import WRITTEN_BY_TRAIN
from tests.conftest import ROOT, Cli, write
from tests.recipes import steps


def test_a_stored_grid_is_every_combination(cli: Cli, project: Path) -> None:
    done = cli(project, "config", "--json", "sweep=lr-grid")
    points = [json.loads(line) for line in done.out.splitlines()]
    assert [(point["optimizer"]["lr"], point["seed"]) for point in points] == [
        (lr, seed) for lr in (0.01, 0.003, 0.001) for seed in (0, 1)
    ]


def test_the_command_line_wins_over_the_stored_sweep(cli: Cli, project: Path) -> None:
    done = cli(project, "config", "--json", "sweep=lr-grid", "seed=7")
    assert [json.loads(line)["seed"] for line in done.out.splitlines()] == [7, 7, 7]


def test_a_stored_sweep_under_a_sweep(cli: Cli, project: Path) -> None:
    done = cli(project, "plan", "--json", "-m", "sweep=lr-grid", "seed=1", "trainer.epochs=1,2")
    assert len(json.loads(done.out)["plans"]) == 6


def test_more_points_than_allowed(cli: Cli, project: Path) -> None:
    done = cli(project, "plan", "sweep=lr-grid", "sweep.max_total=2")
    assert done.code == 2
    assert "override 'sweep.max_total=2': sweep.max_total: the sweep has 6 points, more than 2" in done.err


def test_random_points_are_those_of_the_seed(cli: Cli, project: Path) -> None:
    drawn = [cli(project, "config", "--json", "sweep=lr-random", *more).out for more in ((), (), ("sweep.seed=1",))]
    rates = [json.loads(line)["optimizer"]["lr"] for line in drawn[0].splitlines()]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(set(rates)) == 8
    assert all(0.0005 <= rate <= 0.02 for rate in rates)


def test_the_command_line_wins_over_what_is_drawn(cli: Cli, project: Path) -> None:
    done = cli(project, "config", "--json", "sweep=lr-random", "optimizer.lr=0.1")
    points = [json.loads(line)["optimizer"] for line in done.out.splitlines()]
    assert sorted((point["lr"], point["weight_decay"]) for point in points) == [(0.1, 0.0), (0.1, 0.01), (0.1, 0.1)]


def test_of_points_that_follow_from_results_the_first_is_known(cli: Cli, project: Path) -> None:
    assert len(cli(project, "config", "--json", "sweep=lr-bayesian").out.splitlines()) == 1


def test_the_tutorials_hyperdrive_is_one_yaml(cli: Cli, project: Path) -> None:
    plans = json.loads(cli(project, "plan", "--json", "experiment=tutorial-sweep").out)["plans"]
    points = [plan["config"]["optimizer"] for plan in plans]
    assert len(points) == 8
    assert all(0.0005 <= point["lr"] <= 0.005 and 0.9 <= point["momentum"] <= 0.99 for point in points)


def test_a_list_is_values_to_try(cli: Cli, project: Path) -> None:
    tags = "[a b, 'null', true, 2, '2']"
    write(project, {"configs/sweep/listed.yaml": f"sampler: grid\nparams:\n  +x: {tags}\n"})
    done = cli(project, "config", "--json", "sweep=listed")
    assert [json.loads(line)["x"] for line in done.out.splitlines()] == ["a b", "null", True, 2, "2"]


@pytest.mark.parametrize(
    ("sampler", "value", "said"),
    [
        ("random", "interval(2, 1)", "the interval from 2 to 1 is empty; the smaller number comes first"),
        ("bayesian", "tag(log, interval(0, 1))", "a log interval cannot begin at 0; begin above 0"),
        ("grid", "tag(log, int(interval(1, 2)))", "a grid cannot hold every value of an interval; use choice(...)"),
        ("random", "choice(1, 2", "not in Hydra's override grammar"),
    ],
)
def test_what_a_sampler_cannot_draw_is_refused_at_its_place(
    sampler: str, value: str, said: str, cli: Cli, project: Path
) -> None:
    text = f"sampler: {sampler}\nmetric: test_loss\ngoal: minimize\nmax_total: 3\nparams:\n  seed: {value}\n"
    write(project, {"configs/sweep/bad.yaml": text})
    done = cli(project, "validate", "sweep=bad")
    assert done.code == 2
    assert done.err.startswith("configs/sweep/bad.yaml:6:9: ")
    assert said in done.err


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("hydra/sweeper=optuna", "sweep.sampler=bayesian"),
        ("+hydra.sweeper.n_trials=20", "sweep.max_total"),
        ("hydra.sweeper.params.optimizer.lr=0.1,0.2", "sweep.params.optimizer.lr"),
        ("hydra.sweeper.sampler.seed=3", "sweep.seed"),
        ("hydra/launcher=joblib", "compute.slots"),
    ],
)
def test_hydras_own_sweepers_are_answered_with_how_it_is_written_here(
    text: str, hint: str, cli: Cli, project: Path
) -> None:
    done = cli(project, "validate", text)
    assert done.code == 2
    assert "Hydra's sweepers are not used here; write " + hint in done.err


def test_a_wrong_stored_sweep_is_left_to_the_schema(cli: Cli, project: Path) -> None:
    write(project, {"configs/sweep/bad.yaml": "sampler: grid\nparams: 3\n"})
    done = cli(project, "validate", "sweep=bad")
    assert done.code == 2
    assert "configs/sweep/bad.yaml:2:9: sweep.params" in done.err


def test_a_stored_sweep_beside_a_single_run(cli: Cli, project: Path) -> None:
    head = "# @package _global_\n"
    write(project, {"configs/experiment/many.yaml": f"{head}defaults:\n  - override /sweep: lr-grid\n"})
    write(project, {"configs/experiment/one.yaml": f"{head}name: one\n"})
    done = cli(project, "config", "--json", "-m", "experiment=many,one", "seed=5")
    assert [json.loads(line)["optimizer"]["lr"] for line in done.out.splitlines()] == [0.01, 0.003, 0.001, 0.005]


def test_the_points_of_a_stored_sweep_are_runs_of_their_own(cli: Cli, project: Path) -> None:
    plans = json.loads(cli(project, "plan", "--json", "sweep=lr-grid").out)["plans"]
    assert len({plan["id"] for plan in plans}) == 6
    assert all("optimizer.lr=" in " ".join(plan["overrides"]) for plan in plans)


def test_the_commands_of_the_page_about_sweeps(cli: Cli, project: Path) -> None:
    ran = list(steps(ROOT / "docs" / "adaptive.md"))
    assert len(ran) >= 4
    assert [cli(project, *step.argv[1:]).code for step in ran] == [step.code for step in ran]


def test_the_columns_that_a_sweep_may_name_are_those_of_the_training_loop() -> None:
    text = (ROOT / "train" / "loop.py").read_text()
    assert [name for name in WRITTEN_BY_TRAIN if f'"{name}"' not in text] == []
