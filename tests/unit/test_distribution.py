"""The argument lists that start each kind of layout."""

from __future__ import annotations

import sys
from pathlib import Path
from string import Template

import pytest

from runner import distribution
from runner.distribution import ANY_PORT, DISTRIBUTIONS, launchers, own_environment
from runner.spec import Layout

RUN = Path("/project/.runs/x")
WRAPPER = (sys.executable, "-S", "-E", str(distribution.RANK_PROCESS), "/project/.runs/x")


def test_one_process_has_no_launcher() -> None:
    [launcher] = launchers(Layout("none", 1, 1), ["python", "a.py"], RUN, "python")

    assert launcher.argv == (*WRAPPER, "--", "python", "a.py")
    assert launcher.environment == {}


def test_torch_elastic_on_one_node_finds_a_port_by_itself() -> None:
    [launcher] = launchers(Layout("pytorch", 1, 2), ["python", "a.py"], RUN, "/venv/python", "29000")

    assert " ".join(launcher.argv) == (
        "/venv/python -m torch.distributed.run --nnodes 1 --nproc-per-node 2 --max-restarts 0 --rdzv-backend c10d "
        "--rdzv-endpoint 127.0.0.1:0 --rdzv-id amlrun --local-addr 127.0.0.1 --no-python "
        + " ".join(WRAPPER)
        + " -- python a.py"
    )


def test_several_nodes_are_several_agents_at_one_port() -> None:
    agents = launchers(Layout("pytorch", 3, 2), ["a"], RUN, "python", "29000")

    assert [agent.node for agent in agents] == [0, 1, 2]
    assert len({agent.argv for agent in agents}) == 1
    assert "--nnodes 3 --nproc-per-node 2" in " ".join(agents[0].argv)
    assert "127.0.0.1:29000" in agents[0].argv


def test_mpi_is_one_launcher_that_tells_the_ranks_how_many_make_a_node() -> None:
    [single] = launchers(Layout("mpi", 1, 4), ["a"], RUN, "python", "29000")
    [several] = launchers(Layout("mpi", 2, 4), ["a"], RUN, "python", "29000")

    assert single.argv == ("mpirun", "-n", "4", *WRAPPER, "--", "a")
    assert several.argv == ("mpirun", "-n", "8", *WRAPPER, "4", "--", "a")
    assert several.environment["MASTER_ADDR"] == "127.0.0.1"
    assert several.environment["MASTER_PORT"] == "29000"
    assert several.environment["OMPI_ALLOW_RUN_AS_ROOT"] == "1"


def test_a_plan_names_no_port() -> None:
    [launcher] = launchers(Layout("mpi", 1, 2), ["a"], RUN, "python")

    assert launcher.environment["MASTER_PORT"] == ANY_PORT


@pytest.mark.parametrize("kind", DISTRIBUTIONS)
def test_user_arguments_are_never_read_by_a_launcher(kind: str) -> None:
    [launcher] = launchers(Layout(kind, 1, 1), ["a", "--n", "--nnodes=9", "-c", "--"], RUN, "python")

    assert launcher.argv[-6:] == ("--", "a", "--n", "--nnodes=9", "-c", "--")


def test_variables_of_a_launcher_above_us_are_dropped_and_settings_kept() -> None:
    foreign = {
        "RANK": "1",
        "LOCAL_RANK": "1",
        "MASTER_ADDR": "far",
        "OMPI_COMM_WORLD_RANK": "1",
        "PMIX_RANK": "1",
        "PMI_SIZE": "2",
        "TORCHELASTIC_RUN_ID": "x",
        "MPI_LOCALRANKID": "0",
    }
    settings = {"OMPI_MCA_btl": "self", "TORCH_LOGS": "x", "RANKING": "y", "OMP_NUM_THREADS": "2"}

    assert own_environment({**foreign, **settings}) == settings


def test_torch_elastic_gets_every_dollar_twice_as_it_fills_in_templates() -> None:
    [launcher] = launchers(Layout("pytorch", 1, 2), ["python", "a.py", "$local_rank", "$$", "${HOME}"], RUN, "python")

    assert launcher.argv[-3:] == ("$$local_rank", "$$$$", "$${HOME}")
    assert [Template(word).safe_substitute(local_rank="0") for word in launcher.argv[-3:]] == [
        "$local_rank",
        "$$",
        "${HOME}",
    ]
