"""Asking a run on Azure to stop."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from runner import history, processes
from runner.errors import TargetError
from runner.spec import Run, State
from runner.targets.azureml_files import TIMEOUT_SECONDS, run_of
from runner.targets.azureml_states import iso, look_up
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
    ask(service(), history.load_plan(project, run.id).name, run.id)


def ask(service: Service, experiment: str, run_id: str) -> None:
    """Raises TargetError where the service does not take it: the SDK's own `cancel` does not look at the answer."""
    record = look_up(service, experiment, run_id)
    if record is None:
        raise TargetError(f"workspace '{service.workspace.name}' has no run '{run_id}': there is nothing to cancel")
    with service_errors(f"run '{run_id}' cannot be canceled"), quiet():
        if not record.cancel_uri:  # a run of no job: its state is all there is to change
            run_of(service, run_id).cancel()
            return
        from azureml._restclient.utils import create_session_with_retry

        headers = service.workspace.service_context.get_auth().get_authentication_header()
        with create_session_with_retry() as session:
            session.post(record.cancel_uri, headers=headers, timeout=TIMEOUT_SECONDS).raise_for_status()
