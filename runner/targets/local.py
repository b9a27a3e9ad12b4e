"""This machine as a target: runs belong to a supervisor process that outlives the terminal they were started from."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

from runner import distribution, history, processes
from runner.errors import Problem
from runner.history import RunFiles
from runner.spec import RUN_ID_VARIABLE, Failure, Log, Plan, Run, State
from runner.targets.local_checks import check

INPUT = "input:"
METRICS = "metrics.jsonl"
# The supervisor looks for modules where we found them: an installation, a checkout, or a mixture.
SUPERVISOR = (
    "import sys; sys.path[:] = sys.argv.pop(1).split('\\n'); "
    "from runner.targets.local_supervisor import main; sys.exit(main(sys.argv[1:]))"
)
# A shell may have us ignore these; a run must not inherit that.
DEFAULT_SIGNALS = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGPIPE, signal.SIGXFSZ)


@dataclass(frozen=True, slots=True)
class Local:
    """The target of `compute.kind: local`. `project` is the folder whose history holds the runs."""

    project: Path = field(default_factory=Path.cwd)

    def request(self, plan: Plan) -> dict[str, Any]:
        """What would be started here, word for word. Variables of the submitting shell come on top."""
        files = history.files(Path(plan.project), plan.id)
        return {
            "working_directory": str(files.work),
            "launchers": [
                {"node": launcher.node, "argv": list(launcher.argv), "environment": dict(launcher.environment)}
                for launcher in launchers(plan)
            ],
            "environment": variables(plan),
            "secrets": list(plan.secrets),
            "ranks": [{**rank, "log": files.name_of(files.rank_log(rank["rank"]))} for rank in plan.layout.ranks()],
        }

    def check(self, plans: list[Plan]) -> list[Problem]:
        """What is missing on this machine: interpreter, launcher, secrets, inputs."""
        return check(plans)

    def submit(self, plans: list[Plan]) -> list[Run]:
        """Start the plans that nobody has started, under one supervisor; the others' runs are returned as they are."""
        history.require_code(plans)
        by_project: dict[Path, list[str]] = {}
        for plan in plans:
            if accept(plan):
                by_project.setdefault(Path(plan.project), []).append(plan.id)
        for project, run_ids in by_project.items():
            supervise(project, run_ids)
        return [history.load_run(Path(plan.project), plan.id) for plan in plans]

    def states(self, runs: list[Run]) -> list[Run]:
        """From the history; a run whose supervisor has died is ended here."""
        return [current(self.project, run.id) for run in runs]

    def logs(self, run: Run) -> list[Log]:
        history.load_run(self.project, run.id)
        files = history.files(self.project, run.id)
        by_rank = {int(path.stem.removeprefix("rank_")): path for path in files.logs.glob("rank_*.log")}
        ranks = [log_of(files, by_rank[rank], rank) for rank in sorted(by_rank)]
        others = [files.launcher_log, files.supervisor_log, *sorted(files_under(files.script_logs))]
        return ranks + [log_of(files, path, None) for path in others if path.is_file() and path.stat().st_size]

    def metrics(self, run: Run) -> list[dict[str, Any]]:
        history.load_run(self.project, run.id)
        files = history.files(self.project, run.id)
        for path in (files.metrics, files.live_metrics):
            if path.is_file():
                return rows(path.read_bytes())
        return []

    def cancel(self, run: Run) -> None:
        now = current(self.project, run.id)
        if now.state.final:
            return
        if now.state is State.PLANNED and taken(self.project, run.id):
            history.store_run(self.project, entered(now, State.CANCELED))
            return
        history.files(self.project, run.id).cancel.touch()
        current(self.project, run.id)

    def fetch(self, run: Run, destination: Path) -> list[Path]:
        history.load_run(self.project, run.id)
        files = history.files(self.project, run.id)
        wanted = {path.relative_to(files.outputs): path for path in files_under(files.outputs)}
        if files.metrics.is_file():
            wanted.setdefault(Path(METRICS), files.metrics)
        return [copied(source, destination / name) for name, source in sorted(wanted.items())]


def launchers(plan: Plan, port: str = distribution.ANY_PORT) -> tuple[distribution.Launcher, ...]:
    """The processes that start the plan's ranks."""
    root = history.files(Path(plan.project), plan.id).root
    return distribution.launchers(plan.layout, argv_of(plan), root, plan.python, port)


def argv_of(plan: Plan) -> tuple[str, ...]:
    """The command line of one rank. An argument that is `input:NAME` becomes the path of that input."""
    if plan.shell:
        return ("bash", "-c", plan.shell)
    words = plan.command or (plan.python, str(plan.script), *plan.arguments)
    paths = {INPUT + name: str(path) for name, path in input_paths(plan).items()}
    return tuple(paths.get(word, word) for word in words)


def input_paths(plan: Plan) -> dict[str, Path]:
    """Where each input is on this machine; those that are elsewhere are left out (`check` names them)."""
    project = Path(plan.project)
    return {
        name: project / Path(str(value["path"])).expanduser()
        for name, value in plan.inputs.items()
        if value.get("path") and not value.get("datastore")
    }


def variables(plan: Plan) -> dict[str, str]:
    """What every rank finds in its environment besides the submitting shell's variables (the secrets among them)."""
    ours = {"PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1"}
    inputs = {f"AMLRUN_INPUT_{name}": str(path) for name, path in input_paths(plan).items()}
    loopback = {"GLOO_SOCKET_IFNAME": "lo"} if plan.layout.world_size > 1 and sys.platform == "linux" else {}
    return {**ours, **loopback, **inputs, **plan.environment, RUN_ID_VARIABLE: plan.id}


def environment(plan: Plan, inherited: Mapping[str, str]) -> dict[str, str]:
    """All variables of a launcher. `python` and `mpirun` mean the planned interpreter's, first of all."""
    own = distribution.own_environment(inherited)
    own["PATH"] = os.pathsep.join(part for part in (str(Path(plan.python).parent), own.get("PATH", "")) if part)
    return {**own, **variables(plan)}


def accept(plan: Plan) -> bool:
    """Store the plan as a queued run, unless somebody already has."""
    project = Path(plan.project)
    history.store_plan(project, plan)
    if not taken(project, plan.id):
        return False
    history.store_run(project, entered(history.planned(plan), State.QUEUED))
    return True


def taken(project: Path, run_id: str) -> bool:
    """Whether the run is ours now: nobody's before, or of somebody who ended before it was started."""
    me = identity(os.getpid())
    if history.claim(project, run_id, me):
        return True
    owner = history.owner_of(project, run_id)
    if owner is not None and alive(owner):
        return False
    return current(project, run_id).state is State.PLANNED and history.take_over(project, run_id, owner, me)


def supervise(project: Path, run_ids: list[str]) -> None:
    """Start the process that these runs belong to from now on."""
    first = history.files(project, run_ids[0])
    first.logs.mkdir(exist_ok=True)
    me = identity(os.getpid())
    history.write_json(first.queue, {"from": me, "runs": run_ids})
    path = "\n".join(entry or str(Path.cwd()) for entry in sys.path)
    argv = [sys.executable, "-c", SUPERVISOR, path, str(project), run_ids[0]]
    write_to = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    # Not subprocess: nobody here will ever wait for this process.
    pid = os.posix_spawn(
        sys.executable,
        argv,
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(first.supervisor_log), write_to, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
        setsigmask=(),
        setsigdef=DEFAULT_SIGNALS,
    )
    owner = identity(pid)
    for run_id in run_ids:
        history.take_over(project, run_id, me, owner)  # it may have done so itself


def identity(pid: int) -> dict[str, Any]:
    return {"pid": pid, "birth": processes.birth(pid)}


def alive(owner: Mapping[str, Any]) -> bool:
    pid, birth = owner.get("pid"), owner.get("birth")
    return isinstance(pid, int) and birth is not None and processes.birth(pid) == birth


def current(project: Path, run_id: str) -> Run:
    """The stored run, after making sure that somebody still cares for it."""
    run = history.load_run(project, run_id)
    if run.state.final or run.state is State.PLANNED:
        return run
    owner = history.owner_of(project, run_id)
    if owner is None or alive(owner):
        return run
    run = history.load_run(project, run_id)  # it may have ended well between the two looks
    return run if run.state.final else bury(project, run, owner)


def bury(project: Path, run: Run, owner: Mapping[str, Any]) -> Run:
    """End a run whose supervisor is dead, and whatever it left running. One that was not started is only planned."""
    with history.exclusively(history.files(project, run.id).root / history.LOCK):
        run = history.load_run(project, run.id)
        if history.owner_of(project, run.id) != owner or run.state.final or run.state is State.PLANNED:
            return run  # somebody has taken it over, or buried it
        processes.kill(run.id)
        ended = after_death(history.files(project, run.id), run, owner)
        history.store_run(project, ended)
    return ended


def after_death(files: RunFiles, run: Run, owner: Mapping[str, Any]) -> Run:
    if files.cancel.exists():
        return entered(run, State.CANCELED)
    if run.state is State.QUEUED:
        what = f"its supervisor (process {owner.get('pid')}) died before it was started"
        return replace(entered(run, State.PLANNED), note=f"{what}; 'amlrun resume {run.id}' starts it")
    log = files.supervisor_log
    failure = Failure(
        f"its supervisor (process {owner.get('pid')}) died while the run was {run.state.value}",
        evidence=log.read_text(errors="replace")[-2000:] if log.is_file() else "",
        log=files.name_of(log) if log.is_file() else None,
        advice="killed, out of memory, or the machine was restarted; run it again",
    )
    return replace(entered(run, State.FAILED), failure=failure)


def entered(run: Run, state: State) -> Run:
    """The run, in a new state since now."""
    now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
    return replace(run, state=state, phases=(*run.phases, (state.value, now)), ended=now if state.final else None)


def log_of(files: RunFiles, path: Path, rank: int | None) -> Log:
    return Log(path.relative_to(files.logs).as_posix(), rank, partial(read_from, path))


def read_from(path: Path, offset: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read()
    except FileNotFoundError:
        return b""


def rows(content: bytes) -> list[dict[str, Any]]:
    """Metrics so far. The last line may be half written; a line that is no JSON object is no metric."""
    found = []
    for line in content.splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            found.append(row)
    return found


def files_under(folder: Path) -> Iterable[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def copied(source: Path, destination: Path) -> Path:
    if source.resolve() != destination.resolve():
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, destination)
    return destination
