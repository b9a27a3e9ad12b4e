from __future__ import annotations

import sys

import pytest
import torch

from train import group
from train.errors import TrainError
from train.group import choose_backend, choose_device, choose_threads, joined
from train.inputs import with_paths
from train.process import Process

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


def test_backend_follows_the_device_unless_it_is_given():
    assert choose_backend("auto", CPU) == "gloo"
    assert choose_backend("auto", GPU) == "nccl"
    assert choose_backend("gloo", GPU) == "gloo"
    with pytest.raises(TrainError, match="'nccl' needs GPUs"):
        choose_backend("nccl", CPU)


def test_device_is_the_local_ranks_gpu_where_there_is_one(monkeypatch):
    chosen = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    assert choose_device("auto", Process(rank=3, world_size=4, local_rank=1, local_size=2)) == torch.device("cuda", 1)
    assert chosen == [torch.device("cuda", 1)]
    assert choose_device("cpu", Process()) == CPU
    with pytest.raises(TrainError, match="process 3 of 4 on this node has no GPU of its own: 2 found"):
        choose_device("auto", Process(rank=2, world_size=4, local_rank=2, local_size=4))


def test_without_a_gpu_auto_is_the_cpu_and_cuda_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert choose_device("auto", Process()) == CPU
    with pytest.raises(TrainError, match="'cuda' was asked for and torch sees no GPU"):
        choose_device("cuda", Process())


@pytest.mark.parametrize(
    ("wanted", "local_size", "numbers", "threads"),
    [("auto", 1, 4096, 1), ("auto", 1, 10**6, 8), ("auto", 3, 10**6, 2), ("auto", 16, 10**6, 1), (5, 1, 4096, 5)],
)
def test_threads_are_a_share_of_the_cores_and_one_for_small_batches(monkeypatch, wanted, local_size, numbers, threads):
    monkeypatch.setattr(group, "_usable_cores", lambda: 8)
    assert choose_threads(wanted, Process(world_size=local_size, local_size=local_size), numbers) == threads


def test_a_single_process_needs_no_group():
    with joined(Process(), {"device": "cpu", "timeout_minutes": 1}, {"kind": "none"}) as single:
        assert single.describe() == "cpu"
        assert not torch.distributed.is_initialized()
        assert single.gather("x") == ["x"]
        assert single.from_first("y") == "y"


def test_horovod_that_is_not_installed_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "horovod.torch", None)
    trainer, distribution = {"device": "cpu", "timeout_minutes": 1}, {"kind": "mpi", "engine": "horovod"}
    with (
        pytest.raises(TrainError, match=r"horovod cannot be imported .*`make horovod` builds it here"),
        joined(Process(), trainer, distribution),
    ):
        pass


def test_inputs_come_from_the_runner_or_by_hand_from_their_path():
    config = {"path": "input:bird-photos", "other": ["input:b", 1]}
    inputs = {"bird-photos": {"path": "photos"}, "b": {"path": "b"}}
    assert with_paths(config, inputs, {}) == {"path": "photos", "other": ["b", 1]}
    given = {"AMLRUN_INPUT_BIRD_PHOTOS": "/mnt/birds", "AMLRUN_INPUT_b": "/mnt/b"}
    assert with_paths(config, inputs, given) == {"path": "/mnt/birds", "other": ["/mnt/b", 1]}


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        ({}, "there is no input 'a'"),
        ({"a": {"datastore": "d", "path": "p"}}, "the input is on Azure and AMLRUN_INPUT_A"),
    ],
)
def test_inputs_that_are_not_here_are_refused(inputs, text):
    with pytest.raises(TrainError, match=text):
        with_paths("input:a", inputs, {})
