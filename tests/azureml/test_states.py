"""Azure's statuses become ours."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pytest

from runner import history
from runner.spec import Run, State
from runner.targets.azureml_states import STATES, message_of, moved, state_of, status_of
from tests.azureml.conftest import MakePlan

BEGAN = datetime(2026, 1, 1, 1, 0, tzinfo=timezone.utc)
ENDED = BEGAN + timedelta(minutes=5)


def record(status: str, **values: Any) -> SimpleNamespace:
    return SimpleNamespace(status=status, **{"start_time_utc": None, "end_time_utc": None, "error": None, **values})


@pytest.fixture
def planned(make_plan: MakePlan) -> Run:
    return history.planned(make_plan())


def test_every_state_but_two_has_a_status() -> None:
    assert set(STATES.values()) == set(State) - {State.PLANNED, State.UNKNOWN}
    assert {name for name, state in STATES.items() if state.final} == {"Completed", "Finished", "Failed", "Canceled"}


@pytest.mark.parametrize("status", ["", "Exploded", "completed", None, 7])
def test_what_azure_never_said_is_unknown_and_not_final(status: object, planned: Run) -> None:
    assert state_of(status) is State.UNKNOWN

    run = moved(planned, record(str(status)))
    assert (run.state, run.phases, run.ended) == (State.UNKNOWN, planned.phases, None)


def test_a_run_that_the_service_lacks_is_unknown_until_it_is_there(planned: Run) -> None:
    lost = moved(moved(planned, record("Running", start_time_utc=BEGAN)), None)
    assert lost.state is State.UNKNOWN

    again = moved(lost, record("Running", start_time_utc=BEGAN))
    assert again.state is State.RUNNING
    assert [state for state, _ in again.phases] == ["planned", "running"]


def test_phases_come_in_order_and_each_once(planned: Run) -> None:
    run = planned
    for status in ("NotStarted", "Preparing", "Preparing", "Queued", "Running", "Running", "Finalizing", "Completed"):
        began = BEGAN if status in ("Running", "Finalizing", "Completed") else None
        run = moved(run, record(status, start_time_utc=began, end_time_utc=ENDED if status == "Completed" else None))

    names = [state for state, _ in run.phases]
    assert names == ["planned", "preparing", "queued", "running", "finalizing", "completed"]
    assert dict(run.phases)["running"] == "2026-01-01T01:00:00.000+00:00"
    assert run.ended == dict(run.phases)["completed"] == "2026-01-01T01:05:00.000+00:00"


@pytest.mark.parametrize("status", ["Completed", "Failed", "Finalizing"])
def test_a_phase_that_was_over_before_we_looked_is_filled_in(status: str, planned: Run) -> None:
    run = moved(planned, record(status, start_time_utc=BEGAN, end_time_utc=ENDED))

    assert [state for state, _ in run.phases] == ["planned", "running", state_of(status).value]


def test_a_run_canceled_while_it_waited_never_ran(planned: Run) -> None:
    run = moved(moved(planned, record("Queued")), record("Canceled", end_time_utc=ENDED))

    assert [state for state, _ in run.phases] == ["planned", "queued", "canceled"]


def test_looking_again_changes_nothing(planned: Run) -> None:
    answer = record("Failed", start_time_utc=BEGAN, end_time_utc=ENDED)
    run = moved(planned, answer)

    assert moved(run, answer) == run


def test_the_reason_is_found_where_the_sdk_puts_it() -> None:
    inner = SimpleNamespace(code="UserError", message="Execution failed")

    assert message_of(record("Failed", error=SimpleNamespace(error=inner))) == "Execution failed"
    assert message_of(record("Failed", error=inner)) == "Execution failed"
    assert message_of(record("Failed")) == ""


def test_the_http_status_is_found_behind_wrapped_exceptions() -> None:
    refused = ValueError("x")
    refused.response = SimpleNamespace(status_code=403)  # type: ignore[attr-defined]
    wrapped = RuntimeError("outer")
    wrapped.inner_exception = refused  # type: ignore[attr-defined]
    raised = OSError("outermost")
    raised.__cause__ = wrapped

    assert status_of(raised) == 403
    assert status_of(ValueError()) is None
    assert status_of(None) is None
