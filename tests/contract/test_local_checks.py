"""What a run here needs is looked for before it starts; and its share of the machine."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from target_bench import Bench

from runner import processes
from runner.spec import Layout, Plan
from runner.targets import local_checks, local_supervisor


def messages(bench: Bench, plan: Plan) -> list[str]:
    return [str(problem) for problem in bench.target.check([plan, plan])]


def test_nothing_is_missing(local: Bench) -> None:
    assert messages(local, local.plan()) == []


def test_everything_that_is_missing_is_said_once(local: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SET", "1")
    inputs = {
        "a": {"path": "no/where"},
        "b": {"datastore": "d", "path": "p"},
        "c": {"dataset": "x"},
        "d": {"path": "https://x"},
    }
    plan = local.plan(python="/no/python", secrets=("SET", "UNSET"), inputs=inputs, choices={"env": "auto"})

    assert messages(local, plan) == [
        "configs/env/auto.yaml: env: the interpreter '/no/python' does not exist or cannot be executed; "
        "start amlrun with an interpreter that does",
        "configs/env/auto.yaml: env.secrets: 'UNSET' is not set in this shell; set it before running: export UNSET=...",
        f"configs/config.yaml: inputs.a: 'no/where' does not exist; paths are relative to '{local.project}'",
        "configs/config.yaml: inputs.b: a datastore cannot be read on this machine; "
        "download it and set inputs.b.path to the folder",
        "configs/config.yaml: inputs.c: a dataset cannot be read on this machine; "
        "download it and set inputs.c.path to the folder",
        "configs/config.yaml: inputs.d: 'https://x' cannot be read on this machine; "
        "download it and set inputs.d.path to the folder",
    ]


def test_a_launcher_that_is_not_installed_is_said(local: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "find_program", lambda _python, _program: None)
    monkeypatch.setattr(local_checks, "has_module", lambda _python, _module: False)
    said = [messages(local, local.plan(layout=Layout(kind, 1, 2))) for kind in ("mpi", "pytorch", "none", "slurm")]

    assert said == [
        [
            "configs/config.yaml: distribution.kind: 'mpi' needs the program 'mpirun', which is not on PATH; "
            "install it: pip install 'amlrun[mpi]'"
        ],
        [
            f"configs/config.yaml: distribution.kind: 'pytorch' needs torch, which '{sys.executable}' does not have; "
            "install it: pip install 'amlrun[train]'"
        ],
        ["configs/config.yaml: distribution.kind: 'none' is one process, not 2; choose 'pytorch' or 'mpi'"],
        [
            "configs/config.yaml: distribution.kind: 'slurm' cannot be started on this machine; "
            "there are: none, pytorch, mpi"
        ],
    ]


def test_an_argument_that_mpirun_would_take_for_itself(local: Bench) -> None:
    plan = local.plan(layout=Layout("mpi", 1, 2), arguments=("a", ":", "b"))

    assert [m for m in messages(local, plan) if "':' alone" in m]


def test_a_module_is_looked_for_in_the_planned_interpreter() -> None:
    other = str(Path(sys.executable).resolve())  # the one behind the virtual environment, which has nothing installed

    assert local_checks.has_module(sys.executable, "psutil")
    assert not local_checks.has_module(sys.executable, "no_such_module")
    assert local_checks.has_module(other, "json")
    assert not local_checks.has_module(other, "no_such_module")


@pytest.mark.parametrize(
    ("layout", "slot", "slots", "launching", "expected"),
    [
        (Layout("none", 1, 1), 0, 1, 1, [None]),
        (Layout("none", 1, 1), 1, 2, 1, ["2,3"]),
        (Layout("none", 1, 1), 5, 8, 1, ["1"]),
        (Layout("pytorch", 2, 2), 0, 1, 2, ["0,1", "2,3"]),
        (Layout("pytorch", 4, 2), 0, 1, 4, ["0,1,2,3"] * 4),
        (Layout("mpi", 2, 2), 0, 1, 1, ["0,1,2,3"]),
        (Layout("pytorch", 2, 1), 1, 2, 2, ["2", "3"]),
    ],
)
def test_gpus_are_shared(
    local: Bench,
    monkeypatch: pytest.MonkeyPatch,
    layout: Layout,
    slot: int,
    slots: int,
    launching: int,
    expected: list[str],
) -> None:
    monkeypatch.setattr(processes, "gpu_ids", lambda: ["0", "1", "2", "3"])
    shares = local_supervisor.gpus_of(local.plan(layout=layout), launching, slot, slots)

    assert [share.get("CUDA_VISIBLE_DEVICES") for share in shares] == expected


def test_without_gpus_nothing_is_hidden(local: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "gpu_ids", list)

    assert local_supervisor.gpus_of(local.plan(layout=Layout("pytorch", 2, 2)), 2, 0, 1) == [{}, {}]
