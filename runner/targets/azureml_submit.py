"""Sending stored plans: each makes one run, whatever is answered or interrupted in between."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from runner import history, processes
from runner.errors import TargetError
from runner.spec import Plan, Run, State, digest
from runner.targets import azureml_inputs
from runner.targets.azureml_compute import ready
from runner.targets.azureml_end import concluded
from runner.targets.azureml_environment import environment_of
from runner.targets.azureml_files import run_of
from runner.targets.azureml_remote import publish
from runner.targets.azureml_states import look_up, moved, status_of
from runner.targets.azureml_workspace import Service, quiet, service_errors

IN_PARALLEL = 4
# How long another process that sends the same plan is given to say how it went.
PATIENCE_SECONDS = 60.0
# Answers after which the run is surely not there: sending the same again cannot help.
REFUSALS = frozenset({400, 401, 403, 404, 405, 413, 415, 422})


@dataclass(frozen=True, slots=True)
class Sending:
    """A plan on its way. `request` is the target's view of it."""

    service: Service
    plan: Plan
    request: Mapping[str, Any]

    @property
    def project(self) -> Path:
        return Path(self.plan.project)


def submit(waiting: Sequence[Sending]) -> None:
    """The first alone, so that its code is there for the others; those in parallel. Raises TargetError."""
    mine = [item for item in waiting if is_ours(item)]
    if not mine:
        return
    for item in {cluster_of(item): item for item in mine}.values():
        ready(item.service, item.plan.config["compute"])
    kinds = {kind_of(item): item for item in mine}
    environments = {kind: environment_of(item.service, item.plan) for kind, item in kinds.items()}
    made = {item.plan.id: prepared(item, environments[kind_of(item)]) for item in mine}
    with staying_here(), quiet():
        first, *others = mine
        send(first, made[first.plan.id])
        with ThreadPoolExecutor(IN_PARALLEL) as pool:
            for _ in pool.map(lambda item: send(item, made[item.plan.id]), others):
                pass


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
    if history.load_run(project, plan.id).state is not State.PLANNED or adopted(item):
        return False
    history.hand_over(project, plan.id, me)
    return True


def is_busy(project: Path, run_id: str, me: Mapping[str, Any]) -> bool:
    owner = history.owner_of(project, run_id) or {}
    return owner != me and owner.get("birth") is not None and processes.birth(int(owner["pid"])) == owner["birth"]


def adopted(item: Sending) -> bool:
    """Whether the service has the run already; then it is stored as it is."""
    record = look_up(item.service, item.plan.name, item.plan.id)
    if record is None:
        return False
    store(item, seen(item, record))
    return True


def seen(item: Sending, record: Any) -> Run:
    """The run as the service has it. One that has ended already is collected here: nobody asks for it again."""
    run = moved(history.planned(item.plan), record)
    return concluded(item.service, item.plan, run, record) if run.state.final else run


def prepared(item: Sending, environment: Any) -> Callable[[], Any]:
    """What sends the job; everything that can be wrong before that is found now."""
    from azureml.core import Experiment

    config = job(item, environment)
    with service_errors(f"experiment '{item.plan.name}' cannot be used"), quiet():
        experiment = Experiment(item.service.workspace, item.plan.name)
    return lambda: experiment.submit(config, tags=dict(item.plan.tags) or None, run_id=item.plan.id)


def send(item: Sending, submit_once: Callable[[], Any]) -> None:
    """After a doubtful answer ask first, and send again only what is not there."""
    for last in (False, True):
        try:
            with service_errors(f"run '{item.plan.id}' was not accepted"):
                run = submit_once()
        except TargetError as error:
            if adopted(item):
                note(item, publish(item.plan, run_of(item.service, item.plan.id)))
                return
            if last or status_of(error.__cause__) in REFUSALS:
                raise
            continue
        sent = seen(item, look_up(item.service, item.plan.name, item.plan.id))
        store(item, replace(sent, page=run.get_portal_url()))
        note(item, publish(item.plan, run))
        return


def note(item: Sending, text: str) -> None:
    if text:
        store(item, replace(history.load_run(item.project, item.plan.id), note=text))


def store(item: Sending, run: Run) -> None:
    history.store_run(item.project, run)


def job(item: Sending, environment: Any) -> Any:
    """The ScriptRunConfig of a request."""
    from azureml.core import ScriptRunConfig
    from azureml.core.runconfig import DockerConfiguration

    asked, plan = item.request["script_run_config"], item.plan
    shm_size = item.request["docker_runtime_config"].get("shm_size")
    config = ScriptRunConfig(
        source_directory=str(history.snapshot_dir(item.project, plan.snapshot.digest).resolve()),
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
