"""What other processes do, as tests see it from outside."""

from __future__ import annotations

import time
from collections.abc import Callable

import psutil

WAIT_SECONDS = 40.0
LOOK_SECONDS = 0.01


def wait_for(condition: Callable[[], object], seconds: float = WAIT_SECONDS, what: Callable[[], object] = str) -> None:
    """Return as soon as `condition()` holds; fail after `seconds`, saying `what()` was there instead."""
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, f"waited too long {what()}"
        time.sleep(LOOK_SECONDS)  # between two looks: what another process does cannot be awaited here


def processes_of(run_id: str) -> list[psutil.Process]:
    """Every living process whose environment says that it belongs to the run."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("AMLRUN_RUN_ID") == run_id:
                found.append(process)
        except psutil.Error:
            continue
    return found
