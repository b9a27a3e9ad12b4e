"""What Azure says of a run, in our words: one total table, and one query for many runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

from runner.spec import Run, State
from runner.targets.azureml_workspace import Service, quiet, service_errors

NOT_FOUND = 404

# Every status of azureml-core 1.61 (core/run.py, RunStatus). What is not here is UNKNOWN, and not final.
STATES: Mapping[str, State] = {
    "NotStarted": State.PREPARING,
    "Preparing": State.PREPARING,
    "Unapproved": State.QUEUED,
    "Queued": State.QUEUED,
    "Provisioning": State.QUEUED,
    "Starting": State.QUEUED,
    "Paused": State.QUEUED,
    "Running": State.RUNNING,
    "NotResponding": State.RUNNING,
    "CancelRequested": State.FINALIZING,
    "Finalizing": State.FINALIZING,
    "Completed": State.COMPLETED,
    "Finished": State.COMPLETED,
    "Failed": State.FAILED,
    "Canceled": State.CANCELED,
}


def state_of(status: object) -> State:
    return STATES.get(str(status), State.UNKNOWN)


def query(service: Service, experiment: str, run_ids: Sequence[str]) -> dict[str, Any]:
    """The service's records of these runs by id; a run it does not know is left out. One request for all."""
    from azureml._restclient.experiment_client import ExperimentClient

    with service_errors("cannot ask for the state of runs"), quiet():
        client = ExperimentClient(service.workspace.service_context, experiment)
        try:
            return {found.run_id: found for found in client.get_runs_by_run_ids(list(run_ids))}
        except Exception as error:
            if status_of(error) == NOT_FOUND:  # the experiment itself is not there
                return {}
            raise


def look_up(service: Service, experiment: str, run_id: str) -> Any | None:
    """The service's record of one run, None where it has none. Unlike a query this never lags behind."""
    from azureml._restclient.run_client import RunClient

    with service_errors(f"cannot ask for run '{run_id}'"), quiet():
        try:
            return RunClient(service.workspace.service_context, experiment, run_id).get_run()
        except Exception as error:
            if status_of(error) == NOT_FOUND:
                return None
            raise


def status_of(error: BaseException | None) -> int | None:
    """The HTTP status behind an exception of the SDK, wherever that keeps it."""
    while error is not None:
        for holder in (error, getattr(error, "response", None)):
            status = getattr(holder, "status_code", None)
            if isinstance(status, int):
                return status
        error = getattr(error, "inner_exception", None) or error.__cause__
    return None


def moved(run: Run, record: Any | None) -> Run:
    """The run as the service's record says it is; phases that were over before we looked are filled in."""
    if record is None:
        return replace(run, state=State.UNKNOWN)
    state, phases = state_of(record.status), list(run.phases)
    entered = {name for name, _ in phases}
    after = state in (State.FINALIZING, State.COMPLETED, State.FAILED)
    if after and State.RUNNING.value not in entered and record.start_time_utc:
        phases.append((State.RUNNING.value, iso(record.start_time_utc)))
    ended = iso(record.end_time_utc) if state.final else None
    if state is not State.UNKNOWN and (not phases or phases[-1][0] != state.value):
        began = iso(record.start_time_utc) if state is State.RUNNING else ended
        phases.append((state.value, began or iso(None)))
    return replace(run, state=state, phases=tuple(phases), ended=ended)


def iso(time: datetime | None) -> str:
    """ISO 8601 with zone; now, where the service has no time."""
    moment = time or datetime.now(timezone.utc)
    return moment.astimezone(timezone.utc).isoformat(timespec="milliseconds")


def message_of(record: Any) -> str:
    """What the service gives as the reason of an end."""
    error = getattr(record, "error", None)
    inner = getattr(error, "error", None) or error
    return str(getattr(inner, "message", None) or "")
