"""Sending stored plans: each makes one run, whatever is answered or interrupted in between."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from runner import history, processes
from runner.errors import TargetError
from runner.spec import Plan, Run, State, digest
from runner.targets import azureml_inputs
from runner.targets.azureml_compute import ready
from runner.targets.azureml_end import concluded
from runner.targets.azureml_environment import environment_of
from runner.targets.azureml_files import PLANS_TAG, run_of
from runner.targets.azureml_posting import (
    IN_PARALLEL,
    NOT_NOW,
    REFUSALS,
    TRIES,
    Channel,
    Pause,
    body,
    channel,
    code_of,
    page_of,
)
from runner.targets.azureml_remote import publish
from runner.targets.azureml_states import iso, look_up, moved, status_of
from runner.targets.azureml_workspace import Service, quiet, service_errors

# How long another process that sends the same plan is given to say how it went.
PATIENCE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Sending:
    """A plan on its way. `request` is the target's view of it."""

    service: Service
    plan: Plan
    request: Mapping[str, Any]

    @property
    def project(self) -> Path:
        return Path(self.plan.project)


@dataclass(frozen=True, slots=True)
class Ready:
    """What sends a job (`post`), sets tags and properties (`change`), and the page it will have."""

    post: Callable[[], None]
    change: Callable[[Mapping[str, str]], None]
    page: str


def submit(waiting: Sequence[Sending]) -> None:
    """The first alone, and then the others in parallel. Raises TargetError: what it could not send, it left planned."""
    mine = [item for item in waiting if is_ours(item)]
    if not mine:
        return
    pause = Pause(mine[0].service.pace)
    for item in {cluster_of(item): item for item in mine}.values():
        ready(item.service, item.plan.config["compute"])
    kinds = {kind_of(item): item for item in mine}
    environments = {kind: environment_of(item.service, item.plan) for kind, item in kinds.items()}
    with staying_here(), quiet():
        made = prepared(mine, environments, pause)
        first, *others = mine
        send(first, made[first.plan.id], pause)
        note(first, publish([item.plan for item in mine], run_of(first.service, first.plan.id)))
        with ThreadPoolExecutor(IN_PARALLEL) as pool:
            refused = list(pool.map(lambda item: refusal(item, made[item.plan.id], pause, first.plan.id), others))
    raise_all([error for error in refused if error is not None], len(mine))


def raise_all(errors: Sequence[TargetError], count: int) -> None:
    if errors:
        different = "\n".join(list(dict.fromkeys(str(error) for error in errors))[:3])
        raise TargetError(f"{len(errors)} of {count} runs were not sent; 'amlrun resume' sends them:\n{different}")


def cluster_of(item: Sending) -> str:
    """Equal where the cluster is the same and is to be the same."""
    return digest([item.plan.config["workspace"], item.plan.config["compute"]])


def kind_of(item: Sending) -> str:
    """Equal where the environment is the same: its files are those of the code, its image depends on the size."""
    config = item.plan.config
    size = config["compute"].get("vm_size")
    return digest([config["workspace"], config["env"], size, item.plan.snapshot.digest, item.plan.project])


def is_ours(item: Sending) -> bool:
    """Whether this process is to send the plan: nobody has, or whoever tried is gone and the service lacks it."""
    plan, project = item.plan, item.project
    history.store_plan(project, plan)
    me = {"pid": os.getpid(), "birth": processes.birth(os.getpid())}
    if history.claim(project, plan.id, me):
        return True
    give_up = time.monotonic() + PATIENCE_SECONDS
    while history.load_run(project, plan.id).state is State.PLANNED and is_busy(project, plan.id, me):
        if time.monotonic() > give_up:
            raise TargetError(f"another process is sending run '{plan.id}'; 'amlrun show {plan.id}' says how it went")
        time.sleep(item.service.pace)
    owner, pause = history.owner_of(project, plan.id), Pause(item.service.pace)
    if history.load_run(project, plan.id).state is not State.PLANNED:
        return False
    if adopted(item, pause):
        complete(item, pause)
        return False
    return owner == me or history.take_over(project, plan.id, owner, me)


def is_busy(project: Path, run_id: str, me: Mapping[str, Any]) -> bool:
    owner = history.owner_of(project, run_id) or {}
    return owner != me and owner.get("birth") is not None and processes.birth(int(owner["pid"])) == owner["birth"]


def complete(item: Sending, pause: Pause) -> None:
    """A submission that was interrupted when the run was there has perhaps not said all about it."""
    try:
        pause.tried(lambda: describe(channel(item.service), item.plan, "", {}))
    except TargetError as error:
        note(item, str(error))
    note(item, publish([item.plan], run_of(item.service, item.plan.id)))


def adopted(item: Sending, pause: Pause) -> bool:
    """Whether the service has the run already; then it is stored as it is."""
    record = pause.tried(lambda: look_up(item.service, item.plan.name, item.plan.id))
    if record is None:
        return False
    store(item, seen(item, record))
    return True


def seen(item: Sending, record: Any) -> Run:
    """The run as the service has it. One that has ended already is collected here: nobody asks for it again."""
    run = moved(history.planned(item.plan), record)
    return concluded(item.service, item.plan, run, record) if run.state.final else run


def prepared(mine: Sequence[Sending], environments: Mapping[str, Any], pause: Pause) -> dict[str, Ready]:
    """What sends each job, by run id; everything that can be wrong before that is found now. Code travels once."""
    code, experiments, channels = {}, {}, {}
    for item in mine:
        workspace = digest(item.plan.config["workspace"])
        folder, place = folder_of(item), (workspace, item.plan.snapshot.digest)
        if workspace not in channels:
            channels[workspace] = channel(item.service)
        if place not in code:
            code[place] = pause.tried(partial(code_of, item.service, folder))
        if (workspace, item.plan.name) not in experiments:
            experiments[workspace, item.plan.name] = pause.tried(partial(experiment_of, item))
    made = {}
    for item in mine:
        workspace, plan = digest(item.plan.config["workspace"]), item.plan
        with service_errors(f"run '{plan.id}' cannot be described"):
            content = body(item.service, job(item, environments[kind_of(item)]), code[workspace, plan.snapshot.digest])
        made[plan.id] = Ready(
            partial(channels[workspace].post, plan, content),
            partial(describe, channels[workspace], plan, content["SnapshotId"]),
            page_of(experiments[workspace, plan.name], plan.id),
        )
    return made


def experiment_of(item: Sending) -> Any:
    from azureml.core import Experiment

    with service_errors(f"experiment '{item.plan.name}' cannot be used"), quiet():
        return Experiment(item.service.workspace, item.plan.name)


def describe(way: Channel, plan: Plan, snapshot: str, more: Mapping[str, str]) -> None:
    """Tags and properties, as the SDK sets them after a submission."""
    git = plan.git
    known = {"commit": git.commit, "branch": git.branch, "dirty": str(bool(git.dirty)) if git.commit else None}
    properties = {f"azureml.git.{name}": value for name, value in known.items() if value}
    code = {"ContentSnapshotId": snapshot} if snapshot else {}
    way.change(plan, {"tags": {**plan.tags, **more}, "properties": {**code, **properties}})


def refusal(item: Sending, made: Ready, pause: Pause, first: str) -> TargetError | None:
    """Why the job was not sent; the others go on."""
    try:
        send(item, made, pause, {PLANS_TAG: first})
    except TargetError as error:
        return error
    return None


def send(item: Sending, made: Ready, pause: Pause, tags: Mapping[str, str] = MappingProxyType({})) -> None:
    """After a doubtful answer ask first, and send again only what is not there."""
    for attempt in range(TRIES):
        pause.wait()
        try:
            made.post()
        except TargetError as error:
            status = status_of(error.__cause__)
            pause.ask(error, attempt)
            if status != NOT_NOW and adopted(item, pause):
                break
            if status in REFUSALS or attempt == TRIES - 1:
                raise
            continue
        run = history.planned(item.plan)
        now = (State.PREPARING.value, iso(None))
        store(item, replace(run, state=State.PREPARING, phases=(*run.phases, now), page=made.page))
        break
    try:
        pause.tried(lambda: made.change(tags))
    except TargetError as error:
        note(item, str(error))


def note(item: Sending, text: str) -> None:
    if text:
        store(item, replace(history.load_run(item.project, item.plan.id), note=text))


def store(item: Sending, run: Run) -> None:
    history.store_run(item.project, run)


def folder_of(item: Sending) -> str:
    """The staged code; absolute, because the SDK changes the directory."""
    return str(history.snapshot_dir(item.project, item.plan.snapshot.digest).resolve())


def job(item: Sending, environment: Any) -> Any:
    """The ScriptRunConfig of a request."""
    from azureml.core import ScriptRunConfig
    from azureml.core.runconfig import DockerConfiguration

    asked, plan = item.request["script_run_config"], item.plan
    shm_size = item.request["docker_runtime_config"].get("shm_size")
    config = ScriptRunConfig(
        source_directory=folder_of(item),
        compute_target=str(plan.config["compute"]["name"]),
        environment=environment,
        distributed_job_config=distribution(item.request["distributed_job_config"]),
        docker_runtime_config=DockerConfiguration(use_docker=True, **({"shm_size": shm_size} if shm_size else {})),
        **program(asked),
        **({"max_run_duration_seconds": limit} if (limit := asked["max_run_duration_seconds"]) else {}),
    )
    config.run_config.environment_variables = dict(asked["environment_variables"])
    azureml_inputs.add(config.run_config, plan)
    return config


def program(asked: Mapping[str, Any]) -> dict[str, Any]:
    """A script with its arguments; or a command line, of which the SDK takes words and joins them with spaces."""
    line = asked["command"]
    return {"command": [line]} if line else {"script": asked["script"], "arguments": list(asked["arguments"])}


def distribution(asked: Mapping[str, Any] | None) -> Any:
    if asked is None:
        return None
    from azureml.core import runconfig

    return getattr(runconfig, asked["class"])(**{key: value for key, value in asked.items() if key != "class"})


@contextlib.contextmanager
def staying_here() -> Iterator[None]:
    """The SDK changes the process's directory while it submits, and under threads leaves it changed."""
    here = Path.cwd()
    try:
        yield
    finally:
        os.chdir(here)
