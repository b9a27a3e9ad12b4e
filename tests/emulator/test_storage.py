"""Blobs, artifacts, datastores, metrics, models, key vault."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import Any

import pytest

from runner.emulator import artifacts
from runner.emulator.messages import Request
from runner.emulator.routes import dispatch
from tests.emulator.conftest import HISTORY, WS, Client

ARTIFACTS = f"/artifact/v2.0{WS}/artifacts"
HERE = "ExperimentRun/dcid.r1"
METRICS = f"/metric/v2.0{WS}/runs/r1"
REGISTRY = f"/modelmanagement/v1.0{WS}"


@pytest.fixture(autouse=True)
def run(client: Client) -> None:
    client.ask("POST", f"{HISTORY}/experiments/exp")
    client.ask("PATCH", f"{HISTORY}/experiments/exp/runs/r1", {"runId": "r1"})


def upload(client: Client, path: str, content: bytes) -> str:
    body = {"paths": [{"path": path}]}
    answer = client.ask("POST", f"{ARTIFACTS}/batch/metadata/{HERE}", body)
    uri = answer["artifactContentInformation"][path]["contentUri"]
    assert client.signed("PUT", uri, content, x_ms_blob_type="BlockBlob").status == 201
    return str(uri)


def download(client: Client, uri: str, **headers: str) -> bytes:
    response = client.signed("GET", uri, **headers)
    content = response.content()
    data = content if isinstance(content, bytes) else content.read_bytes()
    return data[response.first :][: response.length]


def test_an_artifact_goes_and_comes(client: Client) -> None:
    upload(client, "outputs/a b é.txt", b"hello")
    (listed,) = client.ask("GET", f"{ARTIFACTS}/{HERE}")["value"]
    assert (listed["path"], listed["artifactId"]) == ("outputs/a b é.txt", f"{HERE}/outputs/a b é.txt")
    found = client.ask("GET", f"{ARTIFACTS}/contentinfo/{HERE}/outputs/a%20b%20%C3%A9.txt")
    assert download(client, found["contentUri"]) == b"hello"
    assert re.fullmatch(
        r"https://emulator\.blob\.emu@127\.0\.0\.1:1/azureml-artifacts/[0-9a-f]{32}\?.*", found["contentUri"]
    )
    below = client.ask("GET", f"{ARTIFACTS}/prefix/contentinfo/{HERE}/outputs/")["value"]
    assert [item["path"] for item in below] == ["outputs/a b é.txt"]
    assert client.ask("GET", f"{ARTIFACTS}/prefix/contentinfo/{HERE}/logs/")["value"] == []
    assert client.ask("GET", f"{ARTIFACTS}/metadata/{HERE}/outputs/a%20b%20%C3%A9.txt")["path"] == "outputs/a b é.txt"
    some = client.ask("POST", f"{ARTIFACTS}/batch/contentinfo/{HERE}", {"paths": [{"path": "outputs/a b é.txt"}]})
    assert list(some["artifactContentInformation"]) == ["outputs/a b é.txt"]


def test_what_was_never_sent_is_not_there(client: Client) -> None:
    client.ask("POST", f"{ARTIFACTS}/batch/metadata/{HERE}", {"paths": [{"path": "x"}]})
    assert client.ask("GET", f"{ARTIFACTS}/{HERE}")["value"] == []
    client.refused("GET", f"{ARTIFACTS}/contentinfo/{HERE}/x", expect=404)


def test_an_artifact_is_written_once(client: Client) -> None:
    upload(client, "x", b"1")
    answer = client.ask("POST", f"{ARTIFACTS}/batch/metadata/{HERE}", {"paths": [{"path": "x"}, {"path": "y"}]})
    assert list(answer["artifacts"]) == ["y"]
    assert "already exists" in answer["errors"]["x"]["error"]["message"]


@pytest.mark.parametrize("path", ["../x", "a/../../x", "", None, "a\0b"])
def test_paths_that_lead_elsewhere(path: Any, client: Client) -> None:
    client.refused("POST", f"{ARTIFACTS}/batch/metadata/{HERE}", {"paths": [{"path": path}]})


def test_a_file_of_ours_becomes_an_artifact_and_grows(client: Client) -> None:
    log = client.service.store.folder / "log.txt"
    log.write_bytes(b"one")
    for _ in range(2):
        artifacts.attach(client.service, "dcid.r1", "user_logs/std_log.txt", log)
    logs = client.ask("GET", f"{HISTORY}/experiments/exp/runs/r1/details")["logFiles"]
    log.write_bytes(b"one two")
    assert download(client, logs["user_logs/std_log.txt"]) == b"one two"
    assert len(client.ask("GET", f"{ARTIFACTS}/{HERE}")["value"]) == 1


def test_parts_of_a_blob(client: Client) -> None:
    uri = upload(client, "x", b"0123456789")
    for asked, status, part, where in (
        ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
        ("bytes=8-", 206, b"89", "bytes 8-9/10"),
        ("bytes=0-99", 206, b"0123456789", "bytes 0-9/10"),
    ):
        response = client.signed("GET", uri, range=asked)
        assert (response.status, response.headers["Content-Range"]) == (status, where)
        assert download(client, uri, range=asked) == part
        assert download(client, uri, x_ms_range=asked) == part
    assert client.signed("GET", uri, range="bytes=10-").status == 416


def test_damaged_bytes_are_refused(client: Client) -> None:
    uri = upload(client, "x", b"1")
    right = base64.b64encode(hashlib.md5(b"2").digest()).decode()
    assert client.signed("PUT", uri, b"2", content_md5=right).status == 201
    assert client.signed("PUT", uri, b"3", content_md5=right).status == 400
    head = client.signed("HEAD", uri)
    assert (head.headers["Content-MD5"], download(client, uri)) == (right, b"2")


def test_blocks(client: Client) -> None:
    uri = upload(client, "big", b"")
    for name, part in (("b", b"two"), ("a", b"one ")):
        assert client.signed("PUT", uri, part, {"comp": "block", "blockid": name}).status == 201
    order = b"<BlockList><Latest>a</Latest><Uncommitted>b</Uncommitted></BlockList>"
    assert client.signed("PUT", uri, order, {"comp": "blocklist"}).status == 201
    assert download(client, uri) == b"one two"
    assert client.signed("PUT", uri, order, {"comp": "blocklist"}).status == 400


def test_append(client: Client) -> None:
    uri = upload(client, "log", b"")
    for part in (b"one ", b"two"):
        assert client.signed("PUT", uri, part, {"comp": "appendblock"}).status == 201
    assert download(client, uri) == b"one two"
    nowhere = client.service.blob_address("/azureml-artifacts/none", "rw")
    assert client.signed("PUT", nowhere, b"x", {"comp": "appendblock"}).status == 404


def test_other_verbs(client: Client) -> None:
    uri = upload(client, "x", b"1")
    assert client.signed("PUT", uri, b"", {"comp": "metadata"}).status == 200
    assert client.signed("PUT", uri, b"", {"comp": "lease"}).status == 501
    assert client.signed("DELETE", client.service.blob_address("/azureml-artifacts/none", "rw")).status == 404
    assert client.signed("DELETE", uri.replace("sp=rcw", "sp=r")).status == 403
    assert client.signed("DELETE", uri).status == 202
    assert client.signed("GET", uri).status == 404


def test_an_address_is_good_for_its_own_blob_and_permission_only(client: Client) -> None:
    uri = upload(client, "x", b"secret")
    other = upload(client, "y", b"other")
    blob, query = uri.partition("?")[0], uri.partition("?")[2]
    assert client.signed("GET", blob).status == 403
    assert client.signed("GET", f"{other.partition('?')[0]}?{query}").status == 403
    reading = client.service.blob_address(blob.partition(":1")[2], "r")
    assert client.signed("GET", reading).status == 200
    assert client.signed("PUT", reading, b"x").status == 403
    assert client.signed("GET", re.sub("se=2", "se=3", uri)).status == 403
    old = client.service.identity.address_query(blob.partition(":1")[2], "r", seconds=-1)
    assert client.signed("GET", f"{blob}?{old}").status == 403


def test_the_default_datastore(client: Client) -> None:
    store = client.ask("GET", f"/datastore/v1.0{WS}/default")
    assert store == {**client.ask("GET", f"/datastore/v1.0{WS}/datastores/workspaceblobstore")} | {
        "azureStorageSection": store["azureStorageSection"]
    }
    assert len(client.ask("GET", f"/datastore/v1.0{WS}/datastores", count="100")["value"]) == 2
    client.refused("GET", f"/datastore/v1.0{WS}/datastores/mine", expect=404)
    section = store["azureStorageSection"]
    base = f"https://h/{section['containerName']}"
    for name in ("in/a%20b.txt", "out/c.txt"):
        assert client.signed("PUT", f"{base}/{name}?{section['sasToken']}", b"x").status == 201
    listing = client.signed("GET", f"{base}?{section['sasToken']}", query={"comp": "list", "prefix": "in/"})
    text = bytes(listing.body).decode()
    assert "<Name>in/a b.txt</Name>" in text
    assert "out/" not in text
    assert client.signed("GET", f"{base}?{section['sasToken']}", query={"restype": "container"}).status == 200
    assert client.signed("GET", f"{base}?comp=list").status == 403
    other = f"https://h/azureml-artifacts/x?{section['sasToken']}"
    assert client.signed("PUT", other, b"x").status == 403


def test_metrics(client: Client) -> None:
    def row(number: int) -> dict[str, Any]:
        return {
            "metricId": f"m{number}",
            "createdUtc": ("", "2026-01-01T00:00:00.9912Z", "2026-01-01T00:00:00.991224Z")[number],
            "data": {"loss": number / 2},
        }

    metric = {"name": "loss", "columns": {"loss": "double"}, "properties": {"uxMetricType": "azureml.v1.scalar"}}
    for rows in ([row(2)], [row(1), row(2)]):
        body = {"values": [{**metric, "value": rows}], "reportErrors": True}
        assert client.ask("POST", f"{METRICS}/batch", body) == {"errors": []}
    (named,) = client.ask("POST", f"{METRICS}/list", {})["value"]
    assert (named["metricKey"], named["columns"]) == ({"name": "loss"}, {"loss": "double"})
    full = client.ask("POST", f"{METRICS}/full", {"metricName": "loss"})
    assert [value["data"]["loss"] for value in full["value"]] == [0.5, 1.0]
    assert full["properties"]["uxMetricType"] == "azureml.v1.scalar"
    client.refused("POST", f"{METRICS}/full", {"metricName": "none"}, expect=404)
    client.refused("POST", f"{METRICS}/batch", {"values": [{**metric, "valeu": []}]})
    client.refused("POST", f"{METRICS}/batch", {"values": [{**metric, "value": [{"data": {}}]}]})
    assert client.ask("GET", f"{METRICS}/metricsingest/wait") == {}
    assert client.ask("GET", f"{HISTORY}/experiments/exp/runs/r1/metricsingest/wait") == {}


def register(client: Client, name: str = "birds", **more: Any) -> Any:
    body = {"name": name, "artifacts": [{"prefix": f"{HERE}/outputs/m.pt"}], "runid": "r1"}
    asset = client.ask("POST", f"{REGISTRY}/assets", body)
    return client.ask(
        "POST", f"{REGISTRY}/models", {"name": name, "url": f"aml://asset/{asset['id']}", "runId": "r1", **more}
    )


def test_models_get_versions(client: Client) -> None:
    upload(client, "outputs/m.pt", b"1")
    assert register(client, kvTags={"a": "b"})["id"] == "birds:1"
    assert register(client, framework="PyTorch")["version"] == 2
    register(client, "fish")
    listed = client.ask("GET", f"{REGISTRY}/models", name="birds")["value"]
    assert [model["version"] for model in listed] == [2, 1]
    assert [model["id"] for model in client.ask("GET", f"{REGISTRY}/models", name="birds", count="1")["value"]] == [
        "birds:2"
    ]
    for query, ids in (
        ({"tag": "a"}, ["birds:1"]),
        ({"tags": "a=b"}, ["birds:1"]),
        ({"tags": "a=c"}, []),
        ({"framework": "PyTorch"}, ["birds:2"]),
        ({"runId": "r2"}, []),
        ({"name": "birds", "version": "1"}, ["birds:1"]),
    ):
        assert [model["id"] for model in client.ask("GET", f"{REGISTRY}/models", **query)["value"]] == ids
    model = client.ask("GET", f"{REGISTRY}/models/birds:1")
    asset = client.ask("GET", f"{REGISTRY}/assets/{model['url'].removeprefix('aml://asset/')}")
    assert asset["artifacts"] == [{"prefix": f"{HERE}/outputs/m.pt"}]
    assert len(client.ask("GET", f"{REGISTRY}/assets", runId="r1")["value"]) == 3


def test_models_change_and_go(client: Client) -> None:
    upload(client, "outputs/m.pt", b"1")
    register(client, kvTags={"a": "b"})
    steps = [
        {"op": "add", "path": "/kvTags/new", "value": "1"},
        {"op": "remove", "path": "/kvTags/a"},
        {"op": "replace", "path": "/description", "value": "d"},
    ]
    changed = client.ask("PATCH", f"{REGISTRY}/models/birds:1", steps)
    assert (changed["kvTags"], changed["description"]) == ({"new": "1"}, "d")
    client.refused("PATCH", f"{REGISTRY}/models/birds:1", [{"op": "move", "path": "/kvTags/a"}])
    client.ask("DELETE", f"{REGISTRY}/models/birds:1")
    client.refused("GET", f"{REGISTRY}/models/birds:1", expect=404)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("assets", {"artifacts": [{"prefix": f"{HERE}/outputs/none"}]}, 400),
        ("models", {"name": "m", "url": "aml://asset/none"}, 404),
        ("models", {"name": "-m", "url": ""}, 400),
        ("models", {"nam": "m"}, 400),
    ],
)
def test_models_that_cannot_be(path: str, body: dict[str, Any], status: int, client: Client) -> None:
    client.refused("POST", f"{REGISTRY}/{path}", body, expect=status)


def test_key_vault(client: Client) -> None:
    path = f"/credential/v2.0{WS}/secrets"
    client.ask("PUT", path, {"name": "one", "value": "1", "contentType": "application/NotProvided"})
    client.ask("PUT", f"{path}:putbatch", {"secrets": [{"name": "two", "value": "2"}]})
    assert client.ask("GET", f"{path}/one")["value"] == "1"
    both = client.ask("POST", f"{path}:getbatch", {"secrets": [{"name": "two"}, {"name": "nine"}]})
    assert ([item["value"] for item in both["secrets"]], both["notFoundSecrets"]) == (["2"], ["nine"])
    assert client.ask("GET", path)["value"] == [{"name": "one"}, {"name": "two"}]
    client.ask("DELETE", f"{path}/one")
    client.refused("GET", f"{path}/one", expect=404)


def test_blobs_need_no_token_and_tell_no_more_than_their_signature(client: Client) -> None:
    request = Request("GET", "/azureml-artifacts/x", {}, {})
    assert dispatch(client.service, request).status == 403


def test_equal_paths_of_two_origins_are_two_artifacts(client: Client) -> None:
    below = f"/artifact/v2.0{WS}/artifacts"
    for origin in ("ExperimentRun", "LocalUpload"):
        made = client.ask("POST", f"{below}/batch/metadata/{origin}/same", {"paths": [{"path": "a.txt"}]})
        assert made["errors"] == {}
        client.signed("PUT", made["artifactContentInformation"]["a.txt"]["contentUri"], origin.encode())

    for origin in ("ExperimentRun", "LocalUpload"):
        content = client.ask("GET", f"{below}/contentinfo/{origin}/same/a.txt")
        found = client.signed("GET", content["contentUri"]).content()
        assert isinstance(found, Path)
        assert found.read_text() == origin
        assert [item["origin"] for item in client.ask("GET", f"{below}/{origin}/same")["value"]] == [origin]
    assert client.ask("GET", f"{below}/Other/same")["value"] == []
