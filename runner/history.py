"""What was planned and what happened, on disk: the only module that knows the paths under `.runs/`.

    .runs/<id>/{plan.json, run.json, logs/, outputs/, metrics.jsonl, ranks/, work/}    .runs/snapshots/<digest>/
    .runs/sweeps/<id>.json

Several processes read and write here at once (commands, supervisors): a file is written beside its place and renamed,
so a reader sees the old one or the new one.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from runner.errors import Place, Problem, TargetError
from runner.spec import Plan, Run, State
from runner.sweeps import Sweep

FOLDER = ".runs"
SNAPSHOTS = "snapshots"
SWEEPS = "sweeps"
# Folders beside the runs: the staged code, the sweeps, and the state of an emulator.
NOT_RUNS = (SNAPSHOTS, SWEEPS, "emulator")
LISTED = 10
STORED_AT_ONCE = 8
LOCK = ".lock"

Noun = TypeVar("Noun", Plan, Run, Sweep)


@dataclass(frozen=True, slots=True)
class RunFiles:
    """Where everything about one run is."""

    root: Path

    @property
    def plan(self) -> Path:
        return self.root / "plan.json"

    @property
    def run(self) -> Path:
        return self.root / "run.json"

    @property
    def owner(self) -> Path:
        """Which process is responsible for the run now: `{"pid", "birth"}`. It exists from submission on."""
        return self.root / "owner.json"

    @property
    def queue(self) -> Path:
        """`{"from", "runs"}`: who submitted which runs together; only in the first one's folder."""
        return self.root / "queue.json"

    @property
    def cancel(self) -> Path:
        """Exists if somebody asked for the run to stop."""
        return self.root / "cancel"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def launcher_log(self) -> Path:
        return self.logs / "launcher.log"

    @property
    def supervisor_log(self) -> Path:
        return self.logs / "supervisor.log"

    @property
    def script_logs(self) -> Path:
        """What the script itself wrote to `./logs`."""
        return self.logs / "script"

    @property
    def outputs(self) -> Path:
        return self.root / "outputs"

    @property
    def metrics(self) -> Path:
        return self.root / "metrics.jsonl"

    @property
    def live_metrics(self) -> Path:
        """Where the script writes them; copied to `metrics` when it has ended."""
        return self.outputs / "metrics.jsonl"

    @property
    def ranks(self) -> Path:
        return self.root / "ranks"

    @property
    def work(self) -> Path:
        """The script's working directory, a copy of the snapshot."""
        return self.root / "work"

    def rank_log(self, rank: int) -> Path:
        return self.logs / f"rank_{rank}.log"

    def name_of(self, path: Path) -> str:
        """`path` as people see it: relative to the run's folder."""
        return path.relative_to(self.root).as_posix()


def files(project: Path, run_id: str) -> RunFiles:
    return RunFiles(project / FOLDER / run_id)


def snapshot_dir(project: Path, digest: str) -> Path:
    """Where the code with this digest is staged."""
    return project / FOLDER / SNAPSHOTS / digest


def require_code(plans: Iterable[Plan]) -> None:
    """Raises TargetError for a plan whose code is not staged in its project."""
    for plan in plans:
        if not snapshot_dir(Path(plan.project), plan.snapshot.digest).is_dir():
            raise TargetError(f"the code of run '{plan.id}' is not staged; plan it again with 'amlrun run'")


def snapshot_index(project: Path) -> Path:
    """What is known of unchanged source files, so that they need not be read again."""
    return project / FOLDER / SNAPSHOTS / "index.json"


def store_plan(project: Path, plan: Plan) -> None:
    """Keep `plan` before anything is sent. A plan that is stored already stays as it is."""
    path = files(project, plan.id).plan
    if not path.exists():
        hide_from_git(project)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, plan.as_json())


def store_together(project: Path, plans: Sequence[Plan], sweep: Sweep | None) -> None:
    """Keep all plans, and then the sweep that they are: whoever finds it finds its plans."""
    from concurrent.futures import ThreadPoolExecutor  # what only looks at runs does without

    with ThreadPoolExecutor(STORED_AT_ONCE) as pool:  # a disk that makes sure takes its time
        list(pool.map(lambda plan: store_plan(project, plan), plans))
    if sweep is not None:
        store_sweep(project, sweep)


def store_sweep(project: Path, sweep: Sweep) -> None:
    """Keep `sweep`, in place of what was kept under its id."""
    hide_from_git(project)
    path = sweep_file(project, sweep.id)
    path.parent.mkdir(exist_ok=True)
    write_json(path, sweep.as_json())


def load_sweep(project: Path, sweep_id: str) -> Sweep:
    """Raises TargetError if there is no such sweep or it cannot be read."""
    try:
        return read(sweep_file(project, sweep_id), Sweep.from_json)
    except FileNotFoundError:
        raise TargetError(f"no sweep '{sweep_id}'; 'amlrun list --sweeps' shows what there is") from None


def list_sweeps(project: Path) -> list[Sweep]:
    """All sweeps, newest first. Raises TargetError for one that cannot be read."""
    sweeps = [load_sweep(project, name) for name in sweep_ids(project)]
    return sorted(sweeps, key=lambda sweep: (sweep.created, sweep.id), reverse=True)


def sweep_ids(project: Path) -> list[str]:
    return sorted(path.stem for path in (project / FOLDER / SWEEPS).glob("[!.]*.json"))


def sweep_dir(project: Path, sweep_id: str) -> Path:
    """What a sweep keeps that decides while it runs."""
    return project / FOLDER / SWEEPS / sweep_id


def sweep_file(project: Path, sweep_id: str) -> Path:
    return project / FOLDER / SWEEPS / f"{sweep_id}.json"


def find_sweep(project: Path, name: str) -> Sweep | None:
    """The sweep called `name`: its id, the beginning of exactly one id, or 'last-sweep'; None where it is no sweep's.

    Raises TargetError where it is the beginning of several, or there is no last one.
    """
    known = sweep_ids(project)
    if name == "last-sweep":
        if not known:
            raise TargetError("there is no sweep yet; 'amlrun run -m key=a,b' makes one")
        return list_sweeps(project)[0]
    found = [name] if name in known else [each for each in known if name and each.startswith(name)]
    if not found or any(run_id.startswith(name) for run_id in run_ids(project)):
        return load_sweep(project, name) if name in known else None
    if len(found) > 1:
        shown = ", ".join(f"'{each}'" for each in found[:LISTED])
        raise TargetError(f"'{name}' is the beginning of {len(found)} sweeps; say more: {shown}")
    return load_sweep(project, found[0])


def secret_values(project: Path, run_id: str) -> list[str]:
    """Values that the run's secrets have in this process, to be kept out of what is shown. Stored nowhere."""
    names = load_plan(project, run_id).secrets
    return [os.environ[name] for name in names if os.environ.get(name)]


def load_plan(project: Path, run_id: str) -> Plan:
    """Raises TargetError if there is no such plan or it cannot be read."""
    try:
        return read(files(project, run_id).plan, Plan.from_json)
    except FileNotFoundError:
        raise unknown(project, run_id) from None


def store_run(project: Path, run: Run) -> None:
    write_json(files(project, run.id).run, run.as_json())


def load_run(project: Path, run_id: str) -> Run:
    """The run as it was last stored; PLANNED if only its plan is. Raises TargetError if there is neither."""
    try:
        return read_run(project, run_id)
    except FileNotFoundError:
        raise unknown(project, run_id) from None


def planned(plan: Plan) -> Run:
    """The run of a plan that nothing has been done about."""
    phases = ((State.PLANNED.value, plan.created),)
    return Run(plan.id, plan.url, plan.name, plan.target, State.PLANNED, plan.created, phases)


def list_runs(project: Path) -> tuple[list[Run], list[Problem]]:
    """All runs, newest first, and a warning for each folder that holds something else."""
    runs, problems = [], []
    for run_id in run_ids(project):
        try:
            runs.append(read_run(project, run_id))
        except (TargetError, FileNotFoundError) as error:
            problems += strange(project, run_id, str(error))
    return sorted(runs, key=lambda run: (run.created, run.id), reverse=True), problems


def read_run(project: Path, run_id: str) -> Run:
    place = files(project, run_id)
    try:
        return read(place.run, Run.from_json)
    except FileNotFoundError:
        return planned(read(place.plan, Plan.from_json))


def read(path: Path, from_json: Callable[[Any], Noun]) -> Noun:
    """Raises FileNotFoundError, or TargetError if the file is not what it should be."""
    try:
        return from_json(json.loads(path.read_bytes()))
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        what = f"{type(error).__name__}: {error}"
        raise TargetError(f"'{path}' cannot be read ({what}); remove the folder '{path.parent}'") from error


def strange(project: Path, run_id: str, error: str) -> list[Problem]:
    """A warning about a folder that is no readable run. One that is just being made, or removed, is none."""
    root = files(project, run_id).root
    if not any(not path.name.startswith(".") for path in root.glob("*")):
        return []
    place = Place(f"{FOLDER}/{run_id}")
    if not files(project, run_id).plan.exists():
        return [Problem(place, "", "not a run: it has no plan.json", "move it away or remove it", "warning")]
    return [Problem(place, "", error, severity="warning")]


def resolve(project: Path, name: str) -> Run:
    """The run called `name`: its id, the beginning of exactly one id, its URL, or 'last'.

    Raises TargetError that says what there is.
    """
    known = run_ids(project)
    run_id = name.removeprefix("local://")
    if run_id in known:
        return load_run(project, run_id)
    runs, _ = list_runs(project)
    if name == "last" and runs:
        return runs[0]
    found = [run for run in runs if run.url == name] or [run for run in runs if run_id and run.id.startswith(run_id)]
    if len(found) == 1:
        return found[0]
    if found:
        raise TargetError(f"'{name}' is the beginning of {len(found)} runs; say more: {listed(found)}")
    raise unknown(project, name)


def unknown(project: Path, name: str) -> TargetError:
    """The error for a run that is not here, naming what is."""
    import difflib

    runs, _ = list_runs(project)
    if not runs:
        return TargetError(f"no run '{name}': there are no runs in '{project / FOLDER}'; start one with 'amlrun run'")
    similar = difflib.get_close_matches(name.removeprefix("local://"), [run.id for run in runs], 1)
    hint = f"did you mean '{similar[0]}'? " if similar else ""
    return TargetError(f"no run '{name}'; {hint}there are: {listed(runs)}")


def listed(runs: list[Run]) -> str:
    more = f" and {len(runs) - LISTED} more" if len(runs) > LISTED else ""
    return ", ".join(f"'{run.id}'" for run in runs[:LISTED]) + more


def run_ids(project: Path) -> list[str]:
    """Names of the folders that may be runs."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(project / FOLDER) as entries:
        return [entry.name for entry in entries if entry.name not in NOT_RUNS and entry.is_dir()]
    return []


def claim(project: Path, run_id: str, owner: Mapping[str, Any]) -> bool:
    """Make `owner` responsible for a run that nobody is; False if somebody was first. One of many callers gets True."""
    place = files(project, run_id)
    beside = beside_of(place.owner)
    beside.write_text(json.dumps(owner))
    try:
        # A link appears complete or not at all, and never replaces.
        os.link(beside, place.owner)
    except FileExistsError:
        return False
    finally:
        beside.unlink()
    return True


def hand_over(project: Path, run_id: str, owner: Mapping[str, Any]) -> None:
    """From now on `owner` is responsible for the run."""
    write_json(files(project, run_id).owner, owner)


def take_over(project: Path, run_id: str, old: Mapping[str, Any] | None, new: Mapping[str, Any]) -> bool:
    """Make `new` responsible in place of `old`; False if `old` is it no more. One of many callers gets True."""
    with exclusively(files(project, run_id).root / LOCK):
        if owner_of(project, run_id) != old:
            return False
        hand_over(project, run_id, new)
        return True


@contextlib.contextmanager
def exclusively(path: Path) -> Iterator[None]:
    """Excludes others who ask for the same lock file, in this process too; it ends with the process."""
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def owner_of(project: Path, run_id: str) -> dict[str, Any] | None:
    """Who is responsible; None before the run was submitted."""
    try:
        owner = json.loads(files(project, run_id).owner.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return owner if isinstance(owner, dict) else None


def write_json(path: Path, value: Any) -> None:
    """Replace `path` in one step, after the content has reached the disk."""
    beside = beside_of(path)
    try:
        with beside.open("w", encoding="utf-8", errors="surrogatepass") as file:
            json.dump(value, file, ensure_ascii=False, indent=1)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def beside_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(6)}")


def hide_from_git(project: Path) -> None:
    """History stays out of the project's repository whatever its .gitignore says."""
    ignore = project / FOLDER / ".gitignore"
    if not ignore.exists():
        ignore.parent.mkdir(parents=True, exist_ok=True)
        ignore.write_text("*\n")
