from __future__ import annotations

import pytest

from train.errors import TrainError
from train.process import AZURE_PORT, Process, find_process

OPEN_MPI = {
    "OMPI_COMM_WORLD_RANK": "5",
    "OMPI_COMM_WORLD_SIZE": "8",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "4",
    # A rank within the node whatever its name says: whoever takes it for the node's number hangs.
    "OMPI_COMM_WORLD_NODE_RANK": "1",
    "AZ_BATCH_MASTER_NODE": "10.0.0.6:6000",
}

# variables, (rank, world size, local rank, local size, node rank, master, source)
CASES = {
    "single": ({}, (0, 1, 0, 1, 0, f"127.0.0.1:{AZURE_PORT}", "single process")),
    "empty variables are not set": (
        {"RANK": "", "WORLD_SIZE": ""},
        (0, 1, 0, 1, 0, "127.0.0.1:6105", "single process"),
    ),
    "torch elastic": (
        {
            "TORCHELASTIC_RUN_ID": "x",
            "RANK": "3",
            "WORLD_SIZE": "4",
            "LOCAL_RANK": "1",
            "LOCAL_WORLD_SIZE": "2",
            "MASTER_ADDR": "node-0",
            "MASTER_PORT": "29400",
        },
        (3, 4, 1, 2, 1, "node-0:29400", "torch elastic"),
    ),
    "azure pytorch, node count given": (
        {
            "RANK": "3",
            "WORLD_SIZE": "4",
            "LOCAL_RANK": "1",
            "NODE_RANK": "1",
            "AZUREML_NODE_COUNT": "2",
            "MASTER_ADDR": "10.0.0.4",
            "MASTER_PORT": "6105",
        },
        (3, 4, 1, 2, 1, "10.0.0.4:6105", "torch variables"),
    ),
    "azure pytorch, node count not given": (
        {"RANK": "6", "WORLD_SIZE": "8", "LOCAL_RANK": "0", "NODE_RANK": "3", "MASTER_ADDR": "10.0.0.4"},
        (6, 8, 0, 2, 3, "10.0.0.4:6105", "torch variables"),
    ),
    "open mpi on two azure nodes": (OPEN_MPI, (5, 8, 1, 4, 1, "10.0.0.6:6000", "Open MPI")),
    "open mpi on one azure node": (
        {
            "OMPI_COMM_WORLD_RANK": "1",
            "OMPI_COMM_WORLD_SIZE": "2",
            "OMPI_COMM_WORLD_LOCAL_RANK": "1",
            "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
            "AZ_BATCHAI_MPI_MASTER_NODE": "localhost",
        },
        (1, 2, 1, 2, 0, "127.0.0.1:6105", "Open MPI"),
    ),
    "mpich": (
        {"PMI_RANK": "1", "PMI_SIZE": "2", "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "2", "MASTER_PORT": "7000"},
        (1, 2, 1, 2, 0, "127.0.0.1:7000", "PMI"),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_every_source(case):
    environment, expected = CASES[case]
    found = find_process(environment)
    master = f"{found.master_address}:{found.master_port}"
    numbers = (found.rank, found.world_size, found.local_rank, found.local_size, found.node_rank)
    assert (*numbers, master, found.source) == expected


def test_elastic_is_believed_before_mpi_and_mpi_alone_when_only_it_is_there():
    elastic = CASES["torch elastic"][0]
    assert find_process({**OPEN_MPI, **elastic}).source == "torch elastic"
    assert find_process({**OPEN_MPI, "WORLD_SIZE": "8"}).source == "Open MPI"


def test_two_mpiruns_on_one_machine_get_two_ports_and_their_ranks_one():
    one_node = {k: v for k, v in CASES["open mpi on one azure node"][0].items() if "AZ_" not in k}
    ports = {find_process({**one_node, "PMIX_NAMESPACE": name}).master_port for name in ("a@1", "b@1")}
    assert len(ports) == 2
    assert find_process({**one_node, "PMIX_NAMESPACE": "a@1", "OMPI_COMM_WORLD_RANK": "0"}).master_port in ports


def test_variables_are_torchs_names_with_the_computed_node_rank():
    variables = find_process(OPEN_MPI).variables()
    assert variables["NODE_RANK"] == "1"
    assert (variables["RANK"], variables["LOCAL_RANK"], variables["MASTER_PORT"]) == ("5", "1", "6000")
    assert Process(rank=1, world_size=2, local_size=2).node_rank == 0


@pytest.mark.parametrize(
    ("environment", "text"),
    [
        ({"RANK": "2", "WORLD_SIZE": "2"}, "RANK is '2' and WORLD_SIZE is '2'"),
        ({"RANK": "one", "WORLD_SIZE": "2"}, "RANK is 'one', not a whole number"),
        ({k: v for k, v in OPEN_MPI.items() if "AZ_" not in k}, "nor AZ_BATCH_MASTER_NODE says where rank 0 is"),
    ],
)
def test_contradictions_are_refused(environment, text):
    with pytest.raises(TrainError, match=text):
        find_process(environment)
