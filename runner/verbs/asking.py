"""plan --online: what the service says of each plan, beside the plan."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from runner import describe
from runner.answers import Answer, Standing, not_asked
from runner.errors import TargetError
from runner.spec import Plan

# Who asks for a target's plans; a run on this machine has nobody to ask.
ASKERS: Mapping[str, str] = {"azureml": "runner.targets.azureml_online:answers"}
HERE = "local"


def answers(plans: Sequence[Plan]) -> list[list[Answer]]:
    """For each plan, in order; none where it runs here."""
    asked: dict[str, list[Answer]] = {}
    for target in dict.fromkeys(plan.target for plan in plans):
        mine = [plan for plan in plans if plan.target == target]
        asked |= {plan.id: found for plan, found in zip(mine, answers_of(target, mine), strict=True)}
    return [asked[plan.id] for plan in plans]


def answers_of(target: str, plans: Sequence[Plan]) -> list[list[Answer]]:
    if target == HERE:
        return [[] for _ in plans]
    if target not in ASKERS:
        return [[not_asked("workspace", f"'{target}' is planned only; workspace.sdk=v1 is asked")] for _ in plans]
    module, _, name = ASKERS[target].partition(":")
    found: list[list[Answer]] = getattr(importlib.import_module(module), name)(plans)
    return found


def answered(plans: Sequence[Plan], asked: Sequence[Sequence[Answer]]) -> list[Plan]:
    """The plans; where the service was asked, with what is left unanswered."""
    if not asked:
        return list(plans)
    return [replace(plan, not_asked=open_of(found)) for plan, found in zip(plans, asked, strict=True)]


def open_of(asked: Sequence[Answer]) -> tuple[str, ...]:
    return tuple(f"{item.about}: {item}" for item in asked if item.standing is Standing.NOT_ASKED)


def texts(plans: Sequence[Plan], asked: Sequence[Sequence[Answer]]) -> list[str]:
    """Plans for people, each with its answers."""
    shown = [describe.plan_text(plan) for plan in answered(plans, asked)]
    tables = [answers_text(found) for found in asked] or [""] * len(shown)
    return [f"{plan}\n{table}" if table else plan for plan, table in zip(shown, tables, strict=True)]


def answers_text(asked: Sequence[Answer]) -> str:
    """An answer a line."""
    return describe.table([(item.about, f"{item.standing.value + ',':<11}{item}") for item in asked])


def as_json(plans: Sequence[Plan], asked: Sequence[Sequence[Answer]]) -> list[dict[str, Any]]:
    """In the form of online.schema.json."""
    each = zip(plans, asked, strict=True)
    return [{"run": plan.id, "answers": [item.as_json() for item in found]} for plan, found in each]


def refusals(asked: Sequence[Sequence[Answer]]) -> list[str]:
    """What would stop the runs, each once."""
    stops = [f"{item.about}: {item}" for found in asked for item in found if item.standing.stops]
    return list(dict.fromkeys(stops))


def exit_code(asked: Sequence[Sequence[Answer]]) -> int:
    return TargetError.exit_code if refusals(asked) else 0
