"""When a run of a sweep is stopped early: the policies of Azure ML's HyperDrive, as pure functions of reports.

Source: azureml.train.hyperdrive, BanditPolicy, MedianStoppingPolicy and TruncationSelectionPolicy. A report is one
value of the metric. A policy decides at every multiple of `evaluation_interval` reports that is at least
`delay_evaluation`. What is no finite number counts as a report, and as the worst there can be.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, median
from typing import Any

WORST = -math.inf
# From the reports of all runs that have come as far, as scores (more is better): the worst that may go on.
Allowed = Callable[[Mapping[str, Any], Sequence[Sequence[float]]], float]


def due(policy: Mapping[str, Any] | None, reports: int) -> int:
    """The last of so many reports at which the policy decides; 0 where there is none."""
    asked = policy or {}
    if asked.get("kind") not in ALLOWED:
        return 0
    every = int(asked.get("evaluation_interval") or 1)
    last = reports // every * every
    return last if last >= (asked.get("delay_evaluation") or 0) else 0


def verdict(
    policy: Mapping[str, Any], goal: str, at: int, mine: Sequence[float], others: Sequence[Sequence[float]]
) -> str | None:
    """Why the run with the reports `mine` is to be stopped after report `at`, None where it may go on.

    It is compared with those of `others` that have come as far, whether they still run or not.
    """
    sign = 1.0 if goal == "maximize" else -1.0
    peers = [scores(values[:at], sign) for values in (mine, *others) if len(values) >= at]
    own, allowed = max(peers[0]), ALLOWED[policy["kind"]](policy, peers)
    if own >= allowed:
        return None
    best = f"its best is {number(own, sign)}" if own > WORST else "it has no finite value"
    return f"{policy['kind']} policy at report {at}: {best}, worse than {number(allowed, sign)}"


def best_of(values: Sequence[float], goal: str) -> float | None:
    """The best finite value, None where there is none."""
    finite = [value for value in values if math.isfinite(value)]
    return (max if goal == "maximize" else min)(finite) if finite else None


def bandit(policy: Mapping[str, Any], peers: Sequence[Sequence[float]]) -> float:
    """`best / (1 + slack_factor)`, mirrored for numbers below 0, or `best - slack_amount`."""
    best = max(map(max, peers))
    if policy.get("slack_amount") is not None:
        return best - float(policy["slack_amount"])
    share = 1 + float(policy["slack_factor"])
    return best / share if best >= 0 else best * share


def median_stopping(_policy: Mapping[str, Any], peers: Sequence[Sequence[float]]) -> float:
    """The median of the running averages."""
    return median(average(values) for values in peers)


def truncation(policy: Mapping[str, Any], peers: Sequence[Sequence[float]]) -> float:
    """The first value above the worst share of all; who is as good as that one goes on."""
    ranked = sorted(max(values) for values in peers)
    return ranked[len(ranked) * int(policy["truncation_percentage"]) // 100]


def scores(values: Sequence[float], sign: float) -> list[float]:
    return [sign * value if math.isfinite(value) else WORST for value in values]


def average(values: Sequence[float]) -> float:
    finite = [value for value in values if value > WORST]
    return fmean(finite) if finite else WORST


def number(score: float, sign: float) -> str:
    return f"{sign * score:.6g}"


ALLOWED: Mapping[str, Allowed] = {"bandit": bandit, "median": median_stopping, "truncation": truncation}
