"""The model of the best epoch: kept among the checkpoints while training, published as outputs/best.pt at the end.

Its file is named by the step at which it was the best. Other steps' are removed when a checkpoint that knows the newer
one is whole: a run that is killed in between goes on from the older checkpoint, whose best model is still there.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from train import monitor


def step_of(rows: Sequence[Mapping[str, Any]], spec: Mapping[str, Any]) -> int | None:
    """The last step of the best epoch so far, by `trainer.monitor`; None before there is one."""
    return int(rows[monitor.best(rows, spec)]["step"]) if rows else None


def path_of(checkpoints: Path, step: int) -> Path:
    return checkpoints / f"best_{step:08d}.pt"


def forget_others(checkpoints: Path, step: int | None) -> None:
    for path in checkpoints.glob("best_*.pt"):
        if step is None or path != path_of(checkpoints, step):
            path.unlink(missing_ok=True)


def publish(outputs: Path, step: int | None, say: Callable[[str], None]) -> None:
    """Copy it to `outputs`/best.pt, whole or not at all. Says so if it is gone."""
    if step is None:
        return
    found = path_of(outputs / "checkpoints", step)
    if not found.is_file():
        say(f"best: the model of step {step} was lost with the disk it was on; model.pt is the last epoch's")
        return
    beside = outputs / ".best.pt"
    shutil.copyfile(found, beside)
    beside.replace(outputs / "best.pt")
