"""What is refused before anything is staged."""

from __future__ import annotations

from typing import Any

import pytest

from runner.errors import Problem
from runner.spec import Plan
from runner.targets import azureml_checks
from runner.targets.azureml_checks import check
from runner.targets.azureml_workspace import Service
from tests.azureml.conftest import MakePlan


@pytest.fixture
def asked(service: Service, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of clusters that the workspace was asked for; it has 'cpu'."""
    names: list[str] = []

    def find(service: Service, name: str) -> Any:
        names.append(name)
        return name if name == "cpu" else None

    monkeypatch.setattr(azureml_checks, "connect", lambda project, settings: service)
    monkeypatch.setattr(azureml_checks, "find", find)
    service.workspace.compute_targets = {"cpu": None}
    monkeypatch.setattr(azureml_checks, "missing", lambda service, name: f"no cluster '{name}'; there are: 'cpu'")
    return names


def on(plan: Plan, **compute: Any) -> dict[str, Any]:
    return {**plan.config, "compute": {**plan.config["compute"], **compute}}


def words(problems: list[Problem]) -> list[str]:
    return [f"{problem.path}: {problem.message}; {problem.hint}" for problem in problems]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"secrets": ("TOKEN",)}, "env.secrets: 'TOKEN' would not reach Azure"),
        ({"inputs": {"photos": {"path": "data"}}}, "inputs.photos: inputs on Azure are not sent"),
        ({"resumes": "old"}, ": resuming on Azure is not part of this version; 'amlrun rerun old'"),
    ],
)
def test_what_does_not_travel_is_refused_without_asking_the_service(
    changes: dict[str, Any], said: str, make_plan: MakePlan, asked: list[str]
) -> None:
    [problem] = words(check([make_plan(**changes)]))

    assert problem.startswith(said)
    assert asked == []


def test_the_same_problem_of_many_plans_is_said_once(make_plan: MakePlan, asked: list[str]) -> None:
    assert len(check([make_plan(id=f"r{n}", secrets=("TOKEN",)) for n in range(5)])) == 1


def test_a_cluster_that_will_be_made_is_fine(make_plan: MakePlan, asked: list[str]) -> None:
    assert check([make_plan()]) == []


def test_a_cluster_that_must_be_there_is_asked_for_once(make_plan: MakePlan, asked: list[str]) -> None:
    plan = make_plan()
    plans = [make_plan(id=f"r{n}", config=on(plan, create=False)) for n in range(5)]

    assert check(plans) == []
    assert asked == ["cpu"]


def test_a_cluster_that_is_not_there_is_named_with_what_is(make_plan: MakePlan, asked: list[str]) -> None:
    plan = make_plan()
    config = on(plan, create=False, name="gpu")

    assert words(check([make_plan(id="r", config=config)])) == ["compute.name: no cluster 'gpu'; there are: 'cpu'"]
