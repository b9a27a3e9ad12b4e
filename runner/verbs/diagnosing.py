"""diagnose: why a run, or a folder of logs from anywhere, failed."""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from runner import history
from runner.diagnose import Diagnosis, NamedLog, examine, read_folder
from runner.errors import ConfigError, RunFailedError, TargetError
from runner.project import find_project
from runner.redact import redact
from runner.spec import Run, State
from runner.sweeps import Sweep
from runner.targets import load_target
from runner.verbs.ending import refreshed
from runner.verbs.remote import find_run
from runner.verbs.sweeping import by_cause, loaded


def diagnose(args: argparse.Namespace) -> int:
    """Exit code 0 where no failure was found, 5 where one was."""
    place = Path(args.what).expanduser()
    if place.exists() or (os.sep in args.what and "://" not in args.what):
        where, logs, run = place, read_folder(place), None
        found = examine(logs)
    else:
        if sweep := sweep_of(args):
            return of_sweep(*sweep, args)
        where, logs, run = of_run(args)
        found = of_its_own(run) or (examine(logs) if run.state is not State.COMPLETED else None)
    text = as_text(found, where) if found else no_failure(run, logs)
    print(redact(json.dumps(as_json(found, logs, where), indent=2) if args.json else text, secrets(args, run)))
    return RunFailedError.exit_code if found else 0


def sweep_of(args: argparse.Namespace) -> tuple[Path, Sweep] | None:
    try:
        project = find_project(args.project, Path.cwd())
    except ConfigError:
        return None
    sweep = history.find_sweep(project, args.what)
    return None if sweep is None else (project, sweep)


def of_sweep(project: Path, sweep: Sweep, args: argparse.Namespace) -> int:
    """Each run that failed, one after the other; equal causes together, with the first run's evidence."""
    runs = refreshed(project, loaded(project, sweep))
    found = by_cause(project, [run for run in runs if run.state is not State.CANCELED])
    if args.json:
        rows = [
            {"cause": same[0].failure and same[0].failure.cause, "runs": [run.id for run in same]} for same, _ in found
        ]
        print(json.dumps({"failed": bool(found), "sweep": sweep.id, "causes": rows}, indent=2))
    else:
        print("\n\n".join(text for _, text in found) or f"{sweep.id}: no run has failed")
    return RunFailedError.exit_code if found else 0


def of_run(args: argparse.Namespace) -> tuple[Path, list[NamedLog], Run]:
    """A run's folder, its logs, and the run as it is now."""
    try:
        project = find_project(args.project, Path.cwd())
    except ConfigError:
        raise TargetError(
            f"'{args.what}' is no folder here, and there is no project whose run it could be; name a folder of logs, "
            "or go to the project's folder"
        ) from None
    try:
        run = find_run(project, args.what)
    except TargetError as error:
        raise TargetError(f"{error}; a folder of logs would do too, but '{args.what}' is none") from None
    target = load_target(run.target, project)
    run = target.states([run])[0]
    folder = history.files(project, run.id).root
    if run.target == "local":
        return folder, read_folder(folder) if (folder / "logs").is_dir() else [], run
    logs = [NamedLog(log.name, log.read(0).decode("utf-8", "replace")) for log in target.logs(run)]
    return folder / "logs", logs, run


def of_its_own(run: Run) -> Diagnosis | None:
    """What the run itself knows, where it was no process's doing: a limit, its supervisor, a launcher that failed."""
    if run.state is State.FAILED and run.failure is not None and run.failure.rank is None:
        return Diagnosis("run", run.failure)
    return None


def secrets(args: argparse.Namespace, run: Run | None) -> list[str]:
    """The values that the run's plan keeps by name only, where this shell has them."""
    if run is None:
        return []
    plan = history.load_plan(find_project(args.project, Path.cwd()), run.id)
    return [os.environ[name] for name in plan.secrets if name in os.environ]


def no_failure(run: Run | None, logs: list[NamedLog]) -> str:
    count = sum(not log.name.endswith(".json") for log in logs)
    found = f"no failure found in {count} log{'s' * (count != 1)}"
    return found if run is None else f"{run.id} {run.state.value}: {found}"


def as_text(found: Diagnosis, where: Path) -> str:
    failure = found.failure
    of = f" of {found.world_size}" if found.world_size is not None and found.world_size > 1 else ""
    who = f"rank {failure.rank}{of}: " if failure.rank is not None else ""
    code = f" (exit code {failure.exit_code})" if failure.exit_code is not None else ""
    parts = [f"{who}{failure.cause}{code}"]
    if failure.evidence:
        parts.append("\n".join(f"    {line}" for line in failure.evidence.rstrip().splitlines()))
    if failure.advice:
        parts.append(f"what to do: {failure.advice}")
    if failure.log:
        parts.append(f"log: {log_path(where, failure.log)}")
    return "\n".join([*parts, *([found.consequences] if found.consequences else []), *found.notes])


def as_json(found: Diagnosis | None, logs: list[NamedLog], where: Path) -> dict[str, Any]:
    """`{failed, logs, kind, rank, world_size, cause, exit_code, evidence, log, advice, consequences, notes}`."""
    names = [log.name for log in logs if not log.name.endswith(".json")]
    if found is None:
        return {"failed": False, "logs": names}
    failure = {**asdict(found.failure), "log": str(log_path(where, found.failure.log)) if found.failure.log else None}
    rest = {"world_size": found.world_size, "consequences": found.consequences, "notes": list(found.notes)}
    return {"failed": True, "logs": names, "kind": found.kind, **failure, **rest}


def log_path(where: Path, log: str) -> Path:
    return where if where.is_file() else where / log
