"""The process that local runs belong to: it carries each through its states and ends with the last of them.

Started by `Local.submit`, in a session of its own: closing the terminal does not reach it. SIGTERM and SIGINT cancel
every run that has not ended; the file `cancel` in a run's folder cancels that one. AMLRUN_GRACE_SECONDS is the time
between SIGTERM and SIGKILL for a run that is stopped (10 where it is not set).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import shutil
import signal
import time
import traceback
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TextIO

from runner import history, processes
from runner.errors import TargetError
from runner.history import RunFiles
from runner.processes import Command, Group, Outcome
from runner.spec import Failure, Plan, State
from runner.sweeps import TAG
from runner.targets.local import entered, environment, identity, launchers

GRACE_VARIABLE = "AMLRUN_GRACE_SECONDS"
SECONDS_PER_MINUTE = 60
# How much of a log's end a diagnosis reads.
TAIL_BYTES = 1_000_000
# How often runs that still wait are asked whether they are to be canceled.
WAITING_SECONDS = 0.5
NAMED_FILES = 5


@dataclass(slots=True)
class Active:
    """A run whose processes are running."""

    plan: Plan
    files: RunFiles
    group: Group
    began: float
    deadline: float
    canceled: bool = False
    out_of_time: bool = False


@dataclass(slots=True)
class Supervisor:
    """`waiting` runs start in order, `slots` at a time; `active` maps a slot to the run in it.

    `stop_on_failure`: after the first run that fails none is started; those that run go on. `shared` is a folder where
    processes with runs of one sweep, which was not sent whole, lock the slots that they use.
    """

    project: Path
    waiting: deque[str]
    slots: int = 1
    stop_on_failure: bool = False
    stopping: bool = False
    active: dict[int, Active] = field(default_factory=dict)
    last_start: float = 0.0
    last_look: float = 0.0
    shared: Path | None = None
    locks: dict[int, TextIO] = field(default_factory=dict)

    def work(self) -> None:
        """Until every run has ended."""
        while self.waiting or self.active:
            self.cancel_waiting()
            self.fill_slots()
            for slot, run in list(self.active.items()):
                if self.step(run):
                    self.release(slot)
                    self.look_at_end(run.plan.id)
            if self.active or self.waiting:
                time.sleep(processes.pause(time.monotonic() - self.last_start))

    def cancel_waiting(self) -> None:
        now = time.monotonic()
        if not self.stopping and now - self.last_look < WAITING_SECONDS:
            return
        self.last_look = now
        for run_id in list(self.waiting):
            if self.stopping or history.files(self.project, run_id).cancel.exists():
                self.waiting.remove(run_id)
                enter(self.project, run_id, State.CANCELED)

    def fill_slots(self) -> None:
        free = (slot for slot in range(self.slots) if slot not in self.active and self.is_free(slot))
        while self.waiting:
            run_id = self.waiting[0]
            if history.files(self.project, run_id).cancel.exists():
                enter(self.project, self.waiting.popleft(), State.CANCELED)
                continue
            if (slot := next(free, None)) is None:
                return
            self.waiting.popleft()
            with guarded(self.project, run_id):
                started = begin(self.project, run_id, slot, self.slots)
                self.active[slot] = started
                self.last_start = started.began

    def is_free(self, slot: int) -> bool:
        """It is then ours, until it is released or this process ends."""
        if self.shared is None or slot in self.locks:
            return True
        lock = (self.shared / f"slot-{slot}").open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            return False
        self.locks[slot] = lock
        return True

    def release(self, slot: int) -> None:
        del self.active[slot]
        if slot in self.locks:
            self.locks.pop(slot).close()

    def look_at_end(self, run_id: str) -> None:
        """After a failure that is to stop the others, they are nobody's, and only planned: `resume` sends them."""
        if not self.stop_on_failure or history.load_run(self.project, run_id).state is not State.FAILED:
            return
        for waiting in self.waiting:
            enter(self.project, waiting, State.PLANNED, note=f"not started, because {run_id} failed")
            history.hand_over(self.project, waiting, {})
        self.waiting.clear()

    def step(self, run: Active) -> bool:
        """Look after one run; True when it has ended."""
        with guarded(self.project, run.plan.id):
            if not run.group.stopped:
                run.canceled = self.stopping or run.files.cancel.exists()
                run.out_of_time = time.monotonic() > run.deadline
                if run.canceled or run.out_of_time:
                    run.group.stop()
            outcome = run.group.poll()
            if run.group.ending or outcome is not None:
                # From here on what the other ranks print is their end, not the run's output: followers hold it back.
                finalizing(run)
            if outcome is None:
                return False
            finish(run, outcome)
        return True


def main(arguments: list[str]) -> int:
    project, first = Path(arguments[0]), arguments[1]
    os.chdir(project)
    queue = json.loads(history.files(project, first).queue.read_bytes())
    mine = deque(run_id for run_id in queue["runs"] if is_mine(project, run_id, queue["from"]))
    plan = history.load_plan(project, first)
    asked = options_of(project, plan)
    shared = history.sweep_dir(project, plan.tags[TAG]) if TAG in plan.tags else None
    slots = max(1, int(plan.config.get("compute", {}).get("slots") or 1))
    supervisor = Supervisor(
        project, mine, min(slots, asked.get("max_concurrent") or slots), bool(asked.get("stop_on_failure"))
    )
    supervisor.shared = shared if shared is not None and shared.is_dir() else None

    def cancel_all(_number: int, _frame: object) -> None:
        supervisor.stopping = True

    signal.signal(signal.SIGTERM, cancel_all)
    signal.signal(signal.SIGINT, cancel_all)
    # A handler, not SIG_IGN: what is ignored stays ignored in the programs that we start.
    signal.signal(signal.SIGHUP, lambda _number, _frame: None)
    supervisor.work()
    return 0


def options_of(project: Path, plan: Plan) -> Mapping[str, Any]:
    """Those of the plan's sweep; none where it has no sweep, or that was removed."""
    with contextlib.suppress(TargetError, KeyError):
        return history.load_sweep(project, plan.tags[TAG]).options
    return {}


def is_mine(project: Path, run_id: str, submitter: Mapping[str, Any]) -> bool:
    """Whether this process carries the run. A submitter that was killed has not handed it over, a later one may."""
    me = identity(os.getpid())
    # In this order: the submitter may hand it over between the two.
    return history.take_over(project, run_id, submitter, me) or history.owner_of(project, run_id) == me


@contextlib.contextmanager
def guarded(project: Path, run_id: str) -> Iterator[None]:
    """What goes wrong with one run, even by a mistake of ours, ends that run and no other."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - whatever it is: the other runs go on
        traceback.print_exc()
        processes.kill(run_id)
        what = f"the run could not be carried out: {type(error).__name__}: {error}"
        enter(project, run_id, State.FAILED, Failure(what, evidence=traceback.format_exc()))


def enter(project: Path, run_id: str, state: State, failure: Failure | None = None, note: str = "") -> None:
    run = entered(history.load_run(project, run_id), state)
    history.store_run(project, replace(run, failure=failure, note=note or run.note))


def begin(project: Path, run_id: str, slot: int, slots: int) -> Active:
    plan, files = history.load_plan(project, run_id), history.files(project, run_id)
    enter(project, run_id, State.PREPARING)
    earlier = history.files(project, plan.resumes).outputs if plan.resumes else None
    prepare(files, history.snapshot_dir(project, plan.snapshot.digest), earlier)
    commands = commands_of(plan, files, slot, slots)
    enter(project, run_id, State.RUNNING)
    grace = float(os.environ.get(GRACE_VARIABLE, processes.GRACE_SECONDS))
    group = processes.start(commands, run_id, files.ranks, grace)
    now, minutes = time.monotonic(), plan.limits.get("max_minutes")
    return Active(plan, files, group, now, now + minutes * SECONDS_PER_MINUTE if minutes else math.inf)


def prepare(files: RunFiles, snapshot: Path, earlier: Path | None = None) -> None:
    """The working directory: a copy of the code, with ./outputs and ./logs readable from the history already.

    `earlier` are the outputs of the run that this one resumes.
    """
    shutil.copytree(snapshot, files.work, symlinks=True)
    if earlier is not None and earlier.is_dir():
        shutil.copytree(earlier, files.work / "outputs", symlinks=True, dirs_exist_ok=True)
    for folder in (files.work / "outputs", files.work / "logs", files.logs, files.ranks):
        folder.mkdir(exist_ok=True)
    files.outputs.symlink_to(Path("work", "outputs"))
    files.script_logs.symlink_to(Path("..", "work", "logs"))


def commands_of(plan: Plan, files: RunFiles, slot: int, slots: int) -> list[Command]:
    """The launchers with everything that depends on this machine and moment: port, shares of GPUs and cores."""
    shared = environment(plan, os.environ)
    cores = tuple(processes.share(processes.core_ids(), slot, slots)) if slots > 1 else ()
    starting = launchers(plan, str(processes.free_port()))
    gpus = gpus_of(plan, len(starting), slot, slots)
    return [
        Command(
            launcher.argv,
            {**shared, **launcher.environment, **gpus[launcher.node]},
            files.work,
            files.launcher_log,
            cores,
        )
        for launcher in starting
    ]


def gpus_of(plan: Plan, launching: int, slot: int, slots: int) -> list[dict[str, str]]:
    """For each launcher the variable that says which GPUs are its own; empty where it may simply see all there are."""
    nodes = plan.layout.nodes
    gpus = processes.gpu_ids() if slots > 1 or nodes > 1 else []
    if not gpus:
        return [{}] * launching
    if slots > 1:
        gpus = processes.share(gpus, slot, slots)
    enough = launching > 1 and len(gpus) >= plan.layout.world_size
    shares = [processes.share(gpus, node, nodes) if enough else gpus for node in range(launching)]
    return [{"CUDA_VISIBLE_DEVICES": ",".join(mine)} for mine in shares]


def finalizing(run: Active) -> None:
    project, run_id = Path(run.plan.project), run.plan.id
    if history.load_run(project, run_id).state is not State.FINALIZING:
        enter(project, run_id, State.FINALIZING)


def finish(run: Active, outcome: Outcome) -> None:
    """Collect what the script wrote, find out how it went, store that."""
    project, run_id = Path(run.plan.project), run.plan.id
    try:
        note = collect(run.files, history.snapshot_dir(project, run.plan.snapshot.digest))
    except OSError as error:
        note = f"not everything could be collected ({error}); the rest is in '{run.files.name_of(run.files.work)}'"
    state, failure = verdict(run, outcome)
    enter(project, run_id, state, failure, note)


def verdict(run: Active, outcome: Outcome) -> tuple[State, Failure | None]:
    if run.canceled and outcome.stopped:
        return State.CANCELED, None
    if run.out_of_time and outcome.stopped:
        minutes = run.plan.limits["max_minutes"]
        what = f"stopped after {minutes} minutes (limits.max_minutes)"
        return State.FAILED, Failure(what, advice="raise limits.max_minutes, or resume from its last checkpoint")
    records = processes.read_records(run.files.ranks)
    if outcome.succeeded and all(record["exit_code"] == 0 for record in records):
        return State.COMPLETED, None
    return State.FAILED, without_secrets(diagnosed(run.files, records), run.plan)


def diagnosed(files: RunFiles, records: list[dict[str, Any]]) -> Failure:
    from runner.diagnose import RankEnd, diagnose  # only failures pay for it

    ends = [
        RankEnd(
            rank=record["rank"],
            text=tail(files.rank_log(record["rank"])),
            log=files.name_of(files.rank_log(record["rank"])),
            exit_code=record["exit_code"],
            signal=record["signal"],
            ended=record["ended"],
            told_to_stop=record["told_to_stop"] is not None,
        )
        for record in records
    ]
    return diagnose(ends, tail(files.launcher_log), files.name_of(files.launcher_log))


def without_secrets(failure: Failure, plan: Plan) -> Failure:
    """What is kept of a log must not hold what the plan keeps by name only."""
    from runner.redact import redact  # only failures pay for it

    values = [os.environ[name] for name in plan.secrets if name in os.environ]
    return replace(failure, cause=redact(failure.cause, values), evidence=redact(failure.evidence, values))


def tail(log: Path) -> str:
    """The end of a log as text; what is no UTF-8 is replaced."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - TAIL_BYTES))
            return file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""


def collect(files: RunFiles, snapshot: Path) -> str:
    """Move outputs and logs to their place; returns a note about files that the script left elsewhere, or ''."""
    keep(files.work / "outputs", files.outputs)
    keep(files.work / "logs", files.script_logs)
    if not any(files.script_logs.iterdir()):
        files.script_logs.rmdir()
    if files.live_metrics.is_file():
        shutil.copy2(files.live_metrics, files.metrics)
    left = left_behind(files.work, snapshot)
    if not left:
        shutil.rmtree(files.work, ignore_errors=True)
        return ""
    names = ", ".join(left[:NAMED_FILES]) + (f" and {len(left) - NAMED_FILES} more" if len(left) > NAMED_FILES else "")
    return (
        f"written outside ./outputs and ./logs, which Azure would not keep: {names}; "
        f"still in '{files.name_of(files.work)}'"
    )


def keep(written: Path, place: Path) -> None:
    """Replace the link at `place` by the folder it leads to; by an empty one if the script has removed that."""
    place.unlink(missing_ok=True)
    if written.is_symlink() and written.is_dir():
        place.symlink_to(written.resolve())
        written.unlink()
    elif written.is_dir():
        written.rename(place)
    else:
        place.mkdir()


def left_behind(work: Path, snapshot: Path) -> list[str]:
    """Files that are not in the snapshot, or differ from it, in order."""
    return sorted(name for name, stamp in stamps(work) if stamp != stamp_of(snapshot / name))


def stamps(folder: Path) -> Iterator[tuple[str, tuple[int, int] | None]]:
    for path, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != "__pycache__"]
        for name in names:
            file = Path(path, name)
            yield file.relative_to(folder).as_posix(), stamp_of(file)


def stamp_of(file: Path) -> tuple[int, int] | None:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        status = file.lstat()
        return status.st_size, status.st_mtime_ns
    return None
