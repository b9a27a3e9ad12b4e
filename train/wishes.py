"""What some rank wants done at the end of a step: a checkpoint, because it is time, or to stop, because it was told to.

All ranks have to do it at the same step. So each asks the others when a step begins and reads the answer when it has
ended: the question travels while the step is computed, and costs no waiting.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Any

from train.collectives import Collective


class Wish(IntEnum):
    """The highest of any rank's counts."""

    NOTHING = 0
    SAVE = 1
    STOP = 2


class Wishes:
    """`every_minutes`: of this rank's clock, a checkpoint. None: never."""

    def __init__(
        self, collective: Collective, every_minutes: float | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._collective, self._clock = collective, clock
        self._seconds = None if every_minutes is None else every_minutes * 60
        self._saved = clock()
        self._told = False
        self._answer: Callable[[], int] = lambda: Wish.NOTHING

    def ask(self) -> None:
        """At the beginning of a step."""
        self._answer = self._collective.highest(self._own())

    def answer(self) -> Wish:
        """At its end: the same on every rank."""
        return Wish(self._answer())

    def saved(self) -> None:
        """A checkpoint was written: the minutes count from here."""
        self._saved = self._clock()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Inside, SIGTERM is a wish to stop. Azure sends it before it takes a low-priority node away."""
        if threading.current_thread() is not threading.main_thread():  # signals reach the main thread alone
            yield
            return
        before = signal.signal(signal.SIGTERM, self._tell)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def _tell(self, number: int, frame: Any) -> None:
        self._told = True

    def _own(self) -> Wish:
        if self._told:
            return Wish.STOP
        due = self._seconds is not None and self._clock() - self._saved >= self._seconds
        return Wish.SAVE if due else Wish.NOTHING
