"""The end of a run: its state, why it failed, and what is noted when something could not be kept."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runner import history
from runner.errors import TargetError
from runner.spec import Failure, Layout, Plan, Run, State
from runner.targets import azureml_end
from runner.targets.azureml_end import concluded, exit_code, judged
from runner.targets.azureml_workspace import Service
from tests.azureml.conftest import MakePlan

BOOM = 'Traceback (most recent call last):\n  File "a.py", line 1, in <module>\nValueError: boom\n'
LOST = "Traceback (most recent call last):\nRuntimeError: Connection closed by peer [127.0.0.1]:6105\n"


def ended(plan: Plan, state: State) -> Run:
    phases = (("planned", plan.created), ("running", "2026-01-01T00:01:00+00:00"), (state.value, "2026-01-01T00:02:00"))
    return Run(plan.id, plan.url, plan.name, plan.target, state, plan.created, phases, "2026-01-01T00:02:00")


def write_logs(plan: Plan, **texts: str) -> None:
    files = history.files(Path(plan.project), plan.id)
    for name, text in texts.items():
        path = files.logs / "user_logs" / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def failure_of(run: Run) -> Failure:
    assert run.failure is not None
    return run.failure


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("Execution failed. User process 'python' exited with status code 9. Please check", 9),
        ("exited with status code -9.", 137),
        ("AzureMLCompute job failed.\nExitCode: exit code 1", 1),
        ("Job preparation failed", None),
        ("", None),
    ],
)
def test_the_exit_code_is_in_the_message(message: str, code: int | None) -> None:
    assert exit_code(message) == code


def test_a_single_process_is_judged_by_its_exit_code_too(make_plan: MakePlan) -> None:
    plan = make_plan()
    write_logs(plan, std_log="before\n")
    failure = failure_of(judged(plan, ended(plan, State.FAILED), "exited with status code -9."))

    assert failure.cause == "killed by SIGKILL: most likely out of memory"
    assert (failure.rank, failure.exit_code, failure.log) == (0, 137, "logs/user_logs/std_log.txt")


def test_of_many_processes_the_first_cause_is_shown(make_plan: MakePlan) -> None:
    plan = make_plan(layout=Layout("mpi", 3, 1))
    write_logs(plan, std_log_process_0=LOST, std_log_process_1=LOST, std_log_process_2=BOOM)
    failure = failure_of(judged(plan, ended(plan, State.FAILED), "exited with status code 1."))

    assert (failure.cause, failure.rank, failure.exit_code) == ("ValueError: boom", 2, 1)
    assert failure.log == "logs/user_logs/std_log_process_2.txt"
    assert "ValueError: boom" in failure.evidence


def test_without_a_log_the_services_words_are_shown(make_plan: MakePlan) -> None:
    plan = make_plan()
    failure = failure_of(judged(plan, ended(plan, State.FAILED), "Image build failed.\nSee the log."))

    assert (failure.cause, failure.evidence) == ("Image build failed.", "Image build failed.\nSee the log.")


def test_without_any_word_that_is_said(make_plan: MakePlan) -> None:
    plan = make_plan()

    assert "Azure gives no reason" in failure_of(judged(plan, ended(plan, State.FAILED), "")).cause


def test_a_run_stopped_for_its_length_has_failed(make_plan: MakePlan) -> None:
    plan = make_plan(limits={"max_minutes": 5})
    run = judged(plan, ended(plan, State.CANCELED), "the run exceeded its maximum duration of 300 seconds")

    assert (run.state, failure_of(run).cause) == (State.FAILED, "stopped after 5 minutes (limits.max_minutes)")
    assert run.phases[-1][0] == "failed"


def test_a_run_that_we_canceled_is_canceled(make_plan: MakePlan) -> None:
    plan = make_plan(limits={"max_minutes": 5})
    history.files(Path(plan.project), plan.id).cancel.touch()
    run = ended(plan, State.CANCELED)

    assert judged(plan, run, "exceeded its maximum duration") == run


@pytest.mark.parametrize("state", [State.COMPLETED, State.CANCELED])
def test_any_other_end_is_no_failure(state: State, make_plan: MakePlan) -> None:
    plan = make_plan()
    write_logs(plan, std_log=BOOM)

    assert judged(plan, ended(plan, state), "").failure is None


def test_what_is_kept_of_a_log_holds_no_secret(make_plan: MakePlan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "s3cr3t-value")
    plan = make_plan(secrets=("MY_TOKEN",))
    write_logs(plan, std_log=BOOM.replace("boom", "s3cr3t-value"))
    failure = failure_of(judged(plan, ended(plan, State.FAILED), "exited with status code 1"))

    assert "s3cr3t-value" not in failure.cause + failure.evidence


@pytest.fixture
def nothing_to_keep(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("keep_logs", "keep_outputs"):
        monkeypatch.setattr(azureml_end, name, lambda service, run_id, files: None)


def end(service: Service, plan: Plan, state: State) -> Run:
    return concluded(service, plan, ended(plan, state), SimpleNamespace(error=None))


@pytest.mark.usefixtures("nothing_to_keep")
def test_a_model_is_registered_when_the_run_completes(
    service: Service, make_plan: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan()
    plan = make_plan(id="two", config={**plan.config, "register": {"name": "digits", "path": "outputs/model.pt"}})
    monkeypatch.setattr(azureml_end, "register", lambda service, plan: "digits:3")

    assert end(service, plan, State.COMPLETED).note == "registered model digits:3"
    assert end(service, plan, State.CANCELED).note == ""


@pytest.mark.usefixtures("nothing_to_keep")
def test_a_model_that_cannot_be_registered_does_not_undo_the_run(
    service: Service, make_plan: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(service: Service, plan: Plan) -> str:
        raise TargetError("model 'digits' cannot be registered: no such path")

    plan = make_plan()
    plan = make_plan(id="two", config={**plan.config, "register": {"name": "digits", "path": "outputs/model.pt"}})
    monkeypatch.setattr(azureml_end, "register", refuse)
    run = end(service, plan, State.COMPLETED)

    assert (run.state, run.note) == (State.COMPLETED, "model 'digits' cannot be registered: no such path")


def test_what_could_not_be_kept_is_noted_and_the_run_has_ended(
    service: Service, make_plan: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(service: Service, run_id: str, files: Any) -> None:
        raise TargetError("the network is gone")

    for name in ("keep_logs", "keep_outputs"):
        monkeypatch.setattr(azureml_end, name, broken)
    run = end(service, make_plan(), State.COMPLETED)

    assert (run.state, run.note) == (State.COMPLETED, "the network is gone; the network is gone")
