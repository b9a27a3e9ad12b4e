"""How following looks: live on a terminal, plain lines elsewhere, nothing when quiet."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from datetime import datetime
from typing import Any, TextIO

from runner.collect import is_number
from runner.follow import Reporter
from runner.spec import Run, State

# The tutorial's four phases, in words that say what is waited for.
PHASES = {
    State.PREPARING: "preparing (code and environment)",
    State.QUEUED: "queued (waiting for nodes or a slot)",
    State.RUNNING: "running",
    State.FINALIZING: "finalizing (collecting outputs)",
    State.COMPLETED: "completed",
    State.FAILED: "failed",
    State.CANCELED: "canceled",
    State.UNKNOWN: "in a state this version does not know",
}
NOT_SHOWN = ("epoch", "epochs", "step", "seconds")


def reporter(runs: int, *, quiet: bool, stream: TextIO | None = None) -> Reporter:
    """The reporter for `runs` runs on `stream` (standard output unless given)."""
    stream = stream or sys.stdout
    if quiet:
        return Quiet()
    if stream.isatty():
        return Live(stream, several=runs > 1)
    return Plain(stream, several=runs > 1)


class Quiet:
    """Shows nothing."""

    def phase(self, run: Run) -> None:
        pass

    def line(self, run: Run, text: str) -> None:
        pass

    def metrics(self, run: Run, row: dict[str, Any]) -> None:
        pass

    def close(self) -> None:
        pass


class Plain:
    """One line for each thing that happens; with several runs every line starts with the run's id."""

    def __init__(self, stream: TextIO, *, several: bool) -> None:
        self.stream = stream
        self.several = several

    def phase(self, run: Run) -> None:
        self.write(run, f"[{clock(run)}] {PHASES[run.state]}")

    def line(self, run: Run, text: str) -> None:
        self.write(run, text)

    def metrics(self, run: Run, row: dict[str, Any]) -> None:
        """Not shown: the training script's own lines say the same."""

    def close(self) -> None:
        self.stream.flush()

    def write(self, run: Run, text: str) -> None:
        self.stream.write(f"{run.id}  {text}\n" if self.several else f"{text}\n")
        self.stream.flush()


class Live:
    """A bar for each run that has epochs, its phase and newest metrics; log lines scroll above."""

    def __init__(self, stream: TextIO, *, several: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        self.several = several
        self.console = Console(file=stream)
        self.progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.fields[name]}", markup=False),
            TextColumn("[bold]{task.fields[phase]}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[epochs]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[latest]}", style="cyan", markup=False),
            console=self.console,
        )
        self.tasks: dict[str, Any] = {}
        self.progress.start()

    def task(self, run: Run) -> Any:
        if run.id not in self.tasks:
            name = run.id if self.several else run.name
            self.tasks[run.id] = self.progress.add_task("", total=None, name=name, phase="", epochs="", latest="")
        return self.tasks[run.id]

    def phase(self, run: Run) -> None:
        self.progress.update(self.task(run), phase=run.state.value)
        if run.state.final:
            self.progress.stop_task(self.task(run))

    def line(self, run: Run, text: str) -> None:
        if not self.several:
            self.console.print(text, markup=False, emoji=False, highlight=False, soft_wrap=True)

    def metrics(self, run: Run, row: dict[str, Any]) -> None:
        epoch, epochs = row.get("epoch"), row.get("epochs")
        fields: dict[str, Any] = {"latest": brief(row)}
        if is_count(epoch) and is_count(epochs):
            fields |= {"completed": epoch, "total": epochs, "epochs": f"epoch {epoch:g}/{epochs:g}"}
        self.progress.update(self.task(run), **fields)

    def close(self) -> None:
        self.progress.stop()


def brief(row: Mapping[str, Any]) -> str:
    """The newest metrics in a few words, test metrics first."""
    shown = {key: value for key, value in row.items() if key not in NOT_SHOWN and is_number(value)}
    names = sorted(shown, key=lambda name: (not name.startswith(("test", "val")), name))
    return "  ".join(f"{name.replace('_', ' ')} {shown[name]:.4g}" for name in names[:3])


def is_count(value: Any) -> bool:
    return is_number(value) and math.isfinite(value)


def clock(run: Run) -> str:
    """Local time at which the run entered its state."""
    times = [time for state, time in run.phases if state == run.state.value]
    return datetime.fromisoformat(times[-1]).astimezone().strftime("%H:%M:%S") if times else "--:--:--"
