"""Canceling on Azure: what is asked, and that a refusal is said."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runner import history
from runner.errors import TargetError
from runner.spec import State
from runner.targets import azureml_stop
from runner.targets.azureml_stop import ask, cancel
from runner.targets.azureml_workspace import Service
from runner.targets.local import identity
from tests.azureml.conftest import MakePlan


class RefusedError(Exception):
    """As `requests` raises it."""


RefusedError.__module__ = "requests.exceptions"


@dataclass
class Session:
    refusal: str = ""
    posted: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None: ...

    def post(self, uri: str, headers: dict[str, str], timeout: float) -> Any:
        self.posted.append((uri, headers))

        def check() -> None:
            if self.refusal:
                raise RefusedError(self.refusal)

        return SimpleNamespace(raise_for_status=check)


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch, service: Service, fake_module: Callable[..., None]) -> Session:
    made = Session()
    fake_module("azureml._restclient.utils", create_session_with_retry=lambda: made)
    auth = SimpleNamespace(get_authentication_header=lambda: {"Authorization": "Bearer x"})
    service.workspace.service_context = SimpleNamespace(get_auth=lambda: auth)
    record = SimpleNamespace(cancel_uri="https://there/cancel")
    monkeypatch.setattr(azureml_stop, "look_up", lambda service, experiment, run_id: record)
    return made


def test_the_address_in_the_runs_record_is_asked_with_our_token(service: Service, session: Session) -> None:
    ask(service, "e", "r")
    assert session.posted == [("https://there/cancel", {"Authorization": "Bearer x"})]


def test_a_refusal_is_said(service: Service, session: Session) -> None:
    session.refusal = "401 Client Error: Unauthorized"
    with pytest.raises(TargetError, match="run 'r' cannot be canceled: RefusedError: 401 Client Error"):
        ask(service, "e", "r")


def test_a_run_that_is_not_there_has_nothing_to_cancel(
    service: Service, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(azureml_stop, "look_up", lambda service, experiment, run_id: None)
    with pytest.raises(TargetError, match="workspace 'ws' has no run 'r': there is nothing to cancel"):
        ask(service, "e", "r")


def test_a_run_of_no_job_only_changes_its_state(
    service: Service, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[str] = []
    monkeypatch.setattr(azureml_stop, "look_up", lambda *_: SimpleNamespace(cancel_uri=None))
    monkeypatch.setattr(
        azureml_stop, "run_of", lambda service, run_id: SimpleNamespace(cancel=lambda: called.append(run_id))
    )
    ask(service, "e", "r")
    assert (called, session.posted) == (["r"], [])


@pytest.mark.parametrize(("there", "state"), [(False, State.CANCELED), (True, State.UNKNOWN)])
def test_a_plan_whose_sender_was_killed_is_canceled_here_or_there(
    there: bool, state: State, service: Service, session: Session, make_plan: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not there:
        monkeypatch.setattr(azureml_stop, "look_up", lambda service, experiment, run_id: None)
    plan = make_plan()
    project = Path(plan.project)
    history.claim(project, plan.id, {"pid": os.getpid(), "birth": "before"})
    cancel(project, history.load_run(project, plan.id), lambda: service)

    assert history.load_run(project, plan.id).state is state
    assert len(session.posted) == int(there)


def test_a_plan_that_is_being_sent_is_asked_for_on_the_service(
    service: Service, session: Session, make_plan: MakePlan
) -> None:
    plan = make_plan()
    project = Path(plan.project)
    history.claim(project, plan.id, identity(os.getpid()))
    cancel(project, history.load_run(project, plan.id), lambda: service)

    assert history.load_run(project, plan.id).state is State.PLANNED
    assert len(session.posted) == 1
