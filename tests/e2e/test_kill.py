"""kill -9 at any moment of a training, and the same command again: the uninterrupted run's weights, bit for bit.

FULL=1: twenty moments, else four. Prints each moment and the step that was gone on from.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.conftest import ROOT
from tests.watching import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

MOMENTS = 20 if os.environ.get("FULL") else 4
STEPS, EVERY = 330, 7  # 15 epochs of 22
COMMAND = [sys.executable, "-m", "train", "experiment=digits", f"trainer.checkpoint.every_steps={EVERY}"]
# One in four before there is a checkpoint, or in the first ones; the others anywhere.
EARLY = range(2 * EVERY)


def start(folder: Path) -> subprocess.Popen[bytes]:
    folder.mkdir(exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(COMMAND, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)


def said(folder: Path) -> str:
    return (folder / "log").read_text()


def newest_step(folder: Path) -> int:
    names = [path.stem for path in (folder / "outputs/checkpoints").glob("step_*.pt")]
    return max((int(name.removeprefix("step_")) for name in names), default=0)


def weights(folder: Path) -> dict[str, bytes]:
    state = torch.load(folder / "outputs/model.pt", weights_only=True)["model"]
    return {name: value.numpy().tobytes() for name, value in state.items()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    assert start(folder).wait() == 0, said(folder)
    assert newest_step(folder) == STEPS
    return folder


@pytest.mark.parametrize("moment", range(MOMENTS))
def test_killed_at_a_random_moment_and_resumed(whole: Path, tmp_path: Path, moment: int) -> None:
    draw = random.Random(moment)
    after_step = draw.choice(EARLY) if moment % 4 == 0 else draw.randrange(2 * EVERY, STEPS - 2 * EVERY)
    process = start(tmp_path)
    try:
        # The first step follows this line; later moments are known by the files.
        wait_for(lambda: "data: " in said(tmp_path) and newest_step(tmp_path) >= after_step - EVERY, seconds=300)
        time.sleep(draw.uniform(0, 0.1))  # the moment: anywhere within a step, or within the writing of a checkpoint
        assert process.poll() is None, "it was over before it could be killed"
    finally:
        process.kill()
    process.wait()
    last = newest_step(tmp_path)
    assert start(tmp_path).wait() == 0, said(tmp_path)
    resumed = re.search(r"resume: at step (\d+),", said(tmp_path))
    print(f"moment {moment}: killed after step {last}, resumed at step {resumed[1] if resumed else 0}")
    assert (int(resumed[1]) if resumed else 0) >= last - EVERY
    assert (resumed is not None) == (last > 0)
    assert weights(tmp_path) == weights(whole)
