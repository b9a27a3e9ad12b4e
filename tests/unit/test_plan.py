"""plan: autos, layouts, command lines, environments in words. What a whole plan looks like is in tests/golden."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runner.plan import ENTRY, PACKAGED_CONFIGS, Facts, generated_files, plan, safe_name, snapshot_key
from runner.snapshot import Snapshot
from runner.spec import Code, Config, Distribution, GitState, Job, Machine, Plan, digest, training_digest

ROOT = Path("/project")
VALUES = {"name": "digits", "seed": 1, "data": {"size": 8}, "compute": {"kind": "local"}}
CODE = Code("script", ROOT, "main.py", ("--lr", "0.1"))
JOB = Job(
    config=Config(ROOT, VALUES, overrides=("seed=1",), frozen=("++tags.now='1'",)),
    name="digits",
    seed=1,
    tags={},
    target="local",
    compute={"kind": "local"},
    env={"kind": "auto", "conda_file": "conda.yml", "image": "auto", "variables": {"A": 1}, "secrets": ["TOKEN"]},
    workspace={},
    distribution=Distribution("none"),
    code=CODE,
    inputs={},
    limits={"max_minutes": None},
)
AUTO = Distribution("pytorch", 2, "auto", "auto")


def planned(job: Job, gpus: int = 0, git: GitState | None = None) -> Plan:
    taken = Snapshot(job.code.root, (), {}, (), (), "d" * 64)
    facts = Facts(
        Machine(gpus, 2), "/py", "2026-01-01", lambda: "x" * 8, git or GitState(), {snapshot_key(job.code): taken}
    )
    return plan([job], facts)[0]


def on(size: str | None, **changes: Any) -> Job:
    compute = {"kind": "amlcompute", "name": "c", "vm_size": size}
    return replace(JOB, target="azureml", compute=compute, distribution=AUTO, **changes)


@pytest.mark.parametrize(
    ("job", "gpus", "per_node", "backend"),
    [
        (replace(JOB, distribution=AUTO), 0, 1, "gloo"),
        (replace(JOB, distribution=AUTO), 4, 4, "nccl"),
        (on("Standard_DS3_v2"), 9, 1, "gloo"),
        (on("Standard_NC96ads_A100_v4"), 0, 4, "nccl"),
        (on("standard_nc96ads_a100_v4"), 0, 4, "nccl"),
        (on("Standard_NV6ads_A10_v5"), 0, 1, "nccl"),
        (on("Standard_Unknown"), 0, 1, "gloo"),
        (on(None), 0, 1, "gloo"),
    ],
)
def test_autos(job: Job, gpus: int, per_node: int, backend: str) -> None:
    made = planned(job, gpus)
    assert (made.layout.processes_per_node, made.layout.backend) == (per_node, backend)
    assert made.resolved["distribution.processes_per_node"].startswith(f"{per_node} (")
    assert made.layout.world_size == 2 * per_node


def test_what_is_said_is_not_decided_again() -> None:
    made = planned(replace(JOB, distribution=Distribution("mpi", 2, 3, "gloo", "horovod")), gpus=8)
    assert (made.layout.processes_per_node, made.layout.backend, made.layout.engine) == (3, "gloo", "horovod")
    assert list(made.resolved) == ["env"]
    assert made.layout.ranks()[4] == {"rank": 4, "node": 1, "local_rank": 1}


def test_a_run_here_says_that_it_registers_nothing() -> None:
    asked = {"name": "digits", "path": "outputs/model.pt"}
    said = "nothing: runs here have no registry, outputs/model.pt stays with the run"
    assert planned(replace(JOB, register=asked)).resolved["register"] == said
    assert "register" not in planned(on("Standard_DS3_v2", register=asked)).resolved
    assert "register" not in planned(JOB).resolved


def test_a_module_travels_as_one_word() -> None:
    made = planned(replace(JOB, code=Code("module", ROOT, "train")))
    assert made.script == ENTRY
    flag, word = made.arguments
    assert flag == "--amlrun"
    assert word.isascii()
    assert not set(word) & set("=$' \"\\")
    assert json.loads(base64.urlsafe_b64decode(word + "==")) == {
        "overrides": ["seed=1", "++tags.now='1'"],
        "training_digest": training_digest(VALUES, 1),
        "run_id": made.id,
    }


def test_scripts_and_commands() -> None:
    assert (planned(JOB).script, planned(JOB).arguments, planned(JOB).command) == ("main.py", ("--lr", "0.1"), ())
    one = planned(replace(JOB, code=Code("command", ROOT, ("./train me.sh",))))
    assert (one.command, one.shell) == (("./train me.sh",), "")
    words = planned(replace(JOB, code=Code("command", ROOT, ("python", "-m", "x"), ("a b",))))
    assert (words.script, words.command) == (None, ("python", "-m", "x", "a b"))
    line = planned(replace(JOB, code=Code("command", ROOT, "echo $HOME &&", ("a b",))))
    assert (line.command, line.shell) == ((), "echo $HOME && 'a b'")


def test_digests_and_ids() -> None:
    made = planned(JOB)
    assert made.digests == {"config": digest(VALUES), "training": training_digest(VALUES, 1)}
    assert made.id == f"digits-{digest(VALUES)[:8]}-xxxxxxxx"
    assert made.url == f"local://{made.id}"


def test_world_size_is_part_of_the_training_digest_and_the_place_is_not() -> None:
    elsewhere = {**VALUES, "compute": {"kind": "amlcompute"}, "tags": {"a": "b"}}
    assert training_digest(VALUES, 2) == training_digest(elsewhere, 2) != training_digest(VALUES, 1)
    assert training_digest({**VALUES, "seed": 2}, 2) != training_digest(VALUES, 2)


def test_secrets_are_names_only_and_variables_are_text() -> None:
    made = planned(JOB)
    assert (made.secrets, made.environment) == (("TOKEN",), {"A": "1"})


def test_tags_hold_what_azure_can_hold() -> None:
    git = GitState("c" * 40, "main", ("M a",))
    config = replace(JOB.config, overrides=("x" * 3000,))
    tags = planned(replace(JOB, config=config, tags={"team": "vision", "git.branch": "mine"}), git=git).tags
    assert max(map(len, tags.values())) == 1000
    assert tags["git.commit"] == "c" * 40
    assert tags["git.dirty"] == "1"
    assert (tags["team"], tags["git.branch"]) == ("vision", "mine")


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"kind": "curated", "name": "AzureML-x", "version": "3"}, "curated AzureML-x:3"),
        ({"kind": "image", "image": "me/it:1"}, "image me/it:1"),
        ({"kind": "dockerfile", "dockerfile": "D"}, "built from D"),
        ({"kind": "clone", "clone_of": "A", "version": "1", "pip": ["b==1"]}, "A:1 plus b==1"),
        ({"kind": "conda", "conda_file": "c.yml", "image": "i:1"}, "c.yml on i:1"),
    ],
)
def test_environment_in_words(env: dict[str, Any], words: str) -> None:
    assert planned(on("Standard_DS3_v2", env=env)).resolved["env"] == words
    assert (
        planned(replace(JOB, env=env)).resolved["env"]
        == f"this interpreter (/py); env.kind {env['kind']} holds on Azure only"
    )


def test_base_image_follows_the_gpus() -> None:
    assert "cuda" in planned(on("Standard_NC4as_T4_v3")).resolved["env"]
    assert "cuda" not in planned(on("Standard_DS3_v2")).resolved["env"]


@pytest.mark.parametrize(
    ("name", "safe"), [("a b/ü", "a-b"), ("", "run"), ("-x.", "x"), ("ok_1.2-3", "ok_1.2-3"), ("n" * 300, "n" * 180)]
)
def test_safe_name(name: str, safe: str) -> None:
    assert safe_name(name) == safe


def test_a_module_brings_the_configs_that_its_root_lacks(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/config.yaml").write_text("mine: 1\n")
    at_root = generated_files(Code("module", tmp_path, "train"), tmp_path)
    assert f"{PACKAGED_CONFIGS}/optimizer/sgd.yaml" in at_root
    assert f"{PACKAGED_CONFIGS}/config.yaml" not in at_root
    assert "configs/config.yaml" not in at_root
    below = generated_files(Code("module", tmp_path / "src", "train"), tmp_path)
    assert below["configs/config.yaml"] == "mine: 1\n"
    assert generated_files(Code("script", tmp_path, "main.py"), tmp_path) == {}
