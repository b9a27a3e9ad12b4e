"""Early termination as HyperDrive defines it, by the examples of its documentation and at its edges."""

from __future__ import annotations

import math
from typing import Any

import pytest

from runner.policies import best_of, due, verdict

NAN = math.nan
FACTOR: dict[str, Any] = {"kind": "bandit", "slack_factor": 0.2}
AMOUNT: dict[str, Any] = {"kind": "bandit", "slack_amount": 0.1, "slack_factor": None}
MEDIAN: dict[str, Any] = {"kind": "median"}
WORST_FIFTH: dict[str, Any] = {"kind": "truncation", "truncation_percentage": 20}


@pytest.mark.parametrize(
    ("interval", "delay", "reports", "at"),
    [
        (1, 0, 0, 0),
        (1, 0, 3, 3),
        (1, 10, 9, 0),
        (1, 10, 10, 10),
        (5, 0, 4, 0),
        (5, 0, 14, 10),
        (5, 7, 9, 0),  # 5 is too early, and 10 is not there yet
        (5, 7, 10, 10),
        (None, None, 2, 2),
    ],
)
def test_when_a_policy_decides(interval: int | None, delay: int | None, reports: int, at: int) -> None:
    assert due({**MEDIAN, "evaluation_interval": interval, "delay_evaluation": delay}, reports) == at


@pytest.mark.parametrize("policy", [None, {}, {"kind": "none"}])
def test_no_policy_never_decides(policy: dict[str, Any] | None) -> None:
    assert due(policy, 100) == 0


@pytest.mark.parametrize(
    ("policy", "goal", "mine", "others", "stops"),
    [
        # "best 0.8 and slack_factor 0.2: less than 0.66 is terminated" (0.8 / 1.2)
        (FACTOR, "maximize", [0.66], [[0.8]], True),
        (FACTOR, "maximize", [0.67], [[0.8]], False),
        (FACTOR, "minimize", [1.21], [[1.0]], True),
        (FACTOR, "minimize", [1.19], [[1.0]], False),
        (FACTOR, "maximize", [-1.19], [[-1.0]], False),  # a share of a negative number is still a distance
        (FACTOR, "maximize", [-1.21], [[-1.0]], True),
        (FACTOR, "minimize", [-0.8], [[-1.0]], True),
        (FACTOR, "minimize", [-0.9], [[-1.0]], False),
        (FACTOR, "maximize", [0.5, 0.1], [[0.5, 0.5]], False),  # the best so far counts, not the last
        (AMOUNT, "maximize", [0.69], [[0.8]], True),
        (AMOUNT, "maximize", [0.71], [[0.8]], False),
        (AMOUNT, "minimize", [0.31], [[0.2]], True),
        (AMOUNT, "minimize", [0.29], [[0.2]], False),
        (FACTOR, "maximize", [0.1], [], False),
        (FACTOR, "maximize", [0.1, 0.1], [[0.9]], False),  # the other has not come as far
        (FACTOR, "maximize", [0.1], [[0.1, 0.9]], False),  # what the other did later does not count
        (MEDIAN, "maximize", [0.3, 0.4], [[0.6, 0.8], [0.6, 0.7]], True),  # running averages 0.35, 0.7, 0.65
        (MEDIAN, "maximize", [0.3, 0.66], [[0.6, 0.8], [0.6, 0.7]], False),
        (MEDIAN, "minimize", [0.9, 0.8], [[0.6, 0.8], [0.6, 0.7]], True),
        (MEDIAN, "maximize", [0.5], [], False),
        (WORST_FIFTH, "maximize", [0.1], [[0.2], [0.3], [0.4], [0.5]], True),
        (WORST_FIFTH, "maximize", [0.2], [[0.1], [0.3], [0.4], [0.5]], False),
        (WORST_FIFTH, "minimize", [0.5], [[0.1], [0.2], [0.3], [0.4]], True),
        (WORST_FIFTH, "maximize", [0.1], [[0.2], [0.3], [0.4]], False),  # a fifth of four is none
        (WORST_FIFTH, "maximize", [0.1], [[0.1]] * 4, False),  # equals are stopped together or not at all
        (FACTOR, "minimize", [NAN], [[0.5]], True),
        (MEDIAN, "maximize", [NAN, 0.9], [[0.5, NAN], [0.6, 0.6]], False),
        (WORST_FIFTH, "minimize", [math.inf], [[1], [2], [3], [4]], True),
        (FACTOR, "maximize", [NAN], [[NAN]], False),  # nothing is better than nothing
    ],
)
def test_who_is_stopped(
    policy: dict[str, Any], goal: str, mine: list[float], others: list[list[float]], stops: bool
) -> None:
    assert bool(verdict(policy, goal, len(mine), mine, others)) == stops


def test_the_reason_names_both_numbers() -> None:
    assert verdict(FACTOR, "minimize", 3, [2, 1.5, 1.6], [[1, 1, 1, 0.5]]) == (
        "bandit policy at report 3: its best is 1.5, worse than 1.2"
    )
    assert verdict(FACTOR, "minimize", 1, [NAN], [[1]]) == (
        "bandit policy at report 1: it has no finite value, worse than 1.2"
    )


@pytest.mark.parametrize(
    ("goal", "values", "best"),
    [
        ("maximize", [1, 3, 2], 3),
        ("minimize", [2, 1, NAN], 1),
        ("minimize", [NAN, math.inf], None),
        ("maximize", [], None),
    ],
)
def test_the_best_is_finite(goal: str, values: list[float], best: float | None) -> None:
    assert best_of(values, goal) == best
