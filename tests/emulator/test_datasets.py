"""Registered datasets, and what a run reads of them and of datastores on its node."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from runner.emulator import inputs
from runner.emulator.messages import ServiceError
from tests.emulator.bodies import DATASETS, SUBMIT, dataset_body
from tests.emulator.conftest import WS, Client, configuration

SAVED = f"/dataset/v1.0{WS}/saveddatasets"
FILES = {"raw/a.txt": b"one", "raw/deep/b b.txt": b"two", "raw-of-others/c.txt": b"three"}
RAW = {"dataStoreName": "workspaceblobstore", "pathOnDataStore": "raw", "mode": "mount"}


@pytest.fixture
def filled(client: Client) -> Client:
    client.cluster()
    client.snapshot({"train.py": b"print()"})
    section = client.ask("GET", f"/datastore/v1.0{WS}/default")["azureStorageSection"]
    for name, content in FILES.items():
        address = f"https://x/{section['containerName']}/{name.replace(' ', '%20')}?{section['sasToken']}"
        assert client.signed("PUT", address.replace("%20", " "), content, x_ms_blob_type="BlockBlob").status == 201
    return client


def register(client: Client, path: str = "raw", version: bool = False, expect: int = 200) -> Any:
    again = {"updateDefinitionIfExists": "true"} if version else {}
    return client.ask("POST", DATASETS, dataset_body(path), expect, **again)


def test_versions_and_what_each_reads(client: Client) -> None:
    assert register(client)["latest"]["versionId"] == "1"
    assert "already exists" in register(client, expect=409)["error"]["message"]
    second = register(client, "raw/deep/**", version=True)
    assert (second["latest"]["versionId"], second["tags"]) == ("2", {"a": "b"})

    by_name = f"{DATASETS}/query/name=birds"
    assert client.ask("GET", by_name) == second
    assert client.ask("GET", by_name, versionId="1")["latest"]["versionId"] == "1"
    client.refused("GET", by_name, expect=404, versionId="3")
    assert client.ask("GET", DATASETS)["value"] == [second]
    saved = second["latest"]["savedDatasetId"]
    assert client.ask("GET", f"{DATASETS}/query/savedDatasetId={saved}")["value"] == [second]
    flow = client.ask("GET", f"/data/v1.0{WS}/dataversion/unregistered-{saved}/versions/1")["legacyDataflow"]
    assert "workspaceblobstore/paths/raw/deep/**" in flow
    client.ask("DELETE", f"{DATASETS}/birds")
    client.refused("GET", by_name, expect=404)


def flow(**parts: Any) -> str:
    return json.dumps({"blocks": [], "meta": {"RsDataflow": json.dumps(parts)}})


@pytest.mark.parametrize(
    ("written", "status"),
    [
        ("", 400),
        ("no json", 400),
        ("[]", 400),
        ('{"meta": {}}', 400),
        (flow(paths=[]), 400),
        (flow(paths=[{"pattern": "https://x/y.zip"}]), 400),
        (flow(paths=[{"pattern": "azureml://datastores/workspaceblobstore/paths/*.csv"}]), 400),
        (flow(paths=[{"pattern": "azureml://datastores/workspaceblobstore/paths/a"}], transformations=["x"]), 400),
        (flow(paths=[{"pattern": "azureml://datastores/nowhere/paths/a"}]), 404),
    ],
)
def test_a_dataflow_that_is_more_than_a_path_is_refused(written: str, status: int, client: Client) -> None:
    body = {"datasetType": "file", "dataflowJson": written, "properties": {}}
    client.refused("POST", SAVED, body, status)


def kept(client: Client, **more: Any) -> dict[str, Any]:
    """The configuration of a run that was submitted."""
    client.submit("r1", configuration(**more))
    found: dict[str, Any] = client.run("r1")["runDefinition"]
    return found


def data(mechanism: str = "download", **dataset: Any) -> dict[str, Any]:
    return {"dataLocation": {"dataset": dataset}, "mechanism": mechanism, "environmentVariableName": "AMLRUN_INPUT_b"}


def below(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_input_is_staged_and_told(filled: Client, tmp_path: Path) -> None:
    register(filled, "raw/deep")
    whole = {"a": RAW, "one": {**RAW, "pathOnDataStore": "raw/a.txt"}}
    asked = {"AMLRUN_INPUT_a": "$AZUREML_DATAREFERENCE_a", "OTHER": "x $AZUREML_DATAREFERENCE_a"}
    found = kept(
        filled, dataReferences=whole, data={"b": data(name="birds", version="latest")}, environmentVariables=asked
    )
    place = tmp_path / "data"
    for _ in range(2):  # the second time as after a preemption
        inputs.stage(filled.service, found, place)

    assert below(place / "a") == {"a.txt": b"one", "deep/b b.txt": b"two"}
    assert below(place / "b") == {"b b.txt": b"two"}
    told = inputs.variables(filled.service, found, place)
    assert told["AZUREML_DATAREFERENCE_a"] == told["AMLRUN_INPUT_a"] == str(place / "a")
    assert told["AZUREML_DATAREFERENCE_one"] == str(place / "one" / "a.txt")
    assert told["AMLRUN_INPUT_b"] == told["AZUREML_DATAREFERENCE_AMLRUN_INPUT_b"] == str(place / "b")
    assert "OTHER" not in told
    line = ["DatasetConsumptionConfig:b", "DatasetConsumptionConfig:bc", "$AZUREML_DATAREFERENCE_a"]
    assert inputs.worded(line, found) == ["${AMLRUN_INPUT_b}", line[1], "${AZUREML_DATAREFERENCE_a}"]
    inputs.remove(place)
    assert not place.exists()


@pytest.mark.parametrize(("mode", "writable"), [("mount", False), ("download", True)])
def test_a_mount_is_not_to_be_written_to(mode: str, writable: bool, filled: Client, tmp_path: Path) -> None:
    inputs.stage(filled.service, kept(filled, dataReferences={"a": {**RAW, "mode": mode}}), tmp_path / "data")
    for path in (tmp_path / "data" / "a", tmp_path / "data" / "a" / "deep" / "b b.txt"):
        assert bool(path.stat().st_mode & stat.S_IWUSR) is writable
    inputs.remove(tmp_path / "data")


def test_nothing_at_a_path_is_said_when_the_run_would_start(filled: Client, tmp_path: Path) -> None:
    found = kept(filled, dataReferences={"a": {**RAW, "pathOnDataStore": "ra"}})
    with pytest.raises(ServiceError, match="datastore 'workspaceblobstore' has nothing at 'ra', which is input 'a'"):
        inputs.stage(filled.service, found, tmp_path / "data")


@pytest.mark.parametrize(
    ("more", "status", "words"),
    [
        ({"dataReferences": {"a": {**RAW, "dataStoreName": "nowhere"}}}, 404, "datastore 'nowhere' does not exist"),
        ({"dataReferences": {"a": {**RAW, "mode": "upload"}}}, 400, "input 'a' has mode 'upload'"),
        ({"dataReferences": {"a": {**RAW, "pathOnDataStore": "a/../b"}}}, 400, "path 'a/../b' of input 'a' is invalid"),
        ({"dataReferences": {"a": {**RAW, "pathOnCompute": "/x"}}}, 400, "asks for a place of its own"),
        ({"dataReferences": {"../a": RAW}}, 400, "input name '../a' is invalid"),
        ({"dataReferences": {"a": {**RAW, "datastore": "x"}}}, 400, "unknown field 'datastore'"),
        ({"data": {"b": data(name="cats")}}, 404, "dataset 'cats' does not exist"),
        ({"data": {"b": data(id="x")}}, 404, "saved dataset 'x' does not exist"),
        ({"data": {"b": data("direct", name="birds")}}, 400, "input 'b' has mode 'direct'"),
        ({"data": {"b": {"dataLocation": {"uri": {"path": "x"}}}}}, 400, "names no dataset"),
        ({"data": {"b": data(name="birds")}, "dataReferences": {"b": RAW}}, 400, "both a data reference and a dataset"),
    ],
)
def test_what_a_submission_may_not_ask_for(more: dict[str, Any], status: int, words: str, filled: Client) -> None:
    register(filled)
    body = {"Configuration": configuration(**more), "SnapshotId": "s1"}
    assert words in filled.refused("POST", SUBMIT, body, status)
