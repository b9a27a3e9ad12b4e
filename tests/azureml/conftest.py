"""Plans for Azure, a service that is played, and a stand-in for the few classes of the SDK that a test needs."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from runner import history
from runner.emulator import instance
from runner.spec import Plan
from runner.targets.azureml_workspace import Service
from tests import plans
from tests.azureml.shell import Shell

MakePlan = Callable[..., Plan]
ON_AZURE = {
    "target": "azureml",
    "python": "python",
    "config": {
        "workspace": {"kind": "emulator", "name": "ws"},
        "compute": {"kind": "amlcompute", "name": "cpu", "create": True, "vm_size": "Standard_DS3_v2"},
        "env": {"kind": "auto", "conda_file": "conda.yml", "image": "auto", "pip": []},
    },
    "digests": {"config": "c0ffee"},
}


class ComputeTargetError(Exception):
    """As in the SDK: one class for every refusal."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


# Whose doing an exception is, is told by where its class comes from.
ComputeTargetError.__module__ = "azureml.exceptions"


@dataclass
class Workspace:
    """What the service has."""

    name: str = "ws"
    compute_targets: dict[str, Any] = field(default_factory=dict)


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of an emulator that serves while a module's tests run."""
    folder = tmp_path_factory.mktemp("emulator")
    instance.start(instance.Settings(folder))
    yield folder
    instance.stop(folder)


@pytest.fixture
def shell(bare: Path, emulator: Path) -> Shell:
    return Shell(bare, emulator)


@pytest.fixture
def service() -> Service:
    return Service(Workspace(), pace=0.0)


@pytest.fixture
def make_plan(tmp_path: Path) -> MakePlan:
    def make(**changes: Any) -> Plan:
        run_id = changes.pop("id", f"test-{len(history.run_ids(tmp_path))}")
        plan = plans.make_plan(tmp_path, run_id, **ON_AZURE | changes)
        history.snapshot_dir(tmp_path, plan.snapshot.digest).mkdir(parents=True, exist_ok=True)
        history.store_plan(tmp_path, plan)
        return plan

    return make


@pytest.fixture
def fake_module(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put a module with these names where `import` finds it, and every package above it."""

    def put(name: str, **names: Any) -> None:
        parts = name.split(".")
        for end in range(1, len(parts)):
            monkeypatch.setitem(sys.modules, ".".join(parts[:end]), types.ModuleType(".".join(parts[:end])))
        module = types.ModuleType(name)
        vars(module).update(names)
        monkeypatch.setitem(sys.modules, name, module)

    return put
