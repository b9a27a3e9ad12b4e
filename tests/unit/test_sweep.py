"""Stored sweeps become the points they stand for; what is not known beforehand is refused, not ignored."""

from __future__ import annotations

import json
from pathlib import Path

from tests.conftest import Cli, write


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


def test_a_sampler_that_draws_is_refused_with_its_place(cli: Cli, project: Path) -> None:
    done = cli(project, "run", "sweep=lr-random")
    assert done.code == 2
    assert "configs/sweep/lr-random.yaml:3:10: sweep.sampler: 'random' draws its points while it runs" in done.err


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
