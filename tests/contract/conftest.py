"""A bench for each kind of target, and a check after each test that no process is left."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from target_bench import Bench, wait_for

from runner import history, processes
from runner.targets import load_target

GRACE_SECONDS = "0.4"


@pytest.fixture
def make_bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Bench]]:
    """Benches by kind of target. Afterwards no process of their runs may be left."""
    monkeypatch.setenv("AMLRUN_GRACE_SECONDS", GRACE_SECONDS)
    project = tmp_path / "project with space"
    project.mkdir()
    made: list[Bench] = []

    def make(kind: str) -> Bench:
        made.append(Bench(project, load_target(kind, project)))
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


@pytest.fixture
def local(make_bench: Callable[[str], Bench]) -> Bench:
    return make_bench("local")
