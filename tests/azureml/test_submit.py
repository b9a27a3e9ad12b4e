"""A stored plan makes one run, whatever is answered, lost or interrupted on the way."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest

from runner import history, processes
from runner.errors import TargetError
from runner.spec import Plan, Run, State
from runner.targets import azureml_submit
from runner.targets.azureml import script_run_config, variables
from runner.targets.azureml_files import PLAN, PLANS, PLANS_TAG
from runner.targets.azureml_posting import TRIES
from runner.targets.azureml_submit import Ready, Sending, is_ours, program, submit
from runner.targets.azureml_workspace import Service, service_errors
from tests.azureml.conftest import MakePlan


class RefusedError(Exception):
    def __init__(self, status_code: int | None, headers: Mapping[str, str] = MappingProxyType({})) -> None:
        super().__init__(f"status {status_code}")
        self.status_code = status_code
        self.response = SimpleNamespace(status_code=status_code, headers=headers)


RefusedError.__module__ = "azureml.exceptions"


@dataclass
class Azure:
    """A service that keeps runs by id. `answers` are played one a call: an error, also after it has accepted."""

    answers: list[tuple[bool, int | None]] = field(default_factory=list)
    runs: dict[str, SimpleNamespace] = field(default_factory=dict)
    started: list[str] = field(default_factory=list)
    posts: list[str] = field(default_factory=list)
    clusters: list[str] = field(default_factory=list)
    environments: list[str] = field(default_factory=list)
    files: dict[tuple[str, str], bytes] = field(default_factory=dict)
    uploads_fail: bool = False
    status: str = "Preparing"
    tags: dict[str, dict[str, str]] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def post(self, run_id: str) -> None:
        with self.lock:
            self.posts.append(run_id)
            accepted, refusal = self.answers.pop(0) if self.answers else (True, None)
            fails = (accepted, refusal) != (True, None)
            if accepted and run_id not in self.runs:
                self.started.append(run_id)
                self.runs[run_id] = SimpleNamespace(
                    run_id=run_id, status=self.status, start_time_utc=None, end_time_utc=None, error=None
                )
        if fails:
            with service_errors(f"run '{run_id}' was not accepted"):
                raise RefusedError(refusal, self.headers)

    def ready(self, item: Sending) -> Ready:
        return Ready(
            lambda: self.post(item.plan.id),
            lambda more: self.tags.update({item.plan.id: {**item.plan.tags, **more}}),
            f"https://portal/{item.plan.id}",
        )

    def change(self, plan: Plan, values: Mapping[str, Any]) -> None:
        self.tags[plan.id] = dict(values["tags"])

    def handle(self, run_id: str) -> SimpleNamespace:
        """The SDK's Run, as far as it is used."""
        return SimpleNamespace(
            upload_file=lambda name, stream: self.upload(run_id, name, stream.read()),
        )

    def upload(self, run_id: str, name: str, content: bytes) -> None:
        if self.uploads_fail:
            raise RefusedError(503)
        self.files[run_id, name] = content

    def look_up(self, service: Service, experiment: str, run_id: str) -> SimpleNamespace | None:
        return self.runs.get(run_id)


@pytest.fixture
def azure(monkeypatch: pytest.MonkeyPatch) -> Azure:
    played = Azure()
    monkeypatch.setattr(azureml_submit, "ready", lambda service, compute: played.clusters.append(compute["name"]))
    monkeypatch.setattr(
        azureml_submit, "environment_of", lambda service, plan: played.environments.append(plan.config["env"]["kind"])
    )
    monkeypatch.setattr(azureml_submit, "look_up", played.look_up)
    monkeypatch.setattr(azureml_submit, "run_of", lambda service, run_id: played.handle(run_id))
    monkeypatch.setattr(
        azureml_submit, "prepared", lambda mine, *_: {item.plan.id: played.ready(item) for item in mine}
    )
    monkeypatch.setattr(azureml_submit, "channel", lambda service: played)
    return played


@pytest.fixture
def sending(service: Service, make_plan: MakePlan) -> Callable[..., Sending]:
    return lambda **changes: Sending(service, (plan := make_plan(**changes)), script_run_config(plan))


def stored(item: Sending) -> Run:
    return history.load_run(Path(item.plan.project), item.plan.id)


def test_a_plan_is_sent_and_stored_with_its_page(azure: Azure, sending: Callable[..., Sending]) -> None:
    item = sending()
    submit([item])

    assert azure.started == [item.plan.id]
    assert (stored(item).state, stored(item).page) == (State.PREPARING, f"https://portal/{item.plan.id}")


def test_the_plan_stays_with_the_run_for_those_who_know_its_url_alone(
    azure: Azure, sending: Callable[..., Sending]
) -> None:
    item = sending(arguments=("\udce9", "ü"))
    submit([item])

    left = Plan.from_json(json.loads(azure.files[item.plan.id, PLAN]))
    assert left == replace(item.plan, project=".")


def test_a_plan_that_cannot_be_left_there_is_a_note_and_the_run_goes_on(
    azure: Azure, sending: Callable[..., Sending]
) -> None:
    azure.uploads_fail, item = True, sending()
    submit([item])

    assert stored(item).state is State.PREPARING
    assert stored(item).note.startswith("the plan was not left with the run, others cannot rerun it: RefusedError")


def test_sent_twice_is_one_run(azure: Azure, sending: Callable[..., Sending]) -> None:
    item = sending()
    submit([item])
    submit([item])

    assert azure.posts == [item.plan.id]


def test_an_answer_that_was_lost_is_asked_for_and_nothing_is_sent_again(
    azure: Azure, sending: Callable[..., Sending]
) -> None:
    azure.answers = [(True, 504)]
    item = sending()
    submit([item])

    assert azure.posts == azure.started == [item.plan.id]
    assert (stored(item).state, stored(item).note) == (State.PREPARING, "")
    assert (item.plan.id, PLAN) in azure.files


@pytest.mark.parametrize("code", [None, 408, 409, 429, 500, 502, 503])
def test_a_doubtful_refusal_is_sent_again(code: int | None, azure: Azure, sending: Callable[..., Sending]) -> None:
    azure.answers = [(False, code or 999)]
    item = sending()
    submit([item])

    assert (len(azure.posts), azure.started) == (2, [item.plan.id])


def test_many_doubtful_refusals_are_an_error_and_the_plan_stays(azure: Azure, sending: Callable[..., Sending]) -> None:
    azure.answers = [(False, 503)] * TRIES
    item = sending()

    with pytest.raises(TargetError, match=f"run '{item.plan.id}' was not accepted"):
        submit([item])
    assert stored(item).state is State.PLANNED
    submit([item])
    assert azure.started == [item.plan.id]


@pytest.mark.parametrize("code", sorted(azureml_submit.REFUSALS))
def test_a_plain_refusal_is_not_repeated(code: int, azure: Azure, sending: Callable[..., Sending]) -> None:
    azure.answers = [(False, code)]
    item = sending()

    with pytest.raises(TargetError, match="was not accepted"):
        submit([item])
    assert len(azure.posts) == 1


def test_after_a_crash_between_sending_and_storing_the_run_is_found(
    azure: Azure, sending: Callable[..., Sending]
) -> None:
    item = sending()
    dead = {"pid": os.getpid(), "birth": "before"}
    history.claim(Path(item.plan.project), item.plan.id, dead)
    azure.post(item.plan.id)
    submit([item])

    assert azure.posts == [item.plan.id]
    assert stored(item).state is State.PREPARING


def test_a_run_that_is_found_after_a_crash_gets_its_tags_and_its_plan(
    azure: Azure, sending: Callable[..., Sending]
) -> None:
    item = sending(tags={"a": "b"})
    history.claim(Path(item.plan.project), item.plan.id, {"pid": os.getpid(), "birth": "before"})
    azure.post(item.plan.id)
    submit([item])

    assert azure.tags == {item.plan.id: {"a": "b"}}
    assert (item.plan.id, PLAN) in azure.files


def test_after_a_crash_before_sending_it_is_sent(azure: Azure, sending: Callable[..., Sending]) -> None:
    item = sending()
    history.claim(Path(item.plan.project), item.plan.id, {"pid": os.getpid(), "birth": "before"})
    submit([item])

    assert azure.started == [item.plan.id]


def test_while_another_process_sends_it_we_wait_and_then_give_up(
    azure: Azure, sending: Callable[..., Sending], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(azureml_submit, "PATIENCE_SECONDS", 0.0)
    item = sending()
    parent = os.getppid()
    history.claim(Path(item.plan.project), item.plan.id, {"pid": parent, "birth": processes.birth(parent)})

    with pytest.raises(TargetError, match="another process is sending run"):
        is_ours(item)
    assert azure.posts == []


def test_a_canceled_plan_is_not_sent(azure: Azure, sending: Callable[..., Sending]) -> None:
    from runner.targets.azureml_stop import cancel

    item = sending()
    project = Path(item.plan.project)
    cancel(project, stored(item), lambda: pytest.fail("asked the service about a plan that was never sent"))
    submit([item])

    assert azure.posts == []
    assert [state for state, _ in stored(item).phases] == ["planned", "canceled"]


def test_many_are_sent_each_once_and_the_first_alone(azure: Azure, sending: Callable[..., Sending]) -> None:
    items = [sending(id=f"run-{number}") for number in range(20)]
    submit(items)

    assert azure.posts[0] == "run-0"
    assert sorted(azure.started) == sorted(item.plan.id for item in items)
    assert all(stored(item).state is State.PREPARING for item in items)


def test_of_many_the_plans_stay_with_the_first_and_the_others_name_it(
    azure: Azure, sending: Callable[..., Sending]
) -> None:
    items = [sending(id=f"run-{number}") for number in range(3)]
    submit(items)

    assert sorted(azure.files) == [("run-0", PLAN), ("run-0", PLANS)]
    assert sorted(json.loads(azure.files["run-0", PLANS])) == ["run-1", "run-2"]
    assert azure.tags == {"run-0": {}, "run-1": {PLANS_TAG: "run-0"}, "run-2": {PLANS_TAG: "run-0"}}


def test_what_is_refused_does_not_keep_the_others_from_being_sent(
    azure: Azure, sending: Callable[..., Sending], monkeypatch: pytest.MonkeyPatch
) -> None:
    items = [sending(id=f"run-{number}") for number in range(4)]
    post = azure.post

    def refuse(run_id: str) -> None:
        azure.answers = [(False, 400)] if run_id == "run-1" else []
        post(run_id)

    monkeypatch.setattr(azureml_submit, "IN_PARALLEL", 1)
    monkeypatch.setattr(azure, "post", refuse)
    with pytest.raises(TargetError, match=r"1 of 4 runs were not sent; 'amlrun resume' sends them:\nrun 'run-1' was"):
        submit(items)
    assert azure.started == ["run-0", "run-2", "run-3"]


def test_of_many_the_cluster_and_the_environment_are_asked_for_once(
    azure: Azure, sending: Callable[..., Sending]
) -> None:
    items = [sending(id=f"run-{number}", arguments=(str(number),)) for number in range(5)]
    config = items[0].plan.config
    gpu = {**config, "compute": {**config["compute"], "name": "gpu", "vm_size": "Standard_NC4as_T4_v3"}}
    submit([*items, sending(id="other-cluster", config=gpu)])

    assert azure.clusters == ["cpu", "gpu"]
    assert azure.environments == ["auto", "auto"]


def test_the_directory_is_ours_again_afterwards(
    azure: Azure, sending: Callable[..., Sending], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(azure, "post", lambda run_id: os.chdir("/"))
    submit([sending()])

    assert Path.cwd() == tmp_path


def test_a_script_goes_with_its_arguments_as_they_are() -> None:
    asked = {"script": "a.py", "arguments": ["--n", "a b", "$RANK"], "command": None}

    assert program(asked) == {"script": "a.py", "arguments": ["--n", "a b", "$RANK"]}


def test_a_command_is_quoted_word_by_word_and_a_line_is_not(make_plan: MakePlan) -> None:
    words = make_plan(command=("echo", "a b", "$HOME", "it's"), script=None)
    line = make_plan(shell="echo $HOME | cat", script=None)
    assert program(script_run_config(words)["script_run_config"]) == {"command": ["echo 'a b' '$HOME' 'it'\"'\"'s'"]}
    assert program(script_run_config(line)["script_run_config"]) == {"command": ["echo $HOME | cat"]}


def test_variables_are_the_plans_and_ours(make_plan: MakePlan) -> None:
    plan: Plan = make_plan(environment={"A": "1", "PYTHONUNBUFFERED": "0"})
    expected: dict[str, Any] = {"A": "1", "PYTHONUNBUFFERED": "0", "PYTHONFAULTHANDLER": "1", "AMLRUN_RUN_ID": plan.id}

    assert variables(plan) == expected


def test_a_run_that_has_ended_at_the_first_look_is_collected_then(
    azure: Azure, sending: Callable[..., Sending], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is stored as ended, so nobody would ask for it again."""

    def collect(service: Service, plan: Plan, run: Run, record: Any) -> Run:
        assert (run.state, record.run_id) == (State.FAILED, plan.id)
        return replace(run, note="collected")

    monkeypatch.setattr(azureml_submit, "concluded", collect)
    azure.status, item = "Failed", sending()
    azure.answers = [(True, 504)]
    submit([item])
    assert (stored(item).state, stored(item).note) == (State.FAILED, "collected")
