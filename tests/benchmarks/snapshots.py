"""B8: reading the code that travels, against git's own reading of the same files."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.benchmarks.measuring import ROOT, CannotMeasure, Result, compared, median, took

FILES, MEGABYTES = 2_000, 250
AZURE = ROOT / ".venv-azure" / "bin" / "python"
TAKE = """
import pathlib, time
from runner import snapshot
began = time.perf_counter()
snapshot.take(pathlib.Path("tree"), pathlib.Path("index.json"))
print(time.perf_counter() - began)
"""
# What the SDK does before it sends: it hashes the tree, to compare it with what is there.
SDK = """
import time
from azureml._base_sdk_common.merkle_tree import create_merkletree
began = time.perf_counter()
create_merkletree("tree", lambda path: False)
print(time.perf_counter() - began)
"""


def b8() -> Iterator[Result]:
    """First, unchanged, and with one file changed; each in a process that has imported everything."""
    with tempfile.TemporaryDirectory(prefix="amlrun-bench-") as name:
        place = Path(name)
        fill(place / "tree")
        rounds = [first(place) for _ in range(3)]
        again = [seconds(place) for _ in range(5)]
        before = known(place)
        (place / "tree" / "0" / "7.bin").write_bytes(b"changed")
        seconds(place)
        after = known(place)
        notes = sdk(place)
    ours, theirs = (median([each[index] for each in rounds]) for index in (0, 1))
    tree = f"{FILES:,} files, {MEGABYTES} MB"
    yield compared(
        "B8", f"snapshot of {tree}, first", "git add, git write-tree", (ours, theirs, "s"), ("<=", 1.0), notes
    )
    yield compared("B8", "the same, unchanged", "the bound", (median(again), 0.2, "s"), ("<=", 1.0))
    changed = sum(before.get(path) != row for path, row in after.items())
    yield compared("B8", "files read after one has changed", "one", (float(changed), 1.0, "files"), ("<=", 1.0))


def fill(tree: Path) -> None:
    """Files of different sizes and of bytes that neither git nor a file system can shrink."""
    chance = random.Random(0)
    size = MEGABYTES * 1024 * 1024 // FILES
    for number in range(FILES):
        file = tree / str(number % 40) / f"{number}.bin"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(chance.randbytes(chance.randint(size // 2, size * 3 // 2)))


def first(place: Path) -> tuple[float, float]:
    """Seconds of processor time, ours and git's, with nothing known yet."""
    (place / "index.json").unlink(missing_ok=True)
    ours = took([sys.executable, "-c", TAKE], place, environment())
    shutil.rmtree(place / "tree" / ".git", ignore_errors=True)
    subprocess.run(["git", "init", "-q"], cwd=place / "tree", check=True)
    added = took(["git", "add", "-A"], place / "tree")
    written = took(["git", "write-tree"], place / "tree")
    shutil.rmtree(place / "tree" / ".git", ignore_errors=True)
    return ours.cpu, added.cpu + written.cpu


def seconds(place: Path, python: str = sys.executable, script: str = TAKE) -> float:
    """Of what the script times, by its own clock."""
    done = subprocess.run([python, "-c", script], cwd=place, env=environment(), capture_output=True, text=True)
    if done.returncode:
        raise CannotMeasure(done.stderr[-600:])
    return float(done.stdout.split()[-1])


def known(place: Path) -> dict[str, Any]:
    """What is remembered of each file."""
    found: dict[str, Any] = json.loads((place / "index.json").read_text())
    return found


def sdk(place: Path) -> dict[str, float | str]:
    """azureml-core's own reading of the same tree, where it is installed."""
    return {"azureml-core": seconds(place, str(AZURE), SDK)} if AZURE.exists() else {"azureml-core": "not installed"}


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": ""}


BENCHMARKS: dict[str, Callable[[], Iterator[Result]]] = {"B8": b8}
