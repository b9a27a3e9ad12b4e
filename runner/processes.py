"""Start the processes of one run on this machine, stop all when one fails, and leave none behind.

Knows nothing of plans, targets or Azure: it takes commands and folders. A run's processes are found again by the
variable AMLRUN_MARK in their environment, so that whatever a script has started, however detached, ends with the run.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from runner.spec import Machine

if TYPE_CHECKING:
    import psutil

MARK = "AMLRUN_MARK"
# How long processes have between SIGTERM and SIGKILL: enough to write a checkpoint.
GRACE_SECONDS = 10.0
# Processes which a script that has ended by itself left behind are nobody's any more: they get less.
STRAY_SECONDS = 2.0
# After SIGKILL only a process stuck in the kernel is still there: give up on it rather than wait for ever.
GIVE_UP_SECONDS = 10.0
PR_SET_PDEATHSIG = 1
# By variables, not options, because those differ between Open MPI 4, 5 and MPICH: more processes than cores is fine,
# bind none of them, and root may do it (containers).
MPI_VARIABLES = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "OMPI_MCA_hwloc_base_binding_policy": "none",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    "PRTE_MCA_hwloc_default_binding_policy": "none",
}

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Command:
    """One launcher to start. `environment` is all of it; output goes to the end of `log`; `cores` pins it to these."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    cwd: Path
    log: Path
    cores: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a group ended: its launchers' exit codes (negative: a signal), and whether `stop` had been asked for."""

    exit_codes: tuple[int, ...]
    stopped: bool

    @property
    def succeeded(self) -> bool:
        return not self.stopped and not any(self.exit_codes)


def machine() -> Machine:
    """GPUs that a process started here would see, and cores it may use. Asks no driver library and no torch."""
    return Machine(gpus=len(gpu_ids()), cores=len(core_ids()))


def gpu_ids() -> list[str]:
    """Values for CUDA_VISIBLE_DEVICES, one a GPU. An inherited CUDA_VISIBLE_DEVICES is respected."""
    count = count_gpus()
    asked = os.environ.get("CUDA_VISIBLE_DEVICES")
    if asked is None:
        return [str(index) for index in range(count)]
    ids = [name.strip() for name in asked.split(",")]
    # CUDA stops reading at the first name that it does not know.
    unknown = (
        at for at, name in enumerate(ids) if not name or (name.lstrip("-").isdigit() and not 0 <= int(name) < count)
    )
    return ids[: min(next(unknown, len(ids)), len(ids))] if count else []


def count_gpus() -> int:
    """Device files first: in a container `/proc` lists the host's GPUs, but only the device files given to it exist."""
    if Path("/proc/driver/nvidia").exists():
        return sum(re.fullmatch(r"nvidia\d+", path.name) is not None for path in Path("/dev").glob("nvidia*"))
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=10).stdout
        return sum(line.startswith("GPU ") for line in listed.splitlines())
    return 0


def core_ids() -> list[int]:
    """The cores this process may run on (outside Linux: all)."""
    if sys.platform == "linux":
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def share(items: Sequence[Item], index: int, parts: int) -> list[Item]:
    """The `index`-th of `parts` nearly equal shares; with fewer items than parts, parts take turns at single ones."""
    if len(items) < parts:
        return [items[index % len(items)]] if items else []
    return list(items[len(items) * index // parts : len(items) * (index + 1) // parts])


def free_port() -> int:
    """A port on loopback that nobody uses, below those given to outgoing connections, so that it stays free."""
    import random
    import socket

    while True:
        port = random.randint(20_000, 32_000)  # noqa: S311 - no secret
        with socket.socket() as taken, contextlib.suppress(OSError):
            taken.bind(("127.0.0.1", port))
            return port


@cache
def find_program(python: str, program: str) -> str | None:
    """Where `program` is for an interpreter: beside it (where packages put theirs), else on PATH."""
    return shutil.which(program, path=os.pathsep.join([str(Path(python).parent), os.environ.get("PATH", os.defpath)]))


def start(commands: Sequence[Command], mark: str, ranks: Path | None = None, grace: float = GRACE_SECONDS) -> Group:
    """Start all launchers of one run; each dies with the thread that called this.

    `mark` tells this run from every other on the machine; it is put into the commands' environment as AMLRUN_MARK.
    `ranks` is where `rank_process` writes its records, if the commands use it. Raises OSError if a launcher cannot be
    started (none is left running then).
    """
    group = Group(mark, ranks, grace)
    try:
        for command in commands:
            group.launchers.append(start_one(command, mark))
    except OSError:
        kill(mark)
        for launcher in group.launchers:
            launcher.wait()
        raise
    import psutil  # noqa: F401 - needed at the end; imported while the processes start, it costs no time

    return group


def start_one(command: Command, mark: str) -> subprocess.Popen[bytes]:
    with command.log.open("ab") as log:
        return subprocess.Popen(
            command.argv,
            cwd=command.cwd,
            env={**command.environment, MARK: mark},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=in_child(command.cores),  # noqa: PLW1509 - what it calls is loaded, and takes no lock
        )


def in_child(cores: Sequence[int]) -> Callable[[], None]:
    """What a launcher does before it becomes one. The C library is loaded in the parent: a fork is no place for it."""
    linux = sys.platform == "linux"
    libc = ctypes.CDLL(None) if linux else None

    def prepare() -> None:
        if libc is not None:
            libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
            if cores:
                os.sched_setaffinity(0, cores)

    return prepare


@dataclass(slots=True)
class Group:
    """The processes of one run, from `start` until `poll` returns an Outcome. Not for several threads."""

    mark: str
    ranks: Path | None
    grace: float
    launchers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    stopped: bool = False
    # When to stop asking and kill; None: nothing has gone wrong yet.
    deadline: float | None = None
    strays_told: bool = False
    killed: bool = False
    ranks_seen: int = 0

    def poll(self) -> Outcome | None:
        """Look once, do what is due (never blocks for long); the outcome when no process is left."""
        codes = [launcher.poll() for launcher in self.launchers]
        now = time.monotonic()
        if any(code is None for code in codes):
            self.check_failures(codes, now)
            self.kill_if_due(now)
            return None
        if self.strays_left(now):
            return None
        return Outcome(tuple(code for code in codes if code is not None), self.stopped)

    def stop(self) -> None:
        """Ask every launcher to end; those that have not within `grace` seconds are killed."""
        self.stopped = True
        self.terminate(time.monotonic())

    def wait(self, timeout: float | None = None) -> Outcome | None:
        """`poll` until there is an outcome, or for `timeout` seconds."""
        started = time.monotonic()
        while (outcome := self.poll()) is None:
            elapsed = time.monotonic() - started
            if timeout is not None and elapsed > timeout:
                return None
            time.sleep(pause(elapsed))
        return outcome

    def check_failures(self, codes: Sequence[int | None], now: float) -> None:
        if self.deadline is not None:
            return
        if any(codes):
            self.terminate(now)
        elif self.a_rank_failed():
            # Its launcher stops the other ranks itself, and knows better which: only limit how long that may take.
            self.deadline = now + self.grace

    @property
    def ending(self) -> bool:
        """A rank or launcher has failed, or everything was told to stop: the rest has until `deadline`."""
        return self.deadline is not None

    def a_rank_failed(self) -> bool:
        """Reads the records only when one has changed."""
        if self.ranks is None:
            return False
        changed = self.ranks.stat().st_mtime_ns
        if changed == self.ranks_seen:
            return False
        self.ranks_seen = changed
        return any(record.get("exit_code") or record.get("signal") for record in read_records(self.ranks))

    def terminate(self, now: float) -> None:
        if self.deadline is None:
            self.deadline = now + self.grace
        for launcher in self.launchers:
            launcher.terminate()

    def kill_if_due(self, now: float) -> None:
        if self.deadline is not None and now > self.deadline and not self.killed:
            self.killed = True
            for launcher in self.launchers:
                launcher.kill()
            kill(self.mark)

    def strays_left(self, now: float) -> bool:
        """After the launchers' end: is anything they started still there? It is told to go, then killed."""
        strays = list(marked(self.mark))
        if not strays:
            return False
        if not self.strays_told:
            self.strays_told = True
            self.deadline = max(self.deadline or 0.0, now + min(self.grace, STRAY_SECONDS))
            send(strays, signal.SIGTERM)
        elif self.deadline is not None and now > self.deadline:
            send(strays, signal.SIGKILL)
            return now < self.deadline + GIVE_UP_SECONDS
        return True


def read_records(ranks: Path) -> list[dict[str, Any]]:
    """What `rank_process` wrote, by rank. A record that cannot be read is left out."""
    records = []
    for path in ranks.glob("*.json"):
        with contextlib.suppress(OSError, ValueError):
            records.append(json.loads(path.read_bytes()))
    return sorted(records, key=lambda record: int(record["rank"]))


def pause(elapsed: float) -> float:
    """How long to wait before looking again at something that has taken `elapsed` seconds: about 2 % of it."""
    return min(0.1, max(0.003, elapsed * 0.02))


def birth(pid: int) -> str | None:
    """Tells this process from a later one with the same number; None if it has ended (also if nobody has reaped it)."""
    stat = Path(f"/proc/{pid}/stat")
    if sys.platform != "linux":
        return birth_elsewhere(pid)
    try:
        # The name, in parentheses, may hold anything: the fields after it are counted from its end.
        fields = stat.read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def birth_elsewhere(pid: int) -> str | None:
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else str(process.create_time())
    except psutil.NoSuchProcess:
        return None


def kill(mark: str, timeout: float = GIVE_UP_SECONDS) -> int:
    """SIGKILL every process of the run `mark` until none is left; returns how many there were."""
    killed: set[int] = set()
    give_up = time.monotonic() + timeout
    while (strays := list(marked(mark))) and time.monotonic() < give_up:
        killed |= {process.pid for process in strays}
        send(strays, signal.SIGKILL)
        time.sleep(0.01)
    return len(killed)


def marked(mark: str) -> Iterator[psutil.Process]:
    """Every living process whose environment says that it belongs to the run `mark`."""
    import psutil

    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == mark:
                yield process


def send(strays: Sequence[psutil.Process], number: int) -> None:
    import psutil

    for process in strays:
        with contextlib.suppress(psutil.Error):
            process.send_signal(number)
