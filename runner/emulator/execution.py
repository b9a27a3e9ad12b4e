"""Runs what was submitted: a thread walks each run from NotStarted to its end, with real processes in between."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from runner import processes
from runner.emulator import artifacts, inputs, launch, mlflow, packages, preemption, records, snapshots
from runner.emulator.identity import write_private
from runner.emulator.keeping import collect, watch
from runner.emulator.layouts import Layout
from runner.emulator.messages import ServiceError, error_body, not_found
from runner.emulator.nodes import Nodes
from runner.emulator.runs import run_token
from runner.emulator.service import Service
from runner.emulator.sizes import sizes
from runner.emulator.workspaces import CLOUDS

BUILD_LOG = "azureml-logs/20_image_build_log.txt"
MPI_LOG = "user_logs/mpi_log.txt"
# How often new files in ./logs become visible while the run goes on.
WATCH_SECONDS = 1.0
# The SDK shows the log of a run only if it sees the run before its end; Azure takes far longer to finalize.
SEEN_SECONDS = 1.0
# Staging a snapshot and asking an interpreter what it has is work: few at a time.
PREPARING_AT_ONCE = 2
TAIL_BYTES = 64 * 1024
ERROR_CHARACTERS = 2000
UNFINISHED = ("NotStarted", "Preparing", "Queued")


@dataclass(slots=True)
class Job:
    """A run on its way. `stop` is set by cancel; `reason` says what else ended it; `attempt` counts preemptions."""

    id: str
    folder: Path
    layout: Layout
    configuration: Mapping[str, Any]
    stop: threading.Event = field(default_factory=threading.Event)
    seen: threading.Event = field(default_factory=threading.Event)
    logs: list[str] = field(default_factory=list)
    reason: str = ""
    attempt: int = 0
    eviction: preemption.Eviction | None = None

    @property
    def taken_away(self) -> bool:
        return self.eviction is not None and self.eviction.begun and not self.stop.is_set()

    @property
    def container(self) -> str:
        return f"dcid.{self.id}"

    @property
    def cluster(self) -> str:
        return str(self.configuration["target"]).lower()

    def node_folder(self, number: int) -> Path:
        return self.folder / "nodes" / str(number)


class LocalEngine:
    """Threads, one a run: its processes die with it."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.nodes = Nodes()
        self.jobs: dict[str, tuple[Job, threading.Thread]] = {}
        self.lock = threading.Lock()
        self.preparing = threading.Semaphore(PREPARING_AT_ONCE)

    def submit(self, run_id: str) -> None:
        run = records.require_run(self.service, run_id)
        job = self.job(run)
        self.nodes.enter(job.cluster, run_id)
        thread = threading.Thread(target=self.walk, args=(job, run["snapshotId"]), name=run_id, daemon=True)
        with self.lock:
            self.jobs[run_id] = (job, thread)
        thread.start()

    def job(self, run: Mapping[str, Any]) -> Job:
        configuration = run["runDefinition"]
        folder = self.service.store.run_folder(run["runId"])
        attempt = [phase for phase, _ in run.get("phases", ())].count("Running")
        return Job(run["runId"], folder, Layout(**configuration["layout"]), configuration, attempt=attempt)

    def cancel(self, run_id: str) -> None:
        with self.lock:
            found = self.jobs.get(run_id)
        if found is not None:
            found[0].stop.set()
            self.nodes.wake()

    def preempt(self, run_id: str, nodes: frozenset[int], grace: float) -> bool:
        """Take nodes of a run away (none named: all); False if it has none."""
        with self.lock:
            job = self.jobs[run_id][0] if run_id in self.jobs else None
        if job is None or not self.nodes.held(job.cluster, run_id):
            return False
        job.eviction = job.eviction or preemption.Eviction(nodes or frozenset(range(job.layout.nodes)), grace)
        return True

    def holder(self, compute: str, number: int) -> tuple[str, int] | None:
        """The run on a node of a cluster, and which of the run's nodes that is."""
        return self.nodes.holder(compute.lower(), number)

    def evicted(self, run_id: str) -> frozenset[int]:
        """Those of a run's nodes that it is being driven off."""
        with self.lock:
            job = self.jobs[run_id][0] if run_id in self.jobs else None
        return frozenset() if job is None or job.eviction is None else job.eviction.nodes

    def looked_at(self, run_id: str) -> None:
        with self.lock:
            found = self.jobs.get(run_id)
        if found is not None:
            found[0].seen.set()

    def nodes_in_use(self, compute: str) -> int:
        return self.nodes.used(compute.lower())

    def stop(self) -> None:
        with self.lock:
            jobs = list(self.jobs.values())
        for job, _ in jobs:
            job.reason = job.reason or "the emulator was stopped while the run was going on"
            job.stop.set()
        self.nodes.wake()
        for _, thread in jobs:
            thread.join()

    def resume(self) -> None:
        """After a start: what had not begun goes on, what was running has lost its processes."""
        for run in self.service.store.having("run", "runtype", records.SCRIPT_RUN):
            if run["status"] in records.FINAL:
                continue
            if run["status"] in UNFINISHED:
                shutil.rmtree(self.service.store.run_folder(run["runId"]) / "nodes", ignore_errors=True)
                self.submit(run["runId"])
            else:
                collect(self.service, self.job(run))
                message = "the emulator ended while the run was going on"
                error = error_body("ServiceError", message)
                records.set_status(self.service, run["runId"], "Failed", error=error)

    def walk(self, job: Job, snapshot: str | None) -> None:
        """All of one run. Whatever goes wrong in here ends the run, and is its error."""
        try:
            records.set_status(self.service, job.id, "Preparing")
            outcome = self.attempts(job, snapshot)
            if outcome is not None:
                records.set_status(self.service, job.id, "Finalizing")
                collect(self.service, job)
                job.seen.wait(SEEN_SECONDS)
            self.conclude(job, outcome)
        except Exception as error:  # noqa: BLE001 - the run's thread has nobody above it who would tell
            if not isinstance(error, OSError | ServiceError):
                traceback.print_exc(file=sys.stderr)
            failure = error_body("ExecutionFailed", f"the run could not be started: {error}")
            records.set_status(self.service, job.id, "Failed", error=failure)
        finally:
            self.nodes.leave(job.cluster, job.id)
            with self.lock:
                self.jobs.pop(job.id, None)

    def attempts(self, job: Job, snapshot: str | None) -> processes.Outcome | None:
        """The end of the first attempt whose nodes stay; None for a run that was canceled before it had any."""
        while True:
            with self.preparing:
                self.prepare(job, snapshot)
            if not self.wait_for_nodes(job):
                return None
            outcome = self.execute(job)
            if not (job.taken_away and preemption.starts_again(self.service, job)):
                return outcome
            self.nodes.leave(job.cluster, job.id)
            self.nodes.enter(job.cluster, job.id)
            job.eviction, job.attempt = None, job.attempt + 1

    def prepare(self, job: Job, snapshot: str | None) -> None:
        """A working directory per node, and the log that says what the interpreter lacks."""
        for number in range(job.layout.nodes):
            if snapshot is None:
                job.node_folder(number).mkdir(parents=True)
            else:
                snapshots.stage(self.service, snapshot, job.node_folder(number))
            for name in ("outputs", "logs"):
                (job.node_folder(number) / name).mkdir(exist_ok=True)
            inputs.stage(self.service, job.configuration, inputs.folder(job.folder, number))
        text = packages.notice(job.configuration["environment"], self.service.python)
        log = log_file(job, BUILD_LOG)
        log.write_text(text, encoding="utf-8")
        artifacts.attach(self.service, job.container, BUILD_LOG, log)

    def wait_for_nodes(self, job: Job) -> bool:
        records.set_status(self.service, job.id, "Queued")

        def most() -> int:
            cluster = self.service.store.get("compute", "", job.cluster)
            if cluster is None:
                raise not_found(f"compute '{job.cluster}' was deleted")
            return int(cluster["scale"]["maxNodeCount"])

        return self.nodes.take(job.cluster, job.id, job.layout.nodes, most, job.stop)

    def execute(self, job: Job) -> processes.Outcome:
        """Start the ranks and wait for the last of them; in this thread, because they die with it."""
        commands = self.commands(job)
        records.set_status(self.service, job.id, "Running")
        group = processes.start(commands, mark(self.service, job))
        limit = time.monotonic() + float(job.configuration.get("maxRunDurationSeconds") or float("inf"))
        started = looked = time.monotonic()
        told = False
        while (outcome := group.poll()) is None:
            now = time.monotonic()
            if now > limit and not job.stop.is_set():
                job.reason = f"the run exceeded its maximum duration of {limit - started:.0f} seconds"
                job.stop.set()
            if job.stop.is_set() and not told:
                told = True
                group.stop()
            if job.eviction is not None:
                preemption.evict(self.service, job, group)
            if now - looked > WATCH_SECONDS:
                looked = now
                watch(self.service, job)
            pause = processes.pause(now - started)
            if told:
                time.sleep(pause)
            else:
                job.stop.wait(pause)
        return outcome

    def commands(self, job: Job) -> list[processes.Command]:
        """Write the launch file, make the logs visible, and say what to start."""
        cluster = self.service.store.get("compute", "", job.cluster) or {}
        has_gpus = sizes()[str(cluster["size"]).lower()].gpus > 0
        ids = processes.gpu_ids() if has_gpus else []
        gpus = [processes.share(ids, node, job.layout.nodes) for node in range(job.layout.nodes)]
        place = launch.Place(gpus, processes.free_port(), find_mpirun(self.service.python))
        variables = launch.job_variables(job.configuration)
        ranks = launch.ranks(job.layout, place, old_logs=launch.wants_old_logs(variables))
        ranks = [replace(rank, log=preemption.of_attempt(rank.log, job.attempt)) for rank in ranks]
        launch_file = job.folder / "launch.json"
        content = {
            "argv": inputs.worded(launch.program(job.configuration), job.configuration),
            "expands": not job.configuration.get("command"),
            "ranks": [
                {
                    "folder": str(job.node_folder(rank.node)),
                    "log": str(log_file(job, rank.log)),
                    "environment": {**rank.environment, **self.paths(job, rank.node)},
                }
                for rank in ranks
            ],
        }
        write_private(launch_file, json.dumps(content).encode())
        own_log = preemption.of_attempt(MPI_LOG, job.attempt) if job.layout.kind == "mpi" else None
        for name in [*(rank.log for rank in ranks), *([own_log] if own_log else [])]:
            log_file(job, name).touch()
            artifacts.attach(self.service, job.container, name, log_file(job, name))
        job.logs = [rank.log for rank in ranks]
        environment = {
            **launch.inherited(os.environ),
            **variables,
            **azure_variables(self.service, job),
            **(processes.MPI_VARIABLES if job.layout.kind == "mpi" else {}),
        }
        environment["PATH"] = f"{shims(self.service)}{os.pathsep}{environment.get('PATH', os.defpath)}"
        log = log_file(job, own_log) if own_log else job.folder / "launcher.log"
        return [
            processes.Command(tuple(argv), environment, job.node_folder(0), log)
            for argv in launch.launchers(job.layout, place, launch_file)
        ]

    def paths(self, job: Job, node: int) -> dict[str, str]:
        return inputs.variables(self.service, job.configuration, inputs.folder(job.folder, node))

    def conclude(self, job: Job, outcome: processes.Outcome | None) -> None:
        """The final status. A run that was told to stop is canceled, whatever its exit code."""
        if job.taken_away:
            records.set_status(self.service, job.id, "Failed", error=preemption.failed())
        elif outcome is not None and outcome.succeeded:
            records.set_status(self.service, job.id, "Completed")
        elif outcome is None or outcome.stopped:
            error = error_body("JobCanceled", job.reason) if job.reason else None
            records.set_status(self.service, job.id, "Canceled", error=error)
        else:
            records.set_status(self.service, job.id, "Failed", error=failure(job, outcome))


def azure_variables(service: Service, job: Job) -> dict[str, str]:
    """What makes `Run.get_context()` work."""
    run = records.require_run(service, job.id)
    own = service.workspace()["names"][0]
    return {
        "PYTHONUNBUFFERED": "1",
        "AZUREML_RUN_ID": job.id,
        "AZUREML_ROOT_RUN_ID": run["rootRunId"],
        "AZUREML_ARM_SUBSCRIPTION": own["subscription"],
        "AZUREML_ARM_RESOURCEGROUP": own["group"],
        "AZUREML_ARM_WORKSPACE_NAME": own["name"],
        "AZUREML_ARM_PROJECT_NAME": run["experimentName"],
        "AZUREML_EXPERIMENT_ID": run["experimentId"],
        "AZUREML_WORKSPACE_ID": service.workspace()["id"],
        "AZUREML_WORKSPACE_SCOPE": service.scope(),
        "AZUREML_EXPERIMENT_SCOPE": f"{service.scope()}/experiments/{run['experimentName']}",
        "AZUREML_RUN_TOKEN": run_token(service, job.id),
        "AZUREML_SERVICE_ENDPOINT": service.origin,
        "AZUREML_DISCOVERY_SERVICE_ENDPOINT": f"{service.origin}/discovery",
        "AZUREML_CR_COMPUTE_CONTEXT": "{}",
        **mlflow.variables(service, run),
        "ARM_CLOUD_METADATA_URL": f"{service.origin}/metadata/endpoints",
        "AZUREML_CURRENT_CLOUD": CLOUDS[1],
        "AZURE_CONFIG_DIR": str(service.store.folder / "azure"),
        "REQUESTS_CA_BUNDLE": str(service.store.folder / "bundle.pem"),
        "SSL_CERT_FILE": str(service.store.folder / "bundle.pem"),
    }


def mark(service: Service, job: Job) -> str:
    """What the run's processes are found again by: another emulator on this machine may have a run of the same id."""
    return f"{job.id}@{service.workspace()['id']}"


def find_mpirun(python: str) -> str | None:
    """The jobs' own, else the emulator's: the interpreter of the jobs need not bring one."""
    return processes.find_program(python, "mpirun") or processes.find_program(sys.executable, "mpirun")


def shims(service: Service) -> Path:
    """A folder where `python` is the interpreter of the jobs. A link would not find its virtual environment."""
    folder = service.store.folder / "bin"
    folder.mkdir(exist_ok=True)
    for name in ("python", "python3"):
        path = folder / name
        text = f'#!/bin/sh\nexec "{service.python}" "$@"\n'
        if not path.exists() or path.read_text() != text:
            write_private(path, text.encode())
            path.chmod(0o700)
    return folder


def log_file(job: Job, name: str) -> Path:
    path = job.folder / "logs" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def failure(job: Job, outcome: processes.Outcome) -> dict[str, Any]:
    """Azure's words: the exit code, the log of the process that failed, and the end of it."""
    name, code = first_failed(job, outcome)
    tail = read_tail(log_file(job, name))
    start = tail.rfind("Traceback (most recent call last)")
    excerpt = tail[start:] if start >= 0 else tail
    message = (
        f"Execution failed. User process 'python' exited with status code {code}. "
        f"Please check log file '{name}' for error details. Error: {excerpt[-ERROR_CHARACTERS:]}"
    )
    return error_body("UserError", message)


def first_failed(job: Job, outcome: processes.Outcome) -> tuple[str, int]:
    """Log and exit code of the process that failed first; under mpirun the only code is mpirun's.

    That is the one whose log with a traceback was written first, of those that were not stopped because of another.
    """
    codes = {name: code for name, code in zip(job.logs, outcome.exit_codes, strict=False) if code}
    if len(outcome.exit_codes) != len(job.logs):
        codes = dict.fromkeys(job.logs, next(code for code in outcome.exit_codes if code))
    own = [name for name, code in codes.items() if code != -signal.SIGTERM] or list(codes)
    traced = [name for name in own if "Traceback" in read_tail(log_file(job, name))]
    name = min(traced or own, key=lambda name: log_file(job, name).stat().st_mtime_ns)
    return name, codes[name]


def read_tail(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL_BYTES))
        return file.read().decode("utf-8", "replace")
