"""Everything a run needs to go on as if it had never stopped, in one file per checkpoint.

`outputs/checkpoints/step_00000440.pt` is written beside, flushed to disk and renamed, so under its own name there is
never half a file. What a dying disk or a broken download leaves is found by the checksums in it and skipped.
"""

from __future__ import annotations

import math
import os
import pickle
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from train.errors import TrainError
from train.job import digest

FORMAT = 1

# What two runs must share for one to go on from the other's checkpoint without being told to.
IDENTITY_KEYS = ("data", "model", "optimizer", "schedule", "seed", "trainer")
NOT_IDENTITY = ("checkpoint", "monitor", "pin_memory", "resume", "timeout_minutes", "workers")


@dataclass(slots=True)
class Progress:
    """Where the training stands: `batch` batches of `epoch` (both counted from 0) are done, `step` in all.

    `rows` are the metrics of the epochs done, `correct` the right answers of the last evaluation, `learning_rate` what
    the last step used. `seconds` were spent on the whole so far, `epoch_seconds` on this epoch's training.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    epoch_seconds: float = 0.0
    learning_rate: float = 0.0
    correct: int = 0


def identity(config: Mapping[str, Any]) -> str:
    """Digest of what makes a run's training what it is, whatever it is called and however it is stored."""
    kept = {key: config.get(key) for key in IDENTITY_KEYS}
    kept["trainer"] = {key: value for key, value in config["trainer"].items() if key not in NOT_IDENTITY}
    return digest(kept)


def save(folder: Path, state: Mapping[str, Any], keep: int) -> Path:
    """Write `state` as the newest checkpoint and remove all but the `keep` newest. Returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step_{state['progress']['step']:08d}.pt"
    write_whole({"format": FORMAT, **state}, path)
    older = [other for other in newest_first(folder) if other != path]
    for other in older[keep - 1 :]:
        other.unlink(missing_ok=True)
    return path


def write_whole(content: Mapping[str, Any], path: Path) -> None:
    """torch.save that leaves the old file or the new one, also if the power fails."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("wb") as file:
            torch.save(dict(content), file)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def newest_first(folder: Path) -> list[Path]:
    """Checkpoints in the order they were written, the last first."""
    return sorted(folder.glob("step_*.pt"), key=lambda path: (path.stat().st_mtime_ns, path.name), reverse=True)


def due(spec: Mapping[str, Any], progress: Progress, *, last: bool) -> bool:
    """Whether the end of an epoch is a time to save: by epochs, by steps, or because it is the last."""
    every_epochs, every_steps = spec["every_epochs"], spec["every_steps"]
    if last and any((every_epochs, every_steps, spec["every_minutes"])):
        return True
    return bool(every_epochs and progress.epoch % every_epochs == 0) or bool(
        every_steps and progress.step % every_steps == 0
    )


def find(resume: str, folder: Path, config: Mapping[str, Any]) -> tuple[dict[str, Any] | None, list[str]]:
    """The state to go on from, if any, and what to tell the user about it.

    `resume` is 'auto' (the newest whole checkpoint in `folder` of the same training; torn ones and another training's
    are skipped), 'never', or a path to a checkpoint or to a folder of them, which is then taken whatever trained it.
    """
    if resume == "never":
        return None, []
    if resume == "auto":
        return _first_usable(newest_first(folder), identity(config))
    given = Path(resume).expanduser()
    if not given.exists():
        raise TrainError(f"trainer.resume: '{resume}' does not exist; give a checkpoint, a folder of them, or 'auto'")
    state, notes = _first_usable(newest_first(given) if given.is_dir() else [given], None)
    if state is None:
        raise TrainError(
            f"trainer.resume: no whole checkpoint in '{resume}'; {'; '.join(notes) or 'the folder is empty'}"
        )
    return state, notes


def load_weights(state: Mapping[str, Any], model: nn.Module, optimizer: Optimizer) -> None:
    """Weights and the optimizer's memory. Hyperparameters stay the configuration's, which may differ by intent."""
    settings = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
    try:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    except (RuntimeError, ValueError) as error:
        raise TrainError(
            f"trainer.resume: the checkpoint is of another model or optimizer: {error}; resume with the same ones"
        ) from error
    for group, setting in zip(optimizer.param_groups, settings, strict=True):
        for stale in set(group) - {"params", *setting}:  # what was derived from the old ones
            del group[stale]
        group.update(setting)


def part_of_rank(state: Mapping[str, Any], rank: int, world_size: int) -> dict[str, Any]:
    """This rank's sums and random state.

    Where another number of ranks saved it, rank 0 takes all sums and `random` is None.
    """
    ranks: list[dict[str, Any]] = state["ranks"]
    if len(ranks) == world_size:
        return ranks[rank]
    columns = zip(*(entry["sums"] for entry in ranks), strict=True)
    return {"random": None, "sums": [math.fsum(column) if rank == 0 else 0.0 for column in columns]}


def _first_usable(paths: list[Path], wanted: str | None) -> tuple[dict[str, Any] | None, list[str]]:
    notes, others = [], 0
    for path, state in _read_all(paths):
        if state is None:
            notes.append(f"'{path}' is torn, or no checkpoint of this version: skipped")
        elif wanted is not None and state["identity"] != wanted:
            others += 1
        else:
            return state, [*notes, f"going on from '{path}'"]
    if others:
        notes.append(f"{others} checkpoint(s) of another configuration in '{paths[0].parent}': not used")
    return None, notes


def _read_all(paths: list[Path]) -> Iterator[tuple[Path, dict[str, Any] | None]]:
    for path in paths:
        yield path, read(path) if _whole(path) else None


def read(path: Path) -> dict[str, Any] | None:
    """A checkpoint's content, on the CPU; None if it is not one of this version."""
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError):  # a zip archive, but not torch's
        return None
    return content if content.get("format") == FORMAT else None


def _whole(path: Path) -> bool:
    """torch's files are zip archives: every member has a CRC-32, which torch itself does not look at."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, EOFError, zipfile.BadZipFile):
        return False
