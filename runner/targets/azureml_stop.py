"""Asking a run on Azure to stop."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from runner import history
from runner.errors import TargetError
from runner.spec import Run, State
from runner.targets.azureml_files import TIMEOUT_SECONDS, run_of
from runner.targets.azureml_states import iso, look_up
from runner.targets.azureml_workspace import Service, quiet, service_errors
from runner.targets.local import alive, identity


def cancel(project: Path, run: Run, service: Callable[[], Service]) -> None:
    """A plan that was never sent is canceled here; what runs is told to stop; what has ended stays as it is."""
    if run.state.final:
        return
    if run.state is State.PLANNED and history.claim(project, run.id, me()):
        never_sent(project, run)
        return
    name = history.load_plan(project, run.id).name
    if is_left(project, run):
        if look_up(service(), name, run.id) is None:
            never_sent(project, run)
            return
        # Not final, whatever the service says: the next look collects what an end leaves.
        history.store_run(project, replace(run, state=State.UNKNOWN))
    history.files(project, run.id).cancel.touch()
    ask(service(), name, run.id)


def never_sent(project: Path, run: Run) -> None:
    now = iso(None)
    phases = (*run.phases, (State.CANCELED.value, now))
    history.store_run(project, replace(run, state=State.CANCELED, phases=phases, ended=now))


def is_left(project: Path, run: Run) -> bool:
    """Whether somebody was to send the plan and ended before it was known how that went; then it is ours now."""
    owner = history.owner_of(project, run.id)
    if run.state is not State.PLANNED or (owner is not None and alive(owner)):
        return False
    return history.take_over(project, run.id, owner, me())


def me() -> dict[str, Any]:
    return identity(os.getpid())


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
