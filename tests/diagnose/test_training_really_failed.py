"""Jobs with torch really made to fail: data loaders, collectives, the training script. As runs and as folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runner.spec import encode_argument
from tests.conftest import ROOT, Cli, write
from tests.diagnose.test_really_failed import Job, Runs, brought, diagnosed, sweep

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

LOADER = """
import os, torch
from torch.utils.data import DataLoader, Dataset
class Images(Dataset):
    def __len__(self): return 4
    def __getitem__(self, index): {item}
if __name__ == "__main__":
    for batch in DataLoader(Images(), num_workers=1, multiprocessing_context="{context}"{more}): print(batch)
"""
TRAIN = (
    "import runpy, sys\nsys.argv = ['train', {words}]\nrunpy.run_module('train', run_name='__main__', alter_sys=True)"
)
ANOTHER = encode_argument({"overrides": ["trainer.epochs=1"], "training_digest": "0" * 64, "run_id": "x"})

TORCH = {
    "loader_raises": Job(
        LOADER.format(item="raise ValueError('bad image 3')", context="fork", more=""),
        "exception",
        "ValueError: Caught ValueError in DataLoader worker process 0.",
    ),
    "loader_killed": Job(
        LOADER.format(item="os.kill(os.getpid(), 9)", context="fork", more=""),
        "host_memory",
        "out of memory: RuntimeError: DataLoader worker (pid",
    ),
    "loader_exits": Job(
        LOADER.format(item="os._exit(1)", context="fork", more=""),
        "data_loader",
        "a data loader worker died: RuntimeError: DataLoader worker (pid",
    ),
    "loader_pickles": Job(
        LOADER.format(item="return index", context="spawn", more=", collate_fn=lambda x: x"),
        "pickling",
        "an object cannot be sent to another process: ",
    ),
    "label": Job(
        "import torch\ntorch.nn.functional.cross_entropy(torch.zeros(2, 3), torch.tensor([1, 5]))",
        "labels",
        "a label or index is out of range: IndexError: Target 5 is out of bounds.",
    ),
    "shapes": Job(
        "import torch\ntorch.nn.Linear(784, 10)(torch.zeros(64, 512))",
        "exception",
        "RuntimeError: mat1 and mat2 shapes cannot be multiplied (64x512 and 784x10)",
    ),
    "no_gpu": Job("import torch\ntorch.ones(1).cuda()", "gpu_unusable", "the GPU cannot be used: "),
    "checkpoint_on_a_full_disk": Job(
        "import torch\ntorch.save(torch.zeros(100_000), '/dev/full')", "disk_full", "disk full: "
    ),
    "rendezvous_port": Job(
        "import torch.distributed as dist\nfirst = dist.TCPStore('127.0.0.1', 0, 1, True)\n"
        "dist.TCPStore('127.0.0.1', first.port, 1, True)",
        "port_in_use",
        "the port is taken: torch.distributed.DistNetworkError: ",
    ),
    "hydra": Job(TRAIN.format(words="'optimizer.lrr=1'"), "hydra", "Hydra refused the configuration: "),
    "refused": Job(
        TRAIN.format(words="'trainer.device=cuda'"), "refused", "the training refused its configuration: train: trainer"
    ),
    "another": Job(
        TRAIN.format(words=f"'--amlrun', '{ANOTHER}'"),
        "another_configuration",
        "another configuration than the one submitted: train: this node composed another configuration",
    ),
    "diverged": Job(
        TRAIN.format(words="'trainer.epochs=1', 'optimizer=sgd', 'optimizer.lr=1e30'"),
        "diverged",
        "the training diverged: train: the loss became nan or inf at step",
    ),
}

# Under mpirun torch.distributed is told by Open MPI's variables, under torchrun by its own.
RANKS = """
import datetime, os, time
if "OMPI_COMM_WORLD_RANK" in os.environ:
    os.environ |= {{"RANK": os.environ["OMPI_COMM_WORLD_RANK"], "WORLD_SIZE": os.environ["OMPI_COMM_WORLD_SIZE"]}}
    os.environ |= {{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": os.environ["PORT"]}}
import torch
import torch.distributed as dist
dist.init_process_group("gloo", timeout=datetime.timedelta(seconds={seconds}))
dist.barrier()
rank = dist.get_rank()
print("ready", flush=True)
if rank == 1:
    {culprit}
dist.all_reduce(torch.ones(1))
"""
# What rank 1 of several does -> kind, cause, what the others say, and the kind that the logs alone show.
GROUPS = {
    "raises": ("raise ValueError('mine')", "exception", "ValueError: mine", "connection closed", "exception"),
    "is_killed": (
        "os.kill(os.getpid(), 9)",
        "host_memory",
        "killed by SIGKILL: most likely out of memory",
        "connection closed",
        "silent_rank",
    ),
    "hangs": (
        "time.sleep(600)",  # longer than the group's timeout: that is what "hangs" means here
        "hanging_rank",
        "the likely culprit: it was still running while 1 other rank said 'a collective timed out'",
        "a collective timed out",
        "silent_rank",
    ),
    "ends_early": (
        "raise SystemExit(0)",
        "early_end",
        "the likely culprit: it ended without an error while 1 other rank said 'connection closed'",
        "connection closed",
        "silent_rank",
    ),
}


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    import shutil

    project = tmp_path_factory.mktemp("training") / "project"
    for name in ("configs", "train"):
        shutil.copytree(ROOT / name, project / name, ignore=shutil.ignore_patterns("__pycache__"))
    return sweep(project, {name: job.script for name, job in TORCH.items()})


@pytest.mark.parametrize("name", TORCH)
def test_a_run_is_diagnosed(cli: Cli, failed: Runs, name: str, tmp_path: Path) -> None:
    code, found = diagnosed(cli, failed, name)
    job = TORCH[name]
    assert (code, found["kind"], found["rank"]) == (5, job.kind, 0)
    assert found["cause"].startswith(job.cause)
    alone = json.loads(cli(tmp_path, "diagnose", str(brought(failed, name, tmp_path / "sent")), "--json").out)
    assert (alone["kind"], alone["cause"]) == (found["kind"], found["cause"])


@pytest.mark.parametrize("distribution", ["pytorch", "mpi"])
@pytest.mark.parametrize("what", GROUPS)
def test_one_rank_of_two(cli: Cli, bare: Path, what: str, distribution: str, free_port: int, tmp_path: Path) -> None:
    culprit, kind, cause, said, alone = GROUPS[what]
    write(bare, {"main.py": RANKS.format(culprit=culprit, seconds=5 if what == "hangs" else 60)})
    overrides = [f"distribution={distribution}", "distribution.processes_per_node=2", "code.script=main.py"]
    assert cli(bare, "run", "-q", *overrides, f"+env.variables={{PORT:'{free_port}'}}").code == 5
    done = cli(bare, "diagnose", "--json")
    found: dict[str, Any] = json.loads(done.out)
    assert (done.code, found["kind"], found["cause"], found["rank"]) == (5, kind, cause, 1)
    assert found["consequences"] == f"1 other rank failed in consequence: {said}"
    run_id = json.loads(cli(bare, "show", "--json").out)["id"]
    sent = brought({what: (bare, run_id)}, what, tmp_path / "sent")
    found = json.loads(cli(tmp_path, "diagnose", str(sent), "--json").out)
    assert (found["kind"], found["rank"], found["world_size"]) == (alone, 1, 2)


def test_people_see_one_traceback_and_one_line_about_the_others(cli: Cli, bare: Path) -> None:
    write(bare, {"main.py": RANKS.format(culprit="raise ValueError('mine')", seconds=60)})
    cli(bare, "run", "-q", "distribution=pytorch", "distribution.processes_per_node=3", "code.script=main.py")
    done = cli(bare, "diagnose", "last")
    assert done.out.startswith("rank 1 of 3: ValueError: mine (exit code 1)\n    Traceback (most recent call last):\n")
    assert done.out.endswith("\n2 other ranks failed in consequence: connection closed\n")
    assert done.out.count("Traceback") == 1
