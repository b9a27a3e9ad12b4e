"""B1, B2 and B3: from a command line to its plans, without sending anything."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.benchmarks.measuring import ROOT, CannotMeasure, Result, Took, compared, cpu, in_turns, took, wall

PEERS = ROOT / ".venv-peers" / "bin"
PEER_FILES = Path(__file__).with_name("peers")
OURS = (sys.executable, "-m", "runner")
CHOICES = ("experiment=digits", "compute=gpu-cluster")
TORCHX = ("run", "--scheduler", "local_cwd", "--dryrun", "utils.python", "--script", "hydra_job.py")
GROUPS = ("compute=gpu-cluster", "model=small_cnn,resnet18", "optimizer=sgd")
HYDRA_POINTS = 100
# Of ten thousand points; and how many times what ten times a thousand take they may.
MOST_MEGABYTES, MOST_GROWTH = 500, 1.1
GIT = ("git", "-c", "user.name=bench", "-c", "user.email=bench@example.invalid")


@contextmanager
def project() -> Iterator[Path]:
    """The starter project, committed; beside it what the peers run."""
    with tempfile.TemporaryDirectory(prefix="amlrun-bench-") as name:
        place = Path(name)
        for folder in ("configs", "train", "schemas"):
            shutil.copytree(ROOT / folder, place / folder, ignore=shutil.ignore_patterns("__pycache__", "outputs"))
        for file in PEER_FILES.iterdir():
            shutil.copy(file, place)
        for command in (("init", "-q"), ("add", "-A"), ("commit", "-qm", "all")):
            subprocess.run([*GIT, *command], cwd=place, check=True)
        yield place


def peer(name: str) -> str:
    program = PEERS / name
    if not program.exists():
        raise CannotMeasure(f"there is no {program.relative_to(ROOT)}; run 'make bench-setup'")
    return str(program)


def environment(place: Path, cache: str = "cache") -> Mapping[str, str]:
    """With compiled modules, as everybody has them; `cache` is a folder, or off."""
    cached = cache if cache == "off" else str(place / ".git" / cache)
    return {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "", "AMLRUN_CACHE": cached}


def measured(place: Path, commands: Mapping[str, tuple[str, ...]], expect: Mapping[str, int]) -> dict[str, list[Took]]:
    """Each command in turns; `uncached` in a name turns the cache off."""

    def one(name: str, words: tuple[str, ...]) -> Callable[[], Took]:
        variables = environment(place, "off" if "uncached" in name else "cache")
        return lambda: took(words, place, variables, expect.get(name, 0))

    return in_turns({name: one(name, words) for name, words in commands.items()}, rounds=7)


def b1() -> Iterator[Result]:
    """One plan, a whole process."""
    with project() as place:
        python = peer("python")
        commands = {
            "cached": (*OURS, "plan", *CHOICES),
            "uncached": (*OURS, "plan", *CHOICES),
            "hydra": (sys.executable, "hydra_job.py", "--cfg", "job", *CHOICES),
            "torchx": (peer("torchx"), *TORCHX),
            "azure": (python, "-c", "from azure.ai.ml import load_job; load_job('job.yml')"),
        }
        found = measured(place, commands, {})
    times = {name: cpu(each) for name, each in found.items()}
    work = "plan of one run, without the cache"
    yield compared("B1", work, "Hydra's --cfg job", (times["uncached"], times["hydra"], "s"), ("<=", 1.5))
    yield compared("B1", work, "azure-ai-ml's load_job", (times["uncached"], times["azure"], "s"), ("<=", 0.3))
    work = "plan of one run, composed before"
    yield compared("B1", work, "torchx run --dryrun", (times["cached"], times["torchx"], "s"), ("<=", 1.0))


def b2() -> Iterator[Result]:
    """A misspelt key, from the command to its message."""
    with project() as place:
        took((*OURS, "validate"), place, environment(place))
        commands = {
            "cached": (*OURS, "validate", "optimizer.lrr=0.1"),
            "uncached": (*OURS, "validate", "optimizer.lrr=0.1"),
            "imports": (sys.executable, "-c", "import hydra, jsonschema"),
        }
        found = measured(place, commands, {"cached": 2, "uncached": 2})
    times = {name: cpu(each) for name, each in found.items()}
    against = "importing Hydra and jsonschema"
    yield compared("B2", "a misspelt key", against, (times["cached"], times["imports"], "s"), ("<=", 1.3))
    work = "a misspelt key, nothing composed before"
    yield compared("B2", work, against, (times["uncached"], times["imports"], "s"), ("<=", 1.3))


def swept(points: int) -> tuple[str, ...]:
    """Three groups, one of them of two options, and two swept values: so many points."""
    return (*GROUPS, f"optimizer.lr=range(1,{points // 20 + 1})", "seed=range(10)")


def b3() -> Iterator[Result]:
    """All plans of a sweep as JSON; Hydra's own sweep does nothing but composing."""
    with project() as place:
        words = (*OURS, "plan", "--json", "-m")
        ours = {n: [took((*words, *swept(n)), place, environment(place)) for _ in range(3)] for n in (1_000, 10_000)}
        hydra = (sys.executable, "hydra_job.py", "-m", *swept(HYDRA_POINTS))
        theirs = took(hydra, place, environment(place))
    small, large = (cpu(ours[n]) for n in (1_000, 10_000))
    megabytes = max(each.megabytes for each in ours[10_000])
    notes = {"wall": wall(ours[1_000]), "hydra_points": HYDRA_POINTS, "hydra_cpu": theirs.cpu}
    against = f"Hydra's BasicSweeper, no task ({HYDRA_POINTS} points, scaled)"
    scaled = theirs.cpu * 1_000 / HYDRA_POINTS
    yield compared("B3", "plan 1,000 points", against, (small, scaled, "s"), ("<=", 0.01), notes)
    yield compared("B3", "plan 10,000 points", "ten times 1,000", (large, 10 * small, "s"), ("<=", MOST_GROWTH))
    yield compared("B3", "memory of 10,000 points", "the bound", (megabytes, MOST_MEGABYTES, "MB"), ("<=", 1.0))


BENCHMARKS: dict[str, Callable[[], Iterator[Result]]] = {"B1": b1, "B2": b2, "B3": b3}
