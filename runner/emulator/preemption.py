"""A node is taken away: SIGTERM to what runs on it, SIGKILL after the grace, its folder deleted, the run told why."""

from __future__ import annotations

import contextlib
import shutil
import signal
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runner import processes
from runner.emulator import artifacts
from runner.emulator.keeping import upload_outputs
from runner.emulator.messages import error_body, now

if TYPE_CHECKING:
    import psutil

    from runner.emulator.execution import Job
    from runner.emulator.service import Service

LIFECYCLE_LOG = "system_logs/lifecycler/lifecycler.log"
NODE_VARIABLE = "AZUREML_CR_NODE_RANK"
LOW_PRIORITY = "LowPriority"
# The words of Azure, as users have reported them.
ERROR = "PreemptionError: Nodes of this job got pre-empted. Check if the run has failed or restarted."
RESTARTED = "node got preempted, restarting the job"


@dataclass(slots=True)
class Eviction:
    """Of some nodes of one run. `begun`: the processes have been told, so whatever their exit codes, the run is cut."""

    nodes: frozenset[int]
    grace: float
    deadline: float | None = None

    @property
    def begun(self) -> bool:
        return self.deadline is not None

    def step(self, mark: str) -> bool:
        """Do what is due; True once nothing runs on the nodes any more."""
        there = on_nodes(mark, self.nodes)
        if self.deadline is None:
            self.deadline = time.monotonic() + self.grace
            processes.send(outermost(there), signal.SIGTERM)
        elif time.monotonic() > self.deadline:
            processes.send(there, signal.SIGKILL)
        return not there


def evict(service: Service, job: Job, group: processes.Group) -> None:
    """Called again and again until the run's processes have ended. The other nodes' go when these are gone."""
    if job.eviction is None:
        return
    if not job.eviction.begun:
        upload_outputs(service, job)
    if job.eviction.step(group.mark) and not group.stopped:
        group.stop()


def starts_again(service: Service, job: Job) -> bool:
    """Forget what the nodes had, and say so in the run's log; False on a cluster whose nodes are never given back."""
    shutil.rmtree(job.folder / "nodes", ignore_errors=True)
    cluster = service.store.get("compute", "", job.cluster) or {}
    again = cluster.get("priority") == LOW_PRIORITY
    log = job.folder / "logs" / LIFECYCLE_LOG
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as file:
        file.write(f"{now()} {RESTARTED if again else ERROR}\n")
    artifacts.attach(service, job.container, LIFECYCLE_LOG, log)
    return again


def on_nodes(mark: str, nodes: Collection[int]) -> list[psutil.Process]:
    import psutil

    found = []
    for process in processes.marked(mark):
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(NODE_VARIABLE) in {str(number) for number in nodes}:
                found.append(process)
    return found


def outermost(there: Sequence[psutil.Process]) -> list[psutil.Process]:
    """The ranks: what they have started themselves is theirs to end."""
    import psutil

    numbers, found = {process.pid for process in there}, []
    for process in there:
        with contextlib.suppress(psutil.Error):
            if process.ppid() not in numbers:
                found.append(process)
    return found


def of_attempt(log: str, attempt: int) -> str:
    """user_logs/retry_001/std_log.txt: where the logs of a run that was started again are."""
    folder, _, name = log.partition("/")
    return f"{folder}/retry_{attempt:03}/{name}" if attempt else log


def failed() -> dict[str, Any]:
    return error_body("PreemptionError", ERROR)
