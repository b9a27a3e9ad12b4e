"""Which log is what: Azure's layouts of 2020 and since 2021, amlrun's own, torchrun's and mpirun's. Names in, logs out.

2020: azureml-logs/20_image_build_log.txt, 55_azureml-execution-*, 65_job_prep-*, 70_driver_log*_rank_N.txt, 75_, 80_,
logs/azureml/*. Since 2021: user_logs/std_log*.txt, user_logs/retry_NNN/, system_logs/**. Source: Azure's docs and
fixtures, named in docs/diagnose.md.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

from runner.errors import TargetError

# How much of a log's end is read.
TAIL_BYTES = 1_000_000
SUFFIXES = (".txt", ".log", ".out", ".err")
STREAMS = ("stdout", "stderr")
# What a job writes on purpose, and copies of its code.
SKIPPED = {"outputs", "work", "script", "snapshot", "__pycache__", ".git"}
LOOKED_FOR = (
    "azureml-logs/*.txt, user_logs/std_log*.txt, system_logs/, logs/rank_N.log, or any *.txt, *.log, *.out, *.err"
)


class Phase(IntEnum):
    """When a log is written, in the order of a job's life."""

    BUILD = 0
    PULL = 1
    PREPARE = 2
    NODE = 3
    AFTER = 4
    LAUNCHER = 5
    RANK = 6
    RECORD = 7  # amlrun's own note of how a rank ended
    UNKNOWN = 8


@dataclass(frozen=True, slots=True)
class NamedLog:
    """A log by its name (path below the folder that was asked about) and its text, or the end of it."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Source:
    """What a log's name says: when it was written, by which rank (None: by none), in which attempt."""

    phase: Phase
    rank: int | None = None
    attempt: int = 0


# Name of a log (end of its path) -> when it was written. `rank` is the number of the process. First match wins.
LAYOUTS: tuple[tuple[Phase, re.Pattern[str]], ...] = tuple(
    (phase, re.compile(rf"(?:^|/){pattern}$"))
    for phase, pattern in (
        (Phase.RECORD, r"ranks/(?P<rank>\d+)\.json"),
        (Phase.RANK, r"rank_(?P<rank>\d+)\.log"),
        (Phase.LAUNCHER, r"(?:launcher|supervisor)\.log"),
        (Phase.BUILD, r"(?:20_image_build_log[^/]*\.txt|image_?build[^/]*\.(?:txt|log))"),
        (Phase.PULL, r"55_[^/]*\.txt"),
        (Phase.PREPARE, r"(?:65_job_prep[^/]*\.txt|job_prep[^/]*\.log)"),
        (Phase.NODE, r"60_[^/]*\.txt"),
        (Phase.AFTER, r"(?:(?:75|80)_[^/]*\.txt|job_release[^/]*\.log|\d+(?:_\d+)*_azureml\.log)"),
        (Phase.LAUNCHER, r"(?:(?:70_)?mpi_log\.txt|hyperdrive\.txt|(?:executionlogs|stderrlogs|stdoutlogs)\.txt)"),
        (Phase.LAUNCHER, r"(?:70_driver_log|std_log)[^/]*ps[^/]*\.txt"),
        (Phase.RANK, r"70_driver_log(?:[-_](?:rank|worker|process|node)?[-_]?(?P<rank>\d+))?\.txt"),
        (Phase.RANK, r"std_log(?:_(?:process|node)_(?P<rank>\d+)(?:_\w+)?)?\.txt"),
        (Phase.PREPARE, r"system_logs/(?:data[-_]capability|hosttools[-_]capability)/.*\.(?:log|txt)"),
        (Phase.NODE, r"system_logs/.*\.(?:log|txt)"),
        (Phase.RANK, r"rank\.(?P<rank>\d+)/(?:stdout|stderr)"),
        (Phase.RANK, r"attempt_\d+/(?P<rank>\d+)/(?:stdout|stderr)\.log"),
        (Phase.RANK, r"[^/]*rank[-_.]?(?P<rank>\d+)[^/]*\.(?:txt|log|out|err)"),
    )
)
ATTEMPT = re.compile(r"(?:^|/)(?:retry|attempt)_(\d+)/")


def source_of(name: str) -> Source:
    """What the name says of a log."""
    attempt = ATTEMPT.search(name)
    number = int(attempt[1]) if attempt else 0
    for phase, pattern in LAYOUTS:
        found = pattern.search(name)
        if found:
            rank = found.groupdict().get("rank")
            alone = 0 if phase is Phase.RANK and rank is None else None
            return Source(phase, alone if rank is None else int(rank), number)
    return Source(Phase.UNKNOWN, None, number)


def read_folder(folder: Path) -> list[NamedLog]:
    """The logs of a folder, or of a single file. Raises TargetError where there are none."""
    if folder.is_file():
        return [NamedLog(folder.name, tail(folder))]
    if not folder.is_dir():
        raise TargetError(f"no folder '{folder}'; name a run, or a folder that holds {LOOKED_FOR}")
    found = [path for path in sorted(folder.rglob("*")) if is_log(path.relative_to(folder)) and path.is_file()]
    names = {path: path.relative_to(folder).as_posix() for path in found}
    known = [path for path in found if source_of(names[path]).phase is not Phase.UNKNOWN]
    logs = [NamedLog(names[path], tail(path)) for path in known or found]
    if not any(source_of(log.name).phase is not Phase.RECORD for log in logs):
        raise TargetError(f"no logs in '{folder}'; looked for {LOOKED_FOR}")
    return logs


def is_log(path: Path) -> bool:
    if SKIPPED.intersection(path.parts[:-1]):
        return False
    record = source_of(path.as_posix()).phase is Phase.RECORD
    return record or path.suffix in SUFFIXES or (path.name in STREAMS)


def tail(path: Path) -> str:
    """The end of a log as text; what is no UTF-8 is replaced."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL_BYTES))
        return file.read().decode("utf-8", "replace")


def records_of(logs: Sequence[NamedLog]) -> dict[int, dict[str, Any]]:
    """What amlrun noted of each rank's end; a note that cannot be read is left out."""
    found = {}
    for log in logs:
        source = source_of(log.name)
        if source.phase is Phase.RECORD and source.rank is not None:
            try:
                record = json.loads(log.text)
            except ValueError:
                continue
            if isinstance(record, dict):
                found[source.rank] = record
    return found
