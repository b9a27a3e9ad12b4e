"""Runs that this machine has never seen: what their URL, their definition and the code they were sent with give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from runner import history
from runner.errors import ConfigError, TargetError
from runner.spec import Layout, Plan, Run, State
from runner.targets import azureml_remote
from runner.targets.azureml_files import PLANS, PLANS_TAG
from runner.targets.azureml_remote import layout_of, without_case
from runner.targets.azureml_workspace import Service as AnyService
from runner.verbs import remote
from tests.conftest import Cli, write
from tests.plans import make_plan

URL = "azureml://emulator/digits/digits-1"
CONFIG_JSON = '{"subscription_id": "0", "resource_group": "g", "workspace_name": "Ours"}'


@pytest.mark.parametrize(
    ("definition", "layout"),
    [
        ({}, Layout("none", 1, 1)),
        ({"framework": "Python", "communicator": "None", "nodeCount": 1}, Layout("none", 1, 1)),
        (
            {"communicator": "IntelMpi", "nodeCount": 2, "mpi": {"processCountPerNode": 3, "nodeCount": 2}},
            Layout("mpi", 2, 3),
        ),
        ({"communicator": "OpenMpi", "node_count": 2, "mpi": {"process_count_per_node": 2}}, Layout("mpi", 2, 2)),
        ({"communicator": "Mpi", "nodeCount": None, "mpi": None}, Layout("mpi", 1, 1)),
        (
            {"framework": "PyTorch", "communicator": "nccl", "nodeCount": 2, "pytorch": {"processCount": 8}},
            Layout("pytorch", 2, 4, "nccl"),
        ),
        (  # one process a node where no count is given
            {"framework": "PyTorch", "communicator": "Gloo", "nodeCount": 3, "pytorch": {"processCount": None}},
            Layout("pytorch", 3, 1, "gloo"),
        ),
    ],
)
def test_processes_are_read_from_any_runs_definition(definition: Mapping[str, Any], layout: Layout) -> None:
    assert layout_of(without_case(definition)) == layout


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("azureml://w/g/r", ("w", "g", "r")),
        ("azureml://w/g/r/", ("w", "g", "r")),
        ("azureml://my%20w/g/r-1", ("my w", "g", "r-1")),
        ("digits-1", None),
        ("local://digits-1", None),
        ("last", None),
    ],
)
def test_a_url_has_three_parts(url: str, parts: tuple[str, str, str] | None) -> None:
    assert remote.parts_of(url) == parts


@pytest.mark.parametrize("url", ["azureml://", "azureml://w", "azureml://w/g", "azureml://w/g/r/x", "azureml:////r"])
def test_what_is_no_run_says_how_one_is_written(url: str) -> None:
    with pytest.raises(TargetError, match="names no run; azureml://WORKSPACE/GROUP/RUN"):
        remote.parts_of(url)


@dataclass
class Service:
    """A target that knows one run; remembers what it was asked."""

    project: Path
    asked: list[tuple[Any, ...]] = field(default_factory=list)

    def adopt(self, settings: Mapping[str, Any], experiment: str, run_id: str) -> Run:
        self.asked.append((settings["kind"], experiment, run_id))
        plan = make_plan(self.project, run_id, target="azureml", name=experiment, workspace="emulator")
        history.store_plan(self.project, plan)
        return history.planned(plan)

    def newest(self, settings: Mapping[str, Any], count: int, experiment: str | None) -> list[Run]:
        self.asked.append((settings["kind"], count, experiment))
        states = (State.COMPLETED, State.RUNNING)
        return [
            Run(f"r{n}", f"azureml://w/e/r{n}", "e", "azureml", s, "2026-01-01T00:00:00Z") for n, s in enumerate(states)
        ]


@pytest.fixture
def service(bare: Path, monkeypatch: pytest.MonkeyPatch) -> Service:
    known = Service(bare)
    monkeypatch.setattr(remote, "remote", lambda project: known)
    return known


def test_the_workspace_is_looked_for_in_all_that_the_project_is_set_up_for(bare: Path, service: Service) -> None:
    assert remote.find_run(bare, URL).id == "digits-1"
    assert service.asked == [("emulator", "digits", "digits-1")]

    assert remote.find_run(bare, URL).url == URL  # now it is known: nobody is asked
    assert len(service.asked) == 1


def test_names_of_a_config_json_count_and_case_does_not(bare: Path, service: Service) -> None:
    write(bare, {".azureml/config.json": CONFIG_JSON})

    remote.find_run(bare, "azureml://ours/e/r")
    assert service.asked == [("azureml", "e", "r")]


def test_a_workspace_that_the_project_does_not_know_lists_what_it_knows(bare: Path, service: Service) -> None:
    with pytest.raises(TargetError) as caught:
        remote.find_run(bare, "azureml://theirs/e/r")

    said = str(caught.value)
    assert said.startswith("this project is not set up for a workspace 'theirs' (workspace=azure: no config.json from")
    assert "workspace=emulator is 'emulator'" in said
    assert said.endswith("put its config.json into the project, or write configs/workspace/NAME.yaml")


def test_a_project_that_does_not_compose_says_so(bare: Path, service: Service) -> None:
    write(bare, {"configs/config.yaml": "defaults: [workspace: gone]\n"})
    with pytest.raises(ConfigError):
        remote.find_run(bare, URL)


def test_the_same_id_of_another_workspace_is_no_answer(bare: Path, service: Service) -> None:
    remote.find_run(bare, URL)
    with pytest.raises(TargetError, match=f"the run 'digits-1' of this project is {URL}; look at"):
        remote.find_run(bare, "azureml://other/digits/digits-1")


def test_list_remote_asks_the_service_and_stores_nothing(bare: Path, cli: Cli, service: Service) -> None:
    done = cli(bare, "list", "--remote", "workspace=emulator", "-n", "3", "--experiment", "e", "--state", "running")

    assert (done.code, service.asked) == (0, [("emulator", 3, "e")])
    assert [line.split()[:2] for line in done.out.splitlines()] == [["RUN", "STATE"], ["r1", "running"]]
    assert history.run_ids(bare) == []


def test_overrides_of_list_are_for_remote(bare: Path, cli: Cli) -> None:
    done = cli(bare, "list", "workspace=emulator")
    assert (done.code, done.err) == (
        4,
        "amlrun: 'workspace=emulator' chooses the workspace of --remote; leave it out, or add --remote\n",
    )


def test_a_run_that_is_not_ours_is_not_run_again(bare: Path, cli: Cli, service: Service) -> None:
    for verb in ("rerun", "resume"):
        done = cli(bare, verb, URL)
        assert done.code == 4
        assert "digits-1 was not submitted by amlrun; it can be looked at, not run again" in done.err


def test_the_plan_of_a_stored_run_has_its_workspace() -> None:
    plan: Plan = make_plan(Path("/p"), "r", target="azureml", workspace="w", name="g")
    assert remote.parts_of(plan.url) == ("w", "g", "r")


@dataclass
class Kept:
    """The SDK's Run, as far as what was left with it goes."""

    files: dict[str, bytes] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def upload_file(self, name: str, stream: Any) -> None:
        self.files[name] = stream.read()

    def get_file_names(self) -> list[str]:
        return list(self.files)

    def get_tags(self) -> dict[str, str]:
        return self.tags

    def download_file(self, name: str, path: str) -> None:
        Path(path).write_bytes(self.files[name])


def test_the_plans_of_a_sweep_are_found_with_its_first_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plans = [make_plan(tmp_path, f"r-{number}", arguments=("\udce9",), target="azureml") for number in range(3)]
    runs = {plan.id: Kept(tags={PLANS_TAG: "r-0"} if plan.id != "r-0" else {}) for plan in plans}
    runs["foreign"] = Kept()
    monkeypatch.setattr(azureml_remote, "run_of", lambda service, run_id: runs[run_id])
    assert azureml_remote.publish(plans, runs["r-0"]) == ""

    service = AnyService(None, 0.0)
    found = [azureml_remote.published(service, plan.id) for plan in plans]
    assert found == [replace(plan, project=".") for plan in plans]
    assert azureml_remote.published(service, "foreign") is None
    runs["r-0"].files[PLANS] = b"{"
    with pytest.raises(TargetError, match="the plan of run 'r-2' cannot be read; another version wrote it"):
        azureml_remote.published(service, "r-2")
