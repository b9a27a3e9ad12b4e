"""What a run on this machine needs and does not find. Read-only, and without importing what it looks for."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from runner import processes
from runner.distribution import DISTRIBUTIONS
from runner.errors import Place, Problem
from runner.spec import Plan


def check(plans: list[Plan]) -> list[Problem]:
    """Problems of all plans, each said once."""
    problems = (problem for plan in plans for problem in problems_of(plan))
    return list(dict.fromkeys(problems))


def problems_of(plan: Plan) -> Iterator[Problem]:
    yield from check_interpreter(plan)
    yield from check_launcher(plan)
    yield from check_secrets(plan)
    yield from check_inputs(plan)


def check_interpreter(plan: Plan) -> Iterator[Problem]:
    if shutil.which(plan.python) is None:
        message = f"the interpreter '{plan.python}' does not exist or cannot be executed"
        yield Problem(place(plan, "env"), "env", message, "start amlrun with an interpreter that does")


def check_launcher(plan: Plan) -> Iterator[Problem]:
    layout, where = plan.layout, place(plan, "distribution")
    kind = DISTRIBUTIONS.get(layout.kind)
    if kind is None:
        message = f"'{layout.kind}' cannot be started on this machine"
        yield Problem(where, "distribution.kind", message, f"there are: {', '.join(DISTRIBUTIONS)}")
        return
    if layout.world_size > 1 and not kind.many_processes:
        message = f"'{layout.kind}' is one process, not {layout.world_size}"
        yield Problem(where, "distribution.kind", message, "choose 'pytorch' or 'mpi'")
    if kind.needs_module and shutil.which(plan.python) and not has_module(plan.python, kind.needs_module):
        message = f"'{layout.kind}' needs {kind.needs_module}, which '{plan.python}' does not have"
        yield Problem(where, "distribution.kind", message, "install it: pip install 'amlrun[train]'")
    if kind.needs_program and not processes.find_program(plan.python, kind.needs_program):
        message = f"'{layout.kind}' needs the program '{kind.needs_program}', which is not on PATH"
        yield Problem(where, "distribution.kind", message, "install it: pip install 'amlrun[mpi]'")
    if layout.engine == "horovod" and shutil.which(plan.python) and not has_module(plan.python, "horovod"):
        message = f"'{plan.python}' does not have horovod"
        yield Problem(where, "distribution.engine", message, "build it (`make horovod`), or use 'torch'")
    if kind.needs_program and ":" in (*plan.arguments, *plan.command[1:]):
        message = "an argument is ':' alone, which mpirun takes as the beginning of another program"
        yield Problem(place(plan, "code"), "code.arguments", message, "pass it in a variable (env.variables)")


def check_secrets(plan: Plan) -> Iterator[Problem]:
    for name in plan.secrets:
        if name not in os.environ:
            message = f"'{name}' is not set in this shell"
            yield Problem(place(plan, "env"), "env.secrets", message, f"set it before running: export {name}=...")


def check_inputs(plan: Plan) -> Iterator[Problem]:
    where = Place("configs/config.yaml")
    for name, value in plan.inputs.items():
        key, path = f"inputs.{name}", str(value.get("path") or "")
        if value.get("datastore") or value.get("dataset") or "://" in path:
            what = "a datastore" if value.get("datastore") else "a dataset" if value.get("dataset") else f"'{path}'"
            hint = f"download it and set {key}.path to the folder"
            yield Problem(where, key, f"{what} cannot be read on this machine", hint)
        elif not (Path(plan.project) / Path(path).expanduser()).exists():
            yield Problem(where, key, f"'{path}' does not exist", f"paths are relative to '{plan.project}'")


def place(plan: Plan, group: str) -> Place:
    """The file that was chosen for `group`."""
    choice = plan.choices.get(group)
    return Place(f"configs/{group}/{choice}.yaml" if choice else "configs/config.yaml")


@cache
def has_module(python: str, module: str) -> bool:
    """Whether that interpreter finds `module`, without importing it (torch takes seconds)."""
    if python == sys.executable:
        return importlib.util.find_spec(module) is not None
    code = f"import importlib.util as u, sys; sys.exit(u.find_spec({module!r}) is None)"
    return subprocess.run([python, "-c", code], capture_output=True).returncode == 0
