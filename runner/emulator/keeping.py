"""What of a node's folder becomes artifacts of the run: ./logs at once, ./outputs at the end or before a preemption."""

from __future__ import annotations

import contextlib
import shutil
from typing import TYPE_CHECKING

from runner.emulator import artifacts, inputs
from runner.emulator.blobs import file_of
from runner.emulator.service import Service

if TYPE_CHECKING:
    from runner.emulator.execution import Job


def watch(service: Service, job: Job) -> None:
    """./logs while the run goes on: new files become artifacts where they lie."""
    for number in range(job.layout.nodes):
        folder = job.node_folder(number)
        for path in sorted((folder / "logs").rglob("*")):
            if path.is_file() and not path.is_symlink():
                artifacts.attach(service, job.container, str(path.relative_to(folder)), path)


def collect(service: Service, job: Job) -> None:
    """Keep ./outputs and ./logs of every node, and nothing else. Of equal names the first node's stays."""
    for number in range(job.layout.nodes):
        folder = job.node_folder(number)
        for name in ("outputs", "logs"):
            for path in sorted((folder / name).rglob("*")):
                relative = path.relative_to(folder)
                target = job.folder / "kept" / relative
                if path.is_symlink() or not path.is_file() or target.exists():
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.move(path, target)
                if name == "logs" or is_free(service, job, str(relative)):
                    artifacts.attach(service, job.container, str(relative), target)
    shutil.rmtree(job.folder / "nodes", ignore_errors=True)
    inputs.remove(job.folder / "data")


def upload_outputs(service: Service, job: Job) -> None:
    """./outputs of every node as they are at the notice; what is written in the grace period is lost with the node."""
    kept = job.folder / "uploaded" / str(job.attempt)
    for number in range(job.layout.nodes):
        source = job.node_folder(number)
        for path in sorted((source / "outputs").rglob("*")):
            target = kept / path.relative_to(source)
            if path.is_file() and not path.is_symlink() and not target.exists():
                name = path.relative_to(source).as_posix()
                target.parent.mkdir(parents=True, exist_ok=True)
                with contextlib.suppress(FileNotFoundError):  # the script has renamed it meanwhile
                    shutil.copy2(path, target)
                    if is_free(service, job, name):
                        artifacts.attach(service, job.container, name, target)


def is_free(service: Service, job: Job, name: str) -> bool:
    """Whether the node's file becomes the artifact of that name: there is none, or one that an earlier attempt left."""
    known = service.store.get("artifact", job.container, name)
    if known is None:
        return True
    file = file_of(service, artifacts.CONTAINER, known["blob"])
    return file is not None and file.is_relative_to(job.folder / "uploaded")
