"""B5: what `amlrun run` adds to a script that does nothing, on this machine."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.benchmarks.measuring import ROOT, Result, Took, compared, cpu, in_turns, took, wall

OURS = (sys.executable, "-m", "runner", "run", "--quiet")
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "noop.py")
TWO = ("distribution=pytorch", "distribution.processes_per_node=2")
MOST_SECONDS = 0.6


def b5() -> Iterator[Result]:
    """One process, and two under torch's launcher: the time until the command returns."""
    with tempfile.TemporaryDirectory(prefix="amlrun-bench-") as name:
        place = Path(name)
        (place / "configs").mkdir()
        text = (ROOT / "configs" / "config.yaml").read_text()
        (place / "configs" / "config.yaml").write_text(text.replace("module: train ", "module: null ", 1))
        (place / "noop.py").write_text("")
        variables = {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "", "AMLRUN_CACHE": str(place / ".runs/cache")}
        commands = {
            "ours": (*OURS, "code.script=noop.py"),
            "theirs": (sys.executable, "noop.py"),
            "ours, two": (*OURS, "code.script=noop.py", *TWO),
            "theirs, two": TORCHRUN,
        }
        found = in_turns({name: timed(words, place, variables) for name, words in commands.items()}, rounds=5)
    times = {name: wall(each) for name, each in found.items()}
    notes = {name: cpu(each) for name, each in found.items()}
    added = times["ours"] - times["theirs"]
    yield compared("B5", "added by `run`, 1 process", "the bound", (added, MOST_SECONDS, "s"), ("<=", 1.0), notes)
    figures = (times["ours, two"], times["theirs, two"], "s")
    yield compared("B5", "`run`, 2 processes", "torchrun", figures, ("<=", 1.15), notes)


def timed(words: tuple[str, ...], place: Path, variables: dict[str, str]) -> Callable[[], Took]:
    return lambda: took(words, place, variables)


BENCHMARKS: dict[str, Callable[[], Iterator[Result]]] = {"B5": b5}
