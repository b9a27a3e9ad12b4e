"""Jobs on their way to Azure: the SDK's own requests over connections that stay open, one pause for all threads.

`Experiment.submit` asks about the compute, walks the code, makes a thread, a TLS context and three or more requests for
each job, waits 32 s after a 429 whatever Retry-After says, and changes the process's directory. What it sends in the
end is sent here: the body of `azureml._execution._commands._start_internal` (azureml-core 1.61) to `snapshotrun`, and
the change of the run that follows it, with the tags inside.
"""

from __future__ import annotations

import random
import threading
import time
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from runner.errors import TargetError
from runner.spec import Plan
from runner.targets.azureml_states import status_of
from runner.targets.azureml_workspace import Service, quiet, service_errors

IN_PARALLEL = 8
TRIES = 5
TIMEOUT_SECONDS = 60
# Answers after which the same again cannot help; and the one after which surely nothing was done.
REFUSALS = frozenset({400, 401, 403, 404, 405, 413, 415, 422})
NOT_NOW = 429
MAX_PAUSE_SECONDS = 60.0
Answer = TypeVar("Answer")


@dataclass(slots=True)
class Pause:
    """What the service asks one thread to wait, all wait. `base` seconds, doubled each time, where it does not say."""

    base: float
    until: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def wait(self) -> None:
        while (left := self.until - self.clock()) > 0:
            self.sleep(left)

    def ask(self, error: BaseException, attempt: int) -> None:
        """After a doubtful answer to the try of this number, from 0."""
        asked = retry_after(error)
        # Chance keeps those who were refused together from coming back together.
        seconds = self.base * 2**attempt * random.uniform(0.5, 1.0) if asked is None else asked  # noqa: S311
        with self.lock:
            self.until = max(self.until, self.clock() + min(seconds, MAX_PAUSE_SECONDS))

    def tried(self, ask: Callable[[], Answer]) -> Answer:
        """What `ask` says, tried again where its refusal is doubtful; only for what may be done twice."""
        for attempt in range(TRIES):
            self.wait()
            try:
                return ask()
            except TargetError as error:
                if attempt == TRIES - 1 or status_of(error.__cause__) in REFUSALS:
                    raise
                self.ask(error, attempt)
        raise AssertionError


def retry_after(error: BaseException | None) -> float | None:
    """The seconds that an answer asks to wait."""
    while error is not None:
        headers = getattr(getattr(error, "response", None), "headers", None) or {}
        try:
            return max(0.0, float(headers["Retry-After"]))
        except (KeyError, TypeError, ValueError):
            error = error.__cause__
    return None


@dataclass(frozen=True, slots=True)
class Channel:
    """Kept connections to a workspace, one for each thread at most."""

    service: Service
    session: Any

    def post(self, plan: Plan, body: Mapping[str, Any]) -> None:
        """Submit a job. Raises TargetError; whether the run is there is then open, but for REFUSALS and NOT_NOW."""
        query = urllib.parse.urlencode({"runId": plan.id})
        scope = self.service.workspace.service_context._get_workspace_scope()
        address = self.service.workspace.service_context._get_execution_url()
        path = f"/execution/v1.0{scope}/experiments/{urllib.parse.quote(plan.name)}/snapshotrun?{query}"
        self.ask("POST", address + path, body, f"run '{plan.id}' was not accepted")

    def change(self, plan: Plan, values: Mapping[str, Any]) -> None:
        """Tags and properties of a run. Raises TargetError; may be done twice."""
        scope = self.service.workspace.service_context._get_workspace_scope()
        address = self.service.workspace.service_context._get_run_history_url()
        path = f"/history/v1.0{scope}/experiments/{urllib.parse.quote(plan.name)}/runs/{plan.id}"
        self.ask("PATCH", address + path, {"runId": plan.id, **values}, f"run '{plan.id}' has not got its tags")

    def ask(self, method: str, address: str, body: Mapping[str, Any], doing: str) -> None:
        from azureml._execution import _commands

        with service_errors(doing), quiet():
            login = self.service.workspace._auth_object.get_authentication_header()
            headers = {**_commands._get_common_headers(), **login}
            answer = self.session.request(method, address, json=body, headers=headers, timeout=TIMEOUT_SECONDS)
            if not answer.ok:
                raise refusal(answer)


def channel(service: Service) -> Channel:
    import requests
    from requests.adapters import HTTPAdapter

    session = requests.Session()
    session.mount("https://", HTTPAdapter(pool_connections=IN_PARALLEL, pool_maxsize=IN_PARALLEL))
    return Channel(service, session)


def refusal(answer: Any) -> Exception:
    """With the service's own words: those of `raise_for_status` are the address alone."""
    import requests

    try:
        said = answer.json()
        words = (said.get("error") or {}).get("message") or said.get("message")
    except (ValueError, AttributeError):
        words = None
    error: Exception = requests.HTTPError(f"{answer.status_code} {words or answer.reason}", response=answer)
    return error


def body(service: Service, config: Any, snapshot: str) -> dict[str, Any]:
    """What the SDK sends for a ScriptRunConfig whose code is there as `snapshot`."""
    from azureml._execution import _commands
    from azureml.core import script_run_config

    made = script_run_config.get_run_config_from_script_run(config)
    made.credential_passthrough = False
    script_run_config._update_args_and_io(service.workspace, made)
    _commands._run_config_modification(made)
    definition = _commands._serialize_run_config_to_dict(made)
    return {"TargetDetails": None, "Configuration": definition, "TelemetryValues": None, "SnapshotId": snapshot}


def code_of(service: Service, folder: str) -> str:
    """The id of the folder's content on the service, which uploads what it lacks."""
    from azureml._restclient.snapshots_client import SnapshotsClient

    with service_errors("the code cannot be uploaded"), quiet():
        return str(SnapshotsClient(service.workspace.service_context).create_snapshot(folder))


def page_of(experiment: Any, run_id: str) -> str:
    """Where a browser shows the run."""
    from azureml.core._portal import HasRunPortal

    return str(HasRunPortal(experiment, run_id).get_portal_url())
