"""Two and three real processes over gloo. Slow: each imports torch."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.train.conftest import CONFIG

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).parents[2]

# Trains each (name, config, step to die at) of jobs.json in turn; a job that dies leaves its checkpoints. At a negative
# step the last rank alone gets SIGTERM. Each meets at a port of its own: a rank that is early would find the store of
# the job before.
WORKER = """
import gc, json, os, signal
from pathlib import Path
import torch.distributed
from train import loop
from train.errors import StoppedError
from train.process import find_process
real = loop._train_step
class Killed(Exception): pass
for name, config, death, port in json.loads(Path("jobs.json").read_text()):
    os.environ["MASTER_PORT"] = str(port)
    def stepping(training, images, labels):
        if training.progress.step == death:
            training.group.gather(None)
            raise Killed
        process = training.group.process
        if -training.progress.step == death and process.rank == process.world_size - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        real(training, images, labels)
    loop._train_step = stepping
    try:
        loop.train(config, find_process(), Path(name))
    except Killed:
        pass
    except StoppedError as stopped:
        Path(f"{name}.{find_process().rank}").write_text(str(stopped))
    gc.collect()  # before the group goes: see the end of loop.train
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
"""


def free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def train_together(folder, ranks, *jobs):
    """Each rank's (stdout, stderr, exit code)."""
    ports = free_ports(len(jobs))
    (folder / "jobs.json").write_text(json.dumps([[*job, port] for job, port in zip(jobs, ports, strict=True)]))
    (folder / "worker.py").write_text(WORKER)
    results = finish(start(["worker.py"], folder, ranks))
    assert [code for *_, code in results] == [0] * ranks, results
    return results


def start(arguments, folder, ranks=2):
    shared = {**os.environ, "PYTHONPATH": str(PROJECT), "WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks)}
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_ports(1)[0])}
    return [
        subprocess.Popen(
            [sys.executable, *arguments],
            cwd=folder,
            env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(ranks)
    ]


def finish(processes):
    try:
        return [(*process.communicate(timeout=200), process.returncode) for process in processes]
    finally:
        for process in processes:
            process.kill()


@pytest.fixture(scope="module", params=[2, 3])
def trained(tmp_path_factory, request):
    """The same small training in one go, and killed twice and resumed.

    Three ranks because sums of two are rounded alike in any order.
    """
    folder = tmp_path_factory.mktemp("ranks")
    config = copy.deepcopy(CONFIG)
    config["trainer"]["batch_size"] = 12
    config["trainer"]["checkpoint"]["every_steps"] = 3
    config["model"]["width"] = 32
    jobs = (["whole", config, 0.5], ["killed", config, 5], ["killed", config, 10], ["killed", config, 0.5])
    jobs = (*jobs, ["told", config, -5], ["told", config, 0.5])
    return folder, train_together(folder, request.param, *jobs)


def weights(folder):
    return torch.load(folder / "model.pt", weights_only=True)["model"]


def rows(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_only_rank_0_speaks_and_says_which_launcher_it_believed(trained):
    (out, _, _), *others = trained[1]
    assert f"process: rank 0 of {len(others) + 1} (torch variables), cpu, gloo, 1 thread(s)" in out
    assert "of 13 images)" in out
    assert [other[0] for other in others] == [""] * len(others)


def test_killed_and_resumed_ends_with_the_same_bytes(trained):
    folder, _ = trained
    whole, killed = weights(folder / "whole"), weights(folder / "killed")
    assert all(whole[name].numpy().tobytes() == killed[name].numpy().tobytes() for name in whole)
    assert [row["train_loss"] for row in rows(folder / "whole")] == [
        row["train_loss"] for row in rows(folder / "killed")
    ]


def test_sigterm_to_one_rank_stops_all_at_one_step_and_what_follows_is_as_if_it_had_not(trained):
    folder, _ = trained
    said = {path.read_text() for path in folder.glob("told.*")}
    assert said == {
        "SIGTERM: stopped at step 7 (1 of 3 epochs done); what is needed to go on from here is in 'told/checkpoints'"
    }
    assert len(list(folder.glob("told.*"))) == len(trained[1])
    whole, told = weights(folder / "whole"), weights(folder / "told")
    assert all(whole[name].numpy().tobytes() == told[name].numpy().tobytes() for name in whole)


def test_two_ranks_train_as_one_does(tmp_path):
    from train.loop import train
    from train.process import Process

    config = copy.deepcopy(CONFIG)
    config["model"]["dropout"] = 0.0
    train(config, Process(), tmp_path)
    train_together(tmp_path, 2, ["two", config, 0.5])
    one, two = rows(tmp_path), rows(tmp_path / "two")
    for key in ("train_loss", "test_loss", "test_accuracy"):
        assert [row[key] for row in two] == pytest.approx([row[key] for row in one], abs=1e-4)


def test_a_rank_that_fails_is_gone_at_once_with_its_own_words(tmp_path):
    (tmp_path / "broken_for_test.py").write_text(
        "import os\n"
        "from train.models.small_cnn import SmallCNN\n"
        "class Broken(SmallCNN):\n"
        "    def forward(self, images):\n"
        "        if os.environ['RANK'] == '1' and images.shape[0] != 2: raise ValueError('only rank 1')\n"
        "        return super().forward(images)\n"
        "def make(num_classes, in_channels): return Broken(num_classes, in_channels, 8)\n"
    )
    overrides = ["model._target_=broken_for_test.make", "~model.width", "~model.dropout", "trainer.timeout_minutes=10"]
    processes = start(["-m", "train", *overrides], tmp_path)
    try:
        _, err = processes[1].communicate(timeout=200)
        assert processes[1].returncode == 1
        assert err.rstrip().endswith("ValueError: only rank 1")
        began = time.monotonic()
        processes[0].communicate(timeout=200)
        assert processes[0].returncode != 0
        assert time.monotonic() - began < 30
    finally:
        for process in processes:
            process.kill()


def test_the_script_refuses_what_does_not_divide_on_every_rank(tmp_path):
    for _, err, code in finish(start(["-m", "train", "trainer.batch_size=63"], tmp_path)):
        assert code == 2
        assert err == (
            "train: trainer.batch_size: 63 is for all processes together and does not divide by 2 processes; "
            "use a multiple of 2\n"
        )
