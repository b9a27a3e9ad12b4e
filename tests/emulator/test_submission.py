"""Snapshots and submission: what arrives, what is refused, and that twice is once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runner.emulator import snapshots
from tests.emulator.conftest import WS, Client, configuration, tree

CONTENT = f"/content/v2.0{WS}/snapshots"


@pytest.fixture(autouse=True)
def ready(client: Client) -> None:
    client.cluster("gpu", 4)
    client.snapshot({"train.py": b"print('hi')", "pkg/a b.py": b"x = 1"})


def staged(client: Client, identifier: str, folder: Path) -> dict[str, bytes]:
    snapshots.stage(client.service, identifier, folder)
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_snapshot_is_what_was_sent(client: Client, tmp_path: Path) -> None:
    assert staged(client, "s1", tmp_path / "s") == {"train.py": b"print('hi')", "pkg/a b.py": b"x = 1"}
    assert client.ask("GET", f"{CONTENT}/s1/metadata")["files"] == ["pkg/a b.py", "train.py"]


def test_unchanged_files_come_from_the_parent_and_removed_ones_do_not(client: Client, tmp_path: Path) -> None:
    (node,) = client.ask("POST", f"{CONTENT}/getblob", {"FileNames": ["new.py"]})["fileNodes"]
    client.signed("PUT", node["blobUri"], b"new")
    files = [{"FullName": "new.py", "BlobUri": node["blobUri"], "FileSize": 3}]
    body = {
        "ParentSnapshotId": "s1",
        "DirTreeNode": tree(["train.py", "new.py"]),
        "FileRevisionList": {"FileNodes": files},
    }
    client.ask("POST", f"{CONTENT}/s2", body)
    assert staged(client, "s2", tmp_path / "s") == {"train.py": b"print('hi')", "new.py": b"new"}


def test_an_unknown_parent_is_refused_so_that_the_client_sends_all(client: Client) -> None:
    body = {"ParentSnapshotId": "dead", "DirTreeNode": tree(["train.py"]), "FileRevisionList": {"FileNodes": []}}
    assert "parent snapshot 'dead' does not exist" in client.refused("POST", f"{CONTENT}/s2", body)


def test_bytes_that_did_not_arrive(client: Client) -> None:
    body: dict[str, Any] = {
        "ParentSnapshotId": None,
        "DirTreeNode": tree(["a.py"]),
        "FileRevisionList": {"FileNodes": []},
    }
    assert "was never sent" in client.refused("POST", f"{CONTENT}/s2", body)
    (node,) = client.ask("POST", f"{CONTENT}/getblob", {"FileNames": ["a.py"]})["fileNodes"]
    file = {"FullName": "a.py", "BlobUri": node["blobUri"], "FileSize": 3}
    body["FileRevisionList"] = {"FileNodes": [file]}
    assert "did not arrive" in client.refused("POST", f"{CONTENT}/s2", body)
    client.signed("PUT", node["blobUri"], b"12")
    assert "did not arrive" in client.refused("POST", f"{CONTENT}/s2", body)
    client.signed("PUT", node["blobUri"], b"123")
    client.ask("POST", f"{CONTENT}/s2", body)


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../b", ""])
def test_names_that_lead_out(name: str, client: Client) -> None:
    assert "leads out" in client.refused("POST", f"{CONTENT}/getblob", {"FileNames": [name]})


def test_a_zip_of_all(client: Client, tmp_path: Path) -> None:
    import zipfile

    answer = client.ask("POST", f"{CONTENT}/s1/zip")
    response = client.signed("GET", answer["zipSasUri"])
    with zipfile.ZipFile(response.body) as bundle:
        assert sorted(bundle.namelist()) == ["pkg/a b.py", "train.py"]
    client.refused("POST", f"{CONTENT}/none/zip", expect=404)


def test_a_run_is_made_and_handed_on(client: Client) -> None:
    assert client.submit("r1", configuration()) == {"runId": "r1"}
    run = client.run("r1")
    assert (run["status"], run["target"], run["runType"]) == ("NotStarted", "gpu", "azureml.scriptrun")
    assert run["properties"]["ContentSnapshotId"] == "s1"
    assert run["runDefinition"]["script"] == "train.py"
    assert client.engine.submitted == ["r1"]


def test_the_same_id_again_is_the_same_run(client: Client) -> None:
    for _ in range(3):
        assert client.submit("r1", configuration()) == {"runId": "r1"}
    assert client.engine.submitted == ["r1"]


def test_keys_may_be_written_in_any_case(client: Client) -> None:
    body = {"configuration": configuration(), "snapshotId": "s1"}
    client.ask("POST", f"/execution/v1.0{WS}/experiments/exp/snapshotrun", body, runId="r1")
    assert client.engine.submitted == ["r1"]


def test_without_an_id_one_is_made(client: Client) -> None:
    body = {"Configuration": configuration(), "SnapshotId": "s1"}
    answer = client.ask("POST", f"/execution/v1.0{WS}/experiments/exp/snapshotrun", body)
    assert answer["runId"].startswith("exp_")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"target": "other"}, "compute target 'other' does not exist"),
        ({"target": "local"}, "compute target 'local' does not exist"),
        ({"nodecounts": 1}, "unknown field 'nodecounts'; did you mean 'nodeCount'?"),
        ({"communicator": "IntelMpi", "nodeCount": 5}, "needs 5 nodes, and compute 'gpu' has at most 4"),
        ({"framework": "PyTorch", "communicator": "nccl", "nodeCount": 2, "pytorch": {"processCount": 3}}, "divide"),
        ({"script": None}, "a script or a command"),
        ({"command": "python train.py"}, "a script or a command"),
        ({"arguments": [None]}, "argument 'None' is neither text nor a number"),
        ({"arguments": [["a"]]}, "neither text nor a number"),
        ({"maxRunDurationSeconds": -5}, "must be a whole number of at least 1"),
        ({"maxRunDurationSeconds": 99999999}, "is more than"),
        ({"environment": {"name": "env", "version": "9"}}, "environment 'env' does not exist"),
        ({"environment": {"name": "AzureML-none", "version": None}}, "environment 'AzureML-none' does not exist"),
        ({"environment": {}}, "the run has no environment"),
        ({"outputData": {"photos": {}}}, "'outputData' is not supported"),
    ],
)
def test_what_azure_refuses(more: dict[str, Any], words: str, client: Client) -> None:
    answer = client.submit("r1", configuration(**more), expect=400)
    assert words in answer["error"]["message"]
    assert client.engine.submitted == []
    client.refused("GET", f"/history/v1.0{WS}/runs/r1", expect=404)


def test_an_unknown_snapshot(client: Client) -> None:
    answer = client.submit("r1", configuration(), expect=400, snapshot="none")
    assert "snapshot 'none' does not exist" in answer["error"]["message"]


def test_an_unregistered_environment_is_registered_once(client: Client) -> None:
    for run_id in ("r1", "r2"):
        client.submit(run_id, configuration())
    assert [client.run(run_id)["runDefinition"]["environment"]["version"] for run_id in ("r1", "r2")] == ["1", "1"]
    other = {"name": "env", "version": None, "docker": {"baseImage": "another"}}
    client.submit("r3", configuration(environment=other))
    assert client.run("r3")["runDefinition"]["environment"]["version"] == "2"


def test_a_curated_environment(client: Client) -> None:
    name = "AzureML-acpt-pytorch-2.8-cuda12.6"
    client.submit("r1", configuration(environment={"name": name, "version": "17"}))
    assert client.run("r1")["runDefinition"]["environment"]["docker"]["baseImage"].endswith(":17")


def test_a_child_of_a_run(client: Client) -> None:
    client.submit("r1", configuration())
    body = {"Configuration": configuration(), "SnapshotId": "s1", "ParentRunId": "r1"}
    client.ask("POST", f"/execution/v1.0{WS}/experiments/exp/snapshotrun", body, runId="r2")
    assert client.run("r2")["rootRunId"] == "r1"
