"""The command line as a person uses it: in its own process, against an emulator."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Outcome, write

# azureml-core is an extra: `make test-slow` runs these tests in an environment that has it.
needs_sdk = pytest.mark.skipif(find_spec("azureml") is None, reason="needs azureml-core: pip install 'amlrun[azure]'")
ON_AZURE = ("compute=cpu-cluster", "workspace=emulator", "env=image", "env.image=mcr.microsoft.com/x/y:1")


@dataclass(frozen=True)
class Shell:
    """Commands in a bare project, against one emulator."""

    folder: Path
    emulator: Path

    def __call__(self, *argv: str, workspace: bool = True) -> Outcome:
        where = [f"workspace.dir={self.emulator}"] if workspace else []
        command = [sys.executable, "-m", "runner", *argv, *where]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=120)
        return Outcome(done.returncode, done.stdout, done.stderr)

    def run(self, script: str, *overrides: str) -> Outcome:
        write(self.folder, {"main.py": script})
        return self("run", "code.script=main.py", *ON_AZURE, *overrides, "--json")

    def ask(self, *argv: str) -> Any:
        done = self(*argv, "--json", workspace=False)
        assert done.code == 0, done.err
        return json.loads(done.out)
