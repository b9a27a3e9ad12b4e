"""What a run leaves on the service: logs, outputs, metrics; and the copies that the history keeps at its end."""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from runner.diagnose.layouts import Phase, source_of
from runner.errors import TargetError
from runner.history import RunFiles
from runner.spec import Log
from runner.targets.azureml_workspace import Service, quiet, service_errors
from runner.targets.local import METRICS, copied, files_under, read_from

OUTPUTS = "outputs/"
# Left with the run by whoever submitted it, for machines that know its URL alone.
PLAN = "outputs/amlrun/plan.json"
# With the first of several that were submitted together: the plans of the others, whose tag names that run.
PLANS, PLANS_TAG = "outputs/amlrun/plans.json", "amlrun_plans"
SCRIPT_LOGS, SERVICE_LOGS = "logs/", "logs/azureml/"
TIMEOUT_SECONDS = 60
TRIES = 3
NO_SUCH_RANGE, NOT_FOUND, PART = 416, 404, 206
Reader = Callable[[str, int], bytes]


def run_of(service: Service, run_id: str) -> Any:
    """The SDK's own handle. Raises TargetError where the workspace has no such run."""
    from azureml.core import Run

    def ask() -> Any:
        with service_errors(f"cannot ask for run '{run_id}'"), quiet():
            return Run.get(service.workspace, run_id)

    known = service.answers.get(f"handle {run_id}")
    if known is None:
        known = service.answers[f"handle {run_id}"] = (0.0, ask())
    return known[1]


def addresses(service: Service, run_id: str) -> dict[str, str]:
    """Where each log can be read now, by its path on the service."""

    def ask() -> dict[str, str]:
        with service_errors(f"cannot ask for the logs of run '{run_id}'"), quiet():
            found: Mapping[str, str] = run_of(service, run_id).get_details().get("logFiles") or {}
        return dict(found)

    return service.paced(f"logs {run_id}", ask)


def live_logs(service: Service, run_id: str, reader: Reader | None = None) -> list[Log]:
    """The logs there are now. `reader` decides what a broken connection means; without one, the next look mends it."""
    found, chosen = addresses(service, run_id), reader or read_if_possible
    return in_order([Log(shown(path), rank_of(path), partial(chosen, found[path])) for path in found])


def in_order(logs: list[Log]) -> list[Log]:
    """Ranks first, each rank's newest attempt before the earlier ones."""
    return sorted(
        logs, key=lambda log: (log.rank is None, -1 if log.rank is None else log.rank, -attempt(log.name), log.name)
    )


def rank_of(path: str) -> int | None:
    source = source_of(path)
    return source.rank if source.phase is Phase.RANK else None


def attempt(name: str) -> int:
    return source_of(name).attempt


def shown(path: str) -> str:
    """The name of a log here: what the script itself wrote to ./logs is under 'script', as for local runs."""
    own = path.startswith(SCRIPT_LOGS) and not path.startswith(SERVICE_LOGS)
    return "script/" + path.removeprefix(SCRIPT_LOGS) if own else path


def read_if_possible(address: str, offset: int) -> bytes:
    """Of a log that is read again and again: whoever follows a run for hours survives a broken connection."""
    with contextlib.suppress(TargetError):
        return read(address, offset)
    return b""


def read_surely(address: str, offset: int) -> bytes:
    """Of a log that is copied once: tried several times, then an error."""
    for _ in range(TRIES - 1):
        with contextlib.suppress(TargetError):
            return read(address, offset)
    return read(address, offset)


def read(address: str, offset: int) -> bytes:
    """A log's bytes from there on; none where it has not grown."""
    import requests

    with service_errors("a log cannot be read"):
        answer = requests.get(address, headers={"Range": f"bytes={offset}-"}, timeout=TIMEOUT_SECONDS)
        if answer.status_code in (NO_SUCH_RANGE, NOT_FOUND):
            return b""
        answer.raise_for_status()
    content: bytes = answer.content
    return content if answer.status_code == PART else content[offset:]


def kept_logs(files: RunFiles) -> list[Log]:
    """The copies in the history. Links are names for some of them."""
    paths = [path for path in files_under(files.logs) if not path.is_symlink()]
    names = {path.relative_to(files.logs).as_posix(): path for path in paths}
    return in_order([Log(name, rank_of(name), partial(read_from, path)) for name, path in names.items()])


def keep_logs(service: Service, run_id: str, files: RunFiles) -> None:
    """Copy every log; `rank_N.log` is another name for that of a rank, as for local runs."""
    service.answers.pop(f"logs {run_id}", None)
    broken: list[TargetError] = []
    for log in live_logs(service, run_id, read_surely):
        path = files.logs / log.name
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            path.write_bytes(log.read(0))
        except TargetError as error:
            broken.append(error)
    ranks = {log.rank: log.name for log in reversed(kept_logs(files)) if log.rank is not None}
    for rank, name in ranks.items():
        with contextlib.suppress(FileExistsError):
            files.rank_log(rank).symlink_to(name)
    if broken:
        raise broken[0]


def keep_outputs(service: Service, run_id: str, files: RunFiles) -> None:
    """Copy the outputs, complete or not at all; another process may do the same at this moment."""
    beside = files.root / f".outputs.{secrets.token_hex(6)}"
    try:
        download(service, run_id, beside)
        (beside / OUTPUTS).mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(OSError):  # there already: by that other process
            (beside / OUTPUTS).rename(files.outputs)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    if files.live_metrics.is_file():
        shutil.copy2(files.live_metrics, files.metrics)
    elif rows := logged_metrics(service, run_id):
        files.metrics.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def download(service: Service, run_id: str, folder: Path) -> None:
    """What the run has uploaded from ./outputs so far, into `folder/outputs`; the history has the plan already."""
    run = run_of(service, run_id)
    folder.mkdir(parents=True, exist_ok=True)
    with service_errors(f"the outputs of run '{run_id}' cannot be downloaded"), quiet():
        if any(name.startswith(OUTPUTS) for name in run.get_file_names()):
            run.download_files(prefix=OUTPUTS, output_directory=str(folder))
    for name in (PLAN, PLANS):
        (folder / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # not there, or the node's own record is beside it
        (folder / PLAN).parent.rmdir()


def fetch(service: Service | None, run_id: str, files: RunFiles, destination: Path) -> list[Path]:
    """Copy the outputs into `destination`: those that the history keeps, or with a service those uploaded so far."""
    if service is None:
        wanted = {path.relative_to(files.outputs): path for path in files_under(files.outputs)}
        if files.metrics.is_file():
            wanted.setdefault(Path(METRICS), files.metrics)
        return [copied(source, destination / name) for name, source in sorted(wanted.items())]
    beside = files.root / f".fetch.{secrets.token_hex(6)}"
    try:
        download(service, run_id, beside)
        found = {path.relative_to(beside / OUTPUTS): path for path in files_under(beside / OUTPUTS)}
        return [copied(source, destination / name) for name, source in sorted(found.items())]
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def logged_metrics(service: Service, run_id: str) -> list[dict[str, Any]]:
    """What the script has logged to the run itself: a row for each step of the values that were logged together."""

    def ask() -> list[dict[str, Any]]:
        with service_errors(f"cannot ask for the metrics of run '{run_id}'"), quiet():
            return rows_of(run_of(service, run_id).get_metrics())

    return service.paced(f"metrics {run_id}", ask)


def rows_of(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The SDK gives a value, or all values of a name in order; tables and images are no rows."""
    columns = {name: value if isinstance(value, list) else [value] for name, value in metrics.items()}
    plain = {name: column for name, column in columns.items() if all(isinstance(x, (int, float, str)) for x in column)}
    length = max(map(len, plain.values()), default=0)
    return [{name: column[row] for name, column in plain.items() if row < len(column)} for row in range(length)]
