"""B6, B7 and B9: what training costs beside the arithmetic itself."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.benchmarks.measuring import ROOT, CannotMeasure, Result, compared, in_turns, median, took

LOOPS = Path(__file__).with_name("loops")
IMAGES, SIZE, BATCH, EPOCHS = 768, 64, 64, 2
TRAIN = (
    *("-m", "train", "experiment=synthetic", "model=resnet18", f"data.size={SIZE}", f"data.train_images={IMAGES}"),
    *("data.test_images=64", f"trainer.batch_size={BATCH}", f"trainer.epochs={EPOCHS}", "trainer.resume=never"),
)
CORES = len(os.sched_getaffinity(0))
ENVIRONMENT = {"PYTHONPATH": str(ROOT)}


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="amlrun-bench-") as name:
        yield Path(name)


def last_number(text: str) -> float:
    return float([line for line in text.splitlines() if line and line[0].isdigit()][-1])


def by_train(*overrides: str, launcher: tuple[str, ...] = (), rows: Callable[[Any], float] | None = None) -> float:
    """Images per second of the last epoch, or what `rows` makes of the metrics."""
    with folder() as place:
        took([*launcher, sys.executable, *TRAIN, *overrides], place, ENVIRONMENT)
        lines = (place / "outputs/metrics.jsonl").read_text().splitlines()
        found = [json.loads(line) for line in lines]
    return float(rows(found) if rows else found[-1]["images_per_second"])


def by_loop(name: str, threads: int) -> float:
    words = [str(number) for number in (IMAGES, SIZE, BATCH, EPOCHS, threads)]
    command, environment = [sys.executable, LOOPS / f"{name}.py", *words], {**os.environ, **ENVIRONMENT}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise CannotMeasure(done.stderr[-600:])
    return last_number(done.stdout)


def b6() -> Iterator[Result]:
    """Images per second of one process with all cores."""
    found = in_turns(
        {
            "ours": lambda: by_train(f"trainer.threads={CORES}"),
            "bare": lambda: by_loop("bare", CORES),
            "example": lambda: by_loop("imagenet_example", CORES),
        },
        rounds=3,
    )
    ours = median(found["ours"])
    work = f"images/s, resnet18 {SIZE}x{SIZE}, {CORES} threads"
    yield compared("B6", work, "a bare loop", (ours, median(found["bare"]), "img/s"), (">=", 0.97))
    yield compared("B6", work, "PyTorch's ImageNet example", (ours, median(found["example"]), "img/s"), (">=", 1.0))


def b7() -> Iterator[Result]:
    """Two ranks against two processes that know nothing of each other, one thread each."""
    found = in_turns(
        {
            "ceiling": two_alone,
            "ddp": lambda: by_train("trainer.threads=1", "distribution=pytorch", launcher=torchrun()),
            "mpi": lambda: by_train("trainer.threads=1", "distribution=mpi", launcher=mpirun()),
        },
        rounds=3,
    )
    ceiling = median(found["ceiling"])
    for way, name in (("ddp", "DDP over gloo"), ("mpi", "mpirun, DDP over gloo")):
        figures = (median(found[way]), ceiling, "img/s")
        yield compared("B7", f"images/s, {name}, 2 ranks", "2 independent processes", figures, (">=", 0.9))


def two_alone() -> float:
    """Both at once: the sum of what each does with half the batch."""
    with folder() as place:
        processes = []
        for number in range(2):
            (place / str(number)).mkdir()
            command = [sys.executable, *TRAIN, "trainer.threads=1", f"trainer.batch_size={BATCH // 2}"]
            command.append(f"data.train_images={IMAGES // 2}")
            environment = {**os.environ, **ENVIRONMENT}
            log = (place / f"{number}.log").open("w")
            processes.append(
                subprocess.Popen(
                    command, cwd=place / str(number), env=environment, stdout=log, stderr=subprocess.STDOUT
                )
            )
            log.close()
        if any(process.wait() for process in processes):
            raise CannotMeasure((place / "0.log").read_text()[-600:])
        files = [place / str(number) / "outputs/metrics.jsonl" for number in range(2)]
        return sum(json.loads(file.read_text().splitlines()[-1])["images_per_second"] for file in files)


def torchrun() -> tuple[str, ...]:
    return (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--no-python")


def mpirun() -> tuple[str, ...]:
    program = shutil.which("mpirun") or str(Path(sys.executable).with_name("mpirun"))
    if not Path(program).exists():
        raise CannotMeasure("there is no mpirun; pip install 'amlrun[mpi]'")
    os.environ.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
    return (program, "-n", "2", "--oversubscribe")


EPOCH_SECONDS = 30.0


def b9() -> Iterator[Result]:
    """What saving after every epoch adds, and how much longer the way to the first step is when it goes on."""
    work = "a checkpoint (and the best model) of resnet18 after an epoch of 30 s"
    yield compared("B9", work, "the epoch alone", (EPOCH_SECONDS + saving(), EPOCH_SECONDS, "s"), ("<=", 1.02))
    with folder() as place:
        took([sys.executable, *TRAIN, "trainer.epochs=2"], place, ENVIRONMENT)
        os.truncate(newest(place), 0)  # of the last epoch: the one before it has steps left
        found = in_turns(
            {"resumed": lambda: to_first_step(place, "auto"), "anew": lambda: to_first_step(place, "never")}, 3
        )
    figures = (median(found["resumed"]), median(found["anew"]), "s")
    yield compared("B9", "from the command to the first step, going on", "from the beginning", figures, ("<=", 1.25))


def saving() -> float:
    """Seconds per epoch that go into files."""
    with folder() as place:
        command = [sys.executable, str(LOOPS / "instrumented.py"), "saving", *TRAIN[2:], "trainer.epochs=6"]
        command.append(f"data.train_images={2 * BATCH}")
        done = subprocess.run(command, cwd=place, env={**os.environ, **ENVIRONMENT}, capture_output=True, text=True)
        if done.returncode:
            raise CannotMeasure(done.stderr[-600:])
        seconds: dict[str, list[float]] = {"_save_checkpoint": [], "_keep_if_best": []}
        for line in done.stdout.splitlines():
            name, _, value = line.partition(" ")
            if name in seconds:
                seconds[name].append(float(value))
    return median(seconds["_save_checkpoint"]) + max(seconds["_keep_if_best"])


def newest(place: Path) -> Path:
    return max((place / "outputs/checkpoints").glob("step_*.pt"))


def to_first_step(place: Path, resume: str) -> float:
    command = [sys.executable, str(LOOPS / "instrumented.py"), "first-step", *TRAIN[2:], "trainer.epochs=2"]
    return took([*command, f"trainer.resume={resume}"], place, ENVIRONMENT).wall


BENCHMARKS: dict[str, Callable[[], Iterator[Result]]] = {"B6": b6, "B7": b7, "B9": b9}
