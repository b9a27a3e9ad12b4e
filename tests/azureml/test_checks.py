"""What is refused before anything is staged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from runner.answers import Answer, Standing
from runner.errors import Problem, TargetError
from runner.spec import Plan
from runner.targets import azureml_checks
from runner.targets.azureml_checks import check
from tests.azureml.conftest import MakePlan


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Answer]:
    """What the service says of every plan: put answers in."""
    said: list[Answer] = []

    def answers(plans: Sequence[Plan]) -> list[list[Answer]]:
        return [list(said) for _ in plans]

    monkeypatch.setattr(azureml_checks, "answers", answers)
    return said


def words(problems: list[Problem]) -> list[str]:
    return [f"{problem.path}: {problem.message}; {problem.hint}" for problem in problems]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"secrets": ("TOKEN",)}, "env.secrets: 'TOKEN' would not reach Azure"),
        ({"inputs": {"photos": {"path": "data"}}}, "inputs.photos: 'data' is no path in a datastore"),
        ({"resumes": "old"}, ": resuming on Azure is not part of this version; 'amlrun rerun old'"),
    ],
)
def test_what_does_not_travel_is_refused_without_asking_the_service(
    changes: dict[str, Any], said: str, make_plan: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(azureml_checks, "answers", lambda _: pytest.fail("asked the service"))
    [problem] = words(check([make_plan(**changes)]))

    assert problem.startswith(said)


def test_the_same_problem_of_many_plans_is_said_once(make_plan: MakePlan, told: list[Answer]) -> None:
    assert len(check([make_plan(id=f"r{n}", secrets=("TOKEN",)) for n in range(5)])) == 1
    told.append(Answer("cluster", Standing.MISSING, "no cluster 'cpu'"))
    assert len(check([make_plan(id=f"s{n}") for n in range(5)])) == 1


@pytest.mark.parametrize(
    ("about", "key"), [("cluster", "compute.name"), ("quota", "compute.vm_size"), ("environment", "env.name")]
)
def test_what_is_missing_is_refused_at_its_key(
    about: str, key: str, make_plan: MakePlan, told: list[Answer], capsys: pytest.CaptureFixture[str]
) -> None:
    told += [Answer("workspace", Standing.OK, "there"), Answer(about, Standing.MISSING, "none", "make one")]

    assert words(check([make_plan()])) == [f"{key}: none; make one"]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("about", ["workspace", "cluster", "environment"])
def test_no_answer_stops_a_run_with_what_was_asked(about: str, make_plan: MakePlan, told: list[Answer]) -> None:
    told.append(Answer(about, Standing.ERROR, f"cannot ask for the {about}: 403"))

    with pytest.raises(TargetError, match=f"^cannot ask for the {about}: 403$"):
        check([make_plan()])


@pytest.mark.parametrize("standing", [Standing.ERROR, Standing.WARNING])
def test_a_run_goes_on_without_its_quota_and_that_is_said(
    standing: Standing, make_plan: MakePlan, told: list[Answer], capsys: pytest.CaptureFixture[str]
) -> None:
    """Who may send runs may not always read the subscription."""
    told.append(Answer("quota", standing, "cannot ask for the quota: 403"))

    assert check([make_plan()]) == []
    assert capsys.readouterr().err == "amlrun: quota: cannot ask for the quota: 403\n"


def test_what_is_well_is_not_said(make_plan: MakePlan, told: list[Answer], capsys: pytest.CaptureFixture[str]) -> None:
    told += [Answer(about, Standing.OK, "fine") for about in azureml_checks.KEYS]
    told.append(Answer("cluster", Standing.WARNING, "another size"))

    assert check([make_plan()]) == []
    assert capsys.readouterr().err == ""
