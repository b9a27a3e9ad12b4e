"""Layouts, variables, log names and command lines: pure functions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runner.emulator import launch
from runner.emulator.launch import Place
from runner.emulator.layouts import Layout, layout
from runner.emulator.messages import ServiceError
from runner.emulator.rank import expand
from tests.emulator.conftest import configuration

MPI = {"communicator": "IntelMpi", "nodeCount": 2, "mpi": {"processCountPerNode": 2, "nodeCount": 2}}
PYTORCH = {"framework": "PyTorch", "communicator": "nccl", "nodeCount": 2}


def place(nodes: int, mpirun: str | None = "/bin/mpirun") -> Place:
    return Place([[] for _ in range(nodes)], 6105, mpirun)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, Layout("none", 1, 1)),
        (MPI, Layout("mpi", 2, 2)),
        ({**MPI, "communicator": "OpenMpi"}, Layout("mpi", 2, 2)),
        ({**PYTORCH, "pytorch": {"processCount": 8, "nodeCount": 2}}, Layout("pytorch", 2, 4)),
        ({**PYTORCH, "pytorch": {"processCount": None}}, Layout("pytorch", 2, 1)),
        ({**PYTORCH, "communicator": "gloo"}, Layout("pytorch", 2, 1)),
    ],
)
def test_layout_of_a_configuration(more: dict[str, Any], expected: Layout) -> None:
    assert layout(configuration(**more)) == expected


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"nodeCount": 2}, "nothing says how"),
        ({**PYTORCH, "pytorch": {"processCount": 3}}, "does not divide by 2"),
        ({**MPI, "mpi": {"processCountPerNode": -1}}, "must be a whole number"),
        ({"nodeCount": "2", **{"communicator": "IntelMpi"}}, "must be a whole number"),
        ({"framework": "TensorFlow", "communicator": "ParameterServer"}, "not supported"),
        ({"nodeCount": True, "communicator": "IntelMpi"}, "must be a whole number"),
    ],
)
def test_layout_that_cannot_work(more: dict[str, Any], words: str) -> None:
    with pytest.raises(ServiceError, match=words):
        layout(configuration(**more))


def test_ranks_of_pytorch() -> None:
    ranks = launch.ranks(Layout("pytorch", 2, 2), place(2), old_logs=False)
    assert [rank.node for rank in ranks] == [0, 0, 1, 1]
    last = ranks[3].environment
    names = ("RANK", "LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    assert [last[name] for name in names] == ["3", "1", "1", "4", "127.0.0.1", "6105"]
    assert last["AZ_BATCHAI_PYTORCH_INIT_METHOD"] == "tcp://127.0.0.1:6105"
    assert last["AZ_BATCHAI_TASK_INDEX"] == "3"


def test_ranks_of_mpi_know_their_node_and_have_no_master_addr() -> None:
    ranks = launch.ranks(Layout("mpi", 2, 2), place(2), old_logs=False)
    assert [rank.environment["OMPI_COMM_WORLD_LOCAL_RANK"] for rank in ranks] == ["0", "1", "0", "1"]
    assert {rank.environment["OMPI_COMM_WORLD_LOCAL_SIZE"] for rank in ranks} == {"2"}
    assert [rank.environment["AZ_BATCHAI_TASK_INDEX"] for rank in ranks] == ["0", "0", "1", "1"]
    assert ranks[0].environment["AZ_BATCH_MASTER_NODE"] == "127.0.0.1:6105"
    assert "MASTER_ADDR" not in ranks[0].environment
    assert "AZ_BATCHAI_MPI_MASTER_NODE" not in ranks[0].environment


def test_one_node_of_mpi_has_the_other_master_variable() -> None:
    environment = launch.ranks(Layout("mpi", 1, 2), place(1), old_logs=False)[0].environment
    assert environment["AZ_BATCHAI_MPI_MASTER_NODE"] == "localhost"
    assert "AZ_BATCH_MASTER_NODE" not in environment


def test_a_node_sees_its_own_gpus_only() -> None:
    two = Place([["0", "1"], ["2"]], 1)
    ranks = launch.ranks(Layout("pytorch", 2, 1), two, old_logs=False)
    assert [rank.environment["CUDA_VISIBLE_DEVICES"] for rank in ranks] == ["0,1", "2"]
    assert [rank.environment["AZ_BATCHAI_GPU_COUNT"] for rank in ranks] == ["2", "1"]


@pytest.mark.parametrize(
    ("kind", "size", "old", "names"),
    [
        ("none", 1, False, ["user_logs/std_log.txt"]),
        ("none", 1, True, ["azureml-logs/70_driver_log.txt"]),
        ("mpi", 2, False, ["user_logs/std_log_process_0.txt", "user_logs/std_log_process_1.txt"]),
        ("mpi", 2, True, ["azureml-logs/70_driver_log_rank_0.txt", "azureml-logs/70_driver_log_rank_1.txt"]),
        ("pytorch", 1, True, ["azureml-logs/70_driver_log_worker_0.txt"]),
        ("pytorch", 1, False, ["user_logs/std_log_process_0.txt"]),
    ],
)
def test_log_names(kind: str, size: int, old: bool, names: list[str]) -> None:
    assert [rank.log for rank in launch.ranks(Layout(kind, size, 1), place(size), old_logs=old)] == names


def test_log_numbers_are_padded_when_there_are_many() -> None:
    ranks = launch.ranks(Layout("pytorch", 1, 11), place(1), old_logs=False)
    assert (ranks[0].log, ranks[10].log) == ("user_logs/std_log_process_00.txt", "user_logs/std_log_process_10.txt")


def test_launchers() -> None:
    file = Path("/x/launch.json")
    assert [argv[-2:] for argv in launch.launchers(Layout("pytorch", 2, 1), place(2), file)] == [
        ["/x/launch.json", "0"],
        ["/x/launch.json", "1"],
    ]
    (mpi,) = launch.launchers(Layout("mpi", 2, 2), place(2), file)
    assert mpi[:3] == ["/bin/mpirun", "-n", "4"]
    with pytest.raises(FileNotFoundError, match="amlrun\\[mpi\\]"):
        launch.launchers(Layout("mpi", 2, 2), place(2, None), file)


def test_program() -> None:
    assert launch.program(configuration(arguments=["--lr", 0.5, 3]))[2:] == ["train.py", "--lr", "0.5", "3"]
    line = "python a.py && echo $RANK"
    assert launch.program(configuration(script=None, command=line)) == ["bash", "-c", line]


def test_the_run_sets_variables_over_its_environment() -> None:
    run = configuration(environment={"environmentVariables": {"A": "1", "B": "2"}}, environmentVariables={"B": "3"})
    assert launch.job_variables(run) == {"A": "1", "B": "3"}


def test_a_node_inherits_no_tokens() -> None:
    machine = {
        "PATH": "/bin",
        "MSI_ENDPOINT": "secret",
        "HOME": "/h",
        "PYTHONPATH": "/x",
        "LC_ALL": "C",
        "AWS_KEY": "k",
    }
    assert launch.inherited(machine) == {"PATH": "/bin", "HOME": "/h", "LC_ALL": "C"}


@pytest.mark.parametrize(
    ("word", "expanded"),
    [("$A", "1"), ("${A}b", "1b"), ("x=$A$B", "x=12"), ("$NONE", "$NONE"), ("a$", "a$"), ("$5", "$5"), ("$AB", "$AB")],
)
def test_arguments_are_expanded_on_the_node(word: str, expanded: str) -> None:
    assert expand(word, {"A": "1", "B": "2"}) == expanded


def test_a_variable_of_null_is_empty() -> None:
    whole = {"environment": {"environmentVariables": {"A": None, "B": "1"}}, "environmentVariables": {"B": None}}
    assert launch.job_variables(whole) == {"A": "", "B": ""}
