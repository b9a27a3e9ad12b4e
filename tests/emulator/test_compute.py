"""Clusters: what Azure takes, refuses and shows."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from runner.emulator.execution import Job, LocalEngine
from runner.emulator.layouts import Layout
from runner.emulator.scripted import ScriptedEngine
from tests.emulator.conftest import WS, Client, configuration

SUBSCRIPTION = WS.partition("/resourceGroups")[0]
LOCATION = f"{SUBSCRIPTION}/providers/Microsoft.MachineLearningServices/locations/eastus"


def body(**more: Any) -> dict[str, Any]:
    scale = {"minNodeCount": 0, "maxNodeCount": 2}
    details = {"vmSize": "STANDARD_DS3_V2", "vmPriority": "lowpriority", "scaleSettings": scale, **more}
    return {"location": "eastus", "properties": {"computeType": "AmlCompute", "properties": details}}


def test_create_and_read(client: Client) -> None:
    created = client.ask("PUT", f"{WS}/computes/my-gpu", body(), 201)
    read = client.ask("GET", f"/rp/workspaces{WS}/computes/MY-GPU")
    assert read == created
    details = read["properties"]["properties"]
    assert (details["vmSize"], details["vmPriority"]) == ("Standard_DS3_v2", "LowPriority")
    assert details["scaleSettings"]["nodeIdleTimeBeforeScaleDown"] == "PT1800S"
    assert "subnet" in details
    assert "identity" not in read
    assert [item["name"] for item in client.ask("GET", f"{WS}/computes")["value"]] == ["my-gpu"]


def test_creation_points_to_an_operation_that_has_succeeded(client: Client) -> None:
    import json

    response = client.raw("PUT", f"{WS}/computes/gpu", json.dumps(body()).encode())
    path = response.headers["Azure-AsyncOperation"].removeprefix(client.service.origin)
    assert client.ask("GET", path) == {"status": "Succeeded"}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"vmSize": "Standard_NC6"}, "was retired"),
        ({"vmSize": "Standard_NC4as_T4v3"}, "did you mean 'Standard_NC4as_T4_v3'?"),
        ({"vmSize": None}, "vmSize is missing"),
        ({"vmPriority": "spot"}, "vmPriority 'spot' is unknown"),
        ({"vmPrioritty": "dedicated"}, "unknown field 'vmPrioritty'; did you mean 'vmPriority'?"),
        ({"scaleSettings": {"minNodeCount": 3, "maxNodeCount": 2}}, "0 <= min <= max"),
        ({"scaleSettings": {"minNodeCount": 0, "maxNodeCount": 101}}, "<= 100"),
        ({"scaleSettings": {"minNodeCount": 0}}, "maxNodeCount is 'None'"),
        ({"scaleSettings": {"maxNodeCount": 1, "nodeIdleTimeBeforeScaleDown": "PT-1S"}}, "is no duration"),
        ({"scaleSettings": {"maxNodes": 1}}, "unknown field 'maxNodes'"),
    ],
)
def test_what_azure_refuses(more: dict[str, Any], words: str, client: Client) -> None:
    assert words in client.refused("PUT", f"{WS}/computes/gpu", body(**more))


@pytest.mark.parametrize("name", ["ab", "1gpu", "my_gpu", "gpu-", "x" * 33])
def test_names(name: str, client: Client) -> None:
    assert "is invalid" in client.refused("PUT", f"{WS}/computes/{name}", body())


def test_only_amlcompute(client: Client) -> None:
    other = {"location": "eastus", "properties": {"computeType": "Databricks"}}
    assert "AmlCompute only" in client.refused("PUT", f"{WS}/computes/gpu", other)


def test_a_second_put_changes_the_scale_and_nothing_else(client: Client) -> None:
    client.cluster("gpu", 2)
    client.ask("PUT", f"{WS}/computes/gpu", body(vmPriority="dedicated", scaleSettings={"maxNodeCount": 5}))
    assert "the priority of compute 'gpu' cannot change" in client.refused("PUT", f"{WS}/computes/gpu", body())


def test_patch_changes_the_scale(client: Client) -> None:
    client.cluster("gpu", 2)
    patch = {"properties": {"computeType": "AmlCompute", "properties": {"scaleSettings": {"maxNodeCount": 7}}}}
    client.ask("PATCH", f"{WS}/computes/gpu", patch)
    details = client.ask("GET", f"{WS}/computes/gpu")["properties"]["properties"]
    assert details["scaleSettings"]["maxNodeCount"] == 7


def test_nodes_in_use_are_shown_and_keep_a_cluster_alive(client: Client) -> None:
    client.cluster("gpu", 3)
    client.engine.busy["gpu"] = 2
    details = client.ask("GET", f"{WS}/computes/gpu")["properties"]["properties"]
    assert (details["currentNodeCount"], details["nodeStateCounts"]["runningNodeCount"]) == (2, 2)
    nodes = client.ask("POST", f"{WS}/computes/gpu/listNodes")
    assert len(nodes["nodes"]) == 2
    assert "nextLink" not in nodes
    client.refused("DELETE", f"{WS}/computes/gpu", expect=409)
    client.engine.busy.clear()
    client.ask("DELETE", f"{WS}/computes/gpu", expect=202)
    client.refused("GET", f"{WS}/computes/gpu", expect=404)


def test_nodes_say_which_run_they_have(client: Client) -> None:
    client.cluster("GPU", 5, scaleSettings={"minNodeCount": 4, "maxNodeCount": 5})
    engine = ScriptedEngine(client.service, speed=0)
    client.service.engine = engine
    client.snapshot({"train.py": b""})
    client.submit("two", configuration(communicator="IntelMpi", nodeCount=2, target="GPU"))
    client.submit("one", configuration(target="GPU"))
    engine.advance(20)
    nodes = client.ask("POST", f"{WS}/computes/gpu/listNodes")["nodes"]
    assert [(node["nodeId"], node["nodeState"], node["runId"]) for node in nodes] == [
        *(("GPU-0", "running", "two"), ("GPU-1", "running", "two"), ("GPU-2", "running", "one")),
        ("GPU-3", "idle", None),
    ]
    engine.stop()
    assert counts(client) == {"idle": 4}
    engine.close()


def test_nodes_that_a_run_is_driven_off_are_preempted(client: Client) -> None:
    client.cluster("gpu", 4, scaleSettings={"minNodeCount": 3, "maxNodeCount": 4})
    engine = LocalEngine(client.service)
    client.service.engine = engine
    job = Job("r1", client.service.store.folder, Layout("none", 2, 1), {"target": "gpu"})
    engine.nodes.enter("gpu", "r1")
    assert engine.nodes.take("gpu", "r1", 2, lambda: 4, job.stop)
    engine.jobs["r1"] = (job, threading.Thread())
    assert counts(client) == {"running": 2, "idle": 1}
    assert engine.preempt("r1", frozenset({1}), 1.0)
    assert counts(client) == {"running": 1, "preempted": 1, "idle": 1}
    nodes = client.ask("POST", f"{WS}/computes/gpu/listNodes")["nodes"]
    assert [(node["nodeState"], node["runId"]) for node in nodes] == [
        *(("running", "r1"), ("preempted", "r1")),
        ("idle", None),
    ]


def counts(client: Client) -> dict[str, int]:
    """Those of the cluster's node counts that are not zero."""
    details = client.ask("GET", f"{WS}/computes/gpu")["properties"]["properties"]
    found = details["nodeStateCounts"]
    assert sum(found.values()) == details["currentNodeCount"]
    return {state.removesuffix("NodeCount"): many for state, many in found.items() if many}


def test_passwords_are_not_kept(client: Client) -> None:
    secret = {"adminUserName": "me", "adminUserPassword": "hunter2"}
    client.ask("PUT", f"{WS}/computes/gpu", body(userAccountCredentials=secret), 201)
    shown = client.ask("GET", f"{WS}/computes/gpu")
    assert shown["properties"]["properties"]["userAccountCredentials"]["adminUserName"] == "me"
    assert "hunter2" not in str(client.service.store.all("compute"))


def test_sizes_and_usages(client: Client) -> None:
    names = {size["name"]: size for size in client.ask("GET", f"{LOCATION}/vmSizes")["amlCompute"]}
    assert names["Standard_NC64as_T4_v3"]["gpus"] == 4
    assert "Standard_NC6" not in names
    client.cluster("gpu", 3)
    client.engine.busy["gpu"] = 2
    usage = client.ask("GET", f"{LOCATION}/usages")["value"][0]
    assert (usage["currentValue"], usage["name"]["value"].split()[0]) == (8, "Total")


USER = {"/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/u": {}}
IDENTITY = {"type": "SystemAssigned,UserAssigned", "userAssignedIdentities": USER}


@pytest.mark.parametrize(
    ("outer", "details", "words"),
    [
        ({}, {"subnet": "vnet/default"}, "subnet is no object"),
        ({}, {"subnet": {"name": "default"}}, "subnet has an unknown field 'name'"),
        ({}, {"subnet": {}}, "the id of subnet is 'None'"),
        ({}, {"remoteLoginPortPublicAccess": True}, "remoteLoginPortPublicAccess is 'True'"),
        ({"identity": "SystemAssigned"}, {}, "identity is no object"),
        ({"identity": {"type": "Mine"}}, {}, "the type of identity is 'Mine'"),
        ({"identity": {"type": "UserAssigned"}}, {}, "userAssignedIdentities goes with"),
        ({"identity": {**IDENTITY, "type": "SystemAssigned"}}, {}, "userAssignedIdentities goes with"),
        ({"tags": ["a"]}, {}, "tags is no object"),
        ({"location": {"name": "eastus"}}, {}, "location is '"),
    ],
)
def test_parts_of_the_wrong_shape(outer: dict[str, Any], details: dict[str, Any], words: str, client: Client) -> None:
    assert words in client.refused("PUT", f"{WS}/computes/gpu", {**body(**details), **outer})


def test_parts_of_the_right_shape_are_kept(client: Client) -> None:
    more = {"identity": IDENTITY, "tags": {"a": "b"}, "location": "westus"}
    client.ask("PUT", f"{WS}/computes/gpu", {**body(subnet={"id": "/subscriptions/x"}), **more}, 201)
    found = client.ask("GET", f"{WS}/computes/gpu")
    assert {name: found[name] for name in more} == more
    assert found["properties"]["properties"]["subnet"] == {"id": "/subscriptions/x"}
