"""Where the metrics of each epoch go: always to outputs/metrics.jsonl, and to the chosen trackers."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from train.errors import TrainError

Row = Mapping[str, Any]


class Tracker(Protocol):
    """`rows` written before a resume are given again at opening: a tracker may drop what came after them."""

    def write(self, row: Row) -> None: ...

    def close(self) -> None: ...


class JsonLines:
    """outputs/metrics.jsonl: one JSON object per line, on disk before `write` returns."""

    def __init__(self, outputs: Path, rows: Sequence[Row]) -> None:
        outputs.mkdir(parents=True, exist_ok=True)
        self._file = (outputs / "metrics.jsonl").open("w", encoding="utf-8")
        for row in rows:
            self.write(row)

    def write(self, row: Row) -> None:
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()


TRACKERS: dict[str, Callable[[Path, Sequence[Row]], Tracker]] = {"jsonl": JsonLines}


class Trackers:
    """All that were chosen. One that fails is reported once on stderr and left alone from then on."""

    def __init__(self) -> None:
        self._open: dict[str, Tracker] = {}

    def open(self, names: Sequence[str], outputs: Path, rows: Sequence[Row]) -> None:
        unknown = [name for name in names if name not in TRACKERS]
        if unknown:
            raise TrainError(f"tracking.trackers: '{unknown[0]}' is unknown; use one of {', '.join(TRACKERS)}")
        for name in dict.fromkeys(["jsonl", *names]):
            self._guard(name, partial(self._start, name, outputs, rows))

    def write(self, row: Row) -> None:
        for name, tracker in list(self._open.items()):
            self._guard(name, partial(tracker.write, row))

    def close(self) -> None:
        for name, tracker in list(self._open.items()):
            self._guard(name, tracker.close)
        self._open.clear()

    def _start(self, name: str, outputs: Path, rows: Sequence[Row]) -> None:
        self._open[name] = TRACKERS[name](outputs, rows)

    def _guard(self, name: str, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:  # noqa: BLE001 - whatever a tracker does, hours of training are worth more
            self._open.pop(name, None)
            print(f"train: tracker '{name}' failed and is off from here: {error!r}", file=sys.stderr, flush=True)
