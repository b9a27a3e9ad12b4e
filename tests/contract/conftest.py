"""A bench for each kind of target, and a check after each test that no process is left."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from target_bench import Bench, local_settings

from runner import history, processes
from runner.emulator import instance
from runner.targets import load_target
from tests.watching import wait_for

GRACE_SECONDS = "0.4"


@pytest.fixture
def make_bench(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Callable[[str], Bench]]:
    """Benches by kind of target. Afterwards no process of their runs may be left."""
    monkeypatch.setenv("AMLRUN_GRACE_SECONDS", GRACE_SECONDS)
    project = tmp_path / "project with space"
    project.mkdir()
    made: list[Bench] = []

    def make(kind: str) -> Bench:
        settings = request.getfixturevalue("azureml_settings") if kind == "azureml" else local_settings
        made.append(Bench(project, load_target(kind, project), kind, settings))
        return made[-1]

    yield make
    for bench in made:
        for plan in bench.sent:
            run = history.load_run(project, plan.id)
            if not run.state.final:
                bench.target.cancel(run)
        bench.ended([history.load_run(project, plan.id) for plan in bench.sent])
        left = bench.processes()
        for process in left:
            process.kill()
        assert not left
        end_supervisors(project)


def end_supervisors(project: Path) -> None:
    """Wait until no supervisor of this project is left, and take them off the process table: they are our children."""
    owners = {owner["pid"] for name in history.run_ids(project) if (owner := history.owner_of(project, name))}
    for pid in owners - {os.getpid()}:
        wait_for(lambda pid=pid: processes.birth(pid) is None)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)


@pytest.fixture(scope="session")
def azureml_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[int], dict[str, Any]]]:
    """An emulator for all tests of this process, and a plan's configuration for runs on it."""
    folder = tmp_path_factory.mktemp("emulator")
    instance.start(instance.Settings(folder))
    names = {"subscription_id": "00000000-0000-0000-0000-000000000000", "resource_group": "emulator"}
    image = {
        "kind": "image",
        "name": "contract",
        "image": "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:20251130.v1",
    }

    def settings(slots: int) -> dict[str, Any]:
        cluster = {"kind": "amlcompute", "name": f"cluster-{slots}", "create": True, "vm_size": "Standard_DS3_v2"}
        return {
            "workspace": {"kind": "emulator", "sdk": "v1", "dir": str(folder), **names, "name": "emulator"},
            "compute": {**cluster, "max_nodes": slots},
            "env": image,
        }

    yield settings
    instance.stop(folder)


@pytest.fixture
def local(make_bench: Callable[[str], Bench]) -> Bench:
    return make_bench("local")
