"""What the process that carries a sweep on and others tell each other, in the sweep's folder.

`lock` is held by whoever carries it on, `sending` while something is sent, `canceled` is there from `cancel` until
`resume`, `stopped.json` says which runs are to be stopped and why, `log.txt` is what a process of its own has said.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from runner import history
from runner.errors import TargetError

# A look at the lock holds it for a moment.
LOOK_SECONDS = 0.01
# A process that is to end after a cancel ends at its next look.
ENDING_SECONDS = 60.0


@contextlib.contextmanager
def alone(project: Path, sweep_id: str) -> Iterator[int]:
    """One process at a time carries a sweep on; yields the lock, which ends with all who have it open.

    After a cancel the process that has it is about to end, and is waited for. Raises TargetError where it goes on.
    """
    folder = history.sweep_dir(project, sweep_id)
    folder.mkdir(parents=True, exist_ok=True)
    give_up = time.monotonic() + (ENDING_SECONDS if is_canceled(project, sweep_id) else 0.0)
    with (folder / "lock").open("a") as lock:
        while not taken(lock.fileno()):
            if is_carried(project, sweep_id) and time.monotonic() > give_up:
                what = f"{sweep_id} is carried on by another process"
                raise TargetError(f"{what}; 'amlrun watch {sweep_id}' shows what it does")
            time.sleep(LOOK_SECONDS)
        yield lock.fileno()


def taken(lock: int, kind: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_carried(project: Path, sweep_id: str) -> bool:
    """Whether a process is at it now. Others that only look do not count."""
    with contextlib.suppress(FileNotFoundError), (history.sweep_dir(project, sweep_id) / "lock").open() as lock:
        return not taken(lock.fileno(), fcntl.LOCK_SH)
    return False


@contextlib.contextmanager
def sending(project: Path, sweep_id: str) -> Iterator[bool]:
    """Around whatever is sent; whether it may be. Whoever cancels waits for what is on its way."""
    with history.exclusively(history.sweep_dir(project, sweep_id) / "sending"):
        yield not is_canceled(project, sweep_id)


def cancel(project: Path, sweep_id: str) -> None:
    """From now on nothing of the sweep is sent, and what was being sent is: its runs can be canceled."""
    if history.sweep_dir(project, sweep_id).is_dir():
        mark_of(project, sweep_id).touch()
        with sending(project, sweep_id):
            pass


def is_canceled(project: Path, sweep_id: str) -> bool:
    return mark_of(project, sweep_id).exists()


def uncancel(project: Path, sweep_id: str) -> None:
    mark_of(project, sweep_id).unlink(missing_ok=True)


def mark_of(project: Path, sweep_id: str) -> Path:
    return history.sweep_dir(project, sweep_id) / "canceled"


def read_stopped(project: Path, sweep_id: str) -> dict[str, str]:
    """Why runs were stopped, by run."""
    with contextlib.suppress(FileNotFoundError):
        found: dict[str, str] = json.loads((history.sweep_dir(project, sweep_id) / "stopped.json").read_bytes())
        return found
    return {}


def write_stopped(project: Path, sweep_id: str, stopped: Mapping[str, str]) -> None:
    history.write_json(history.sweep_dir(project, sweep_id) / "stopped.json", stopped)


def log_of(project: Path, sweep_id: str) -> Path:
    return history.sweep_dir(project, sweep_id) / "log.txt"


def last_words(project: Path, sweep_id: str) -> str:
    """The error that ended the last process of its own, '' where none did."""
    try:
        text = log_of(project, sweep_id).read_text(errors="replace")
    except FileNotFoundError:
        return ""
    return text.rpartition(f"{sweep_id}: ")[2].partition("\namlrun: ")[2].strip()


def inherited(lock: str) -> int:
    """The lock in the process that was given it; no process that this one starts is."""
    os.set_inheritable(int(lock), False)
    return int(lock)
