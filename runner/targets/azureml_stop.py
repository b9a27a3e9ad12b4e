"""Asking a run on Azure to stop."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from runner import history, processes
from runner.spec import Run, State
from runner.targets.azureml_files import run_of
from runner.targets.azureml_states import iso
from runner.targets.azureml_workspace import Service, quiet, service_errors


def cancel(project: Path, run: Run, service: Callable[[], Service]) -> None:
    """A plan that was never sent is canceled here; what runs is told to stop; what has ended stays as it is."""
    if run.state.final:
        return
    me = {"pid": os.getpid(), "birth": processes.birth(os.getpid())}
    if run.state is State.PLANNED and history.claim(project, run.id, me):
        now = iso(None)
        phases = (*run.phases, (State.CANCELED.value, now))
        history.store_run(project, replace(run, state=State.CANCELED, phases=phases, ended=now))
        return
    history.files(project, run.id).cancel.touch()
    with service_errors(f"run '{run.id}' cannot be canceled"), quiet():
        run_of(service(), run.id).cancel()
