"""A body that the service takes, for every route that reads one, and a workspace in which they all make sense."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from tests.emulator.conftest import HISTORY, WS, Client, configuration, tree

EXPERIMENT = f"{HISTORY}/experiments/exp"
ARTIFACTS = f"/artifact/v2.0{WS}/artifacts"
CONTENT = f"/content/v2.0{WS}/snapshots"
REGISTRY = f"/modelmanagement/v1.0{WS}"
ENVIRONMENTS = f"/environment/v1.0{WS}/environments"
SECRETS = f"/credential/v2.0{WS}/secrets"
METRICS = f"/metric/v2.0{WS}/runs/r1"
STORES = f"/datastore/v1.0{WS}/datastores"
DATASETS = f"/dataset/v1.0{WS}/datasets"
SUBMIT = f"/execution/v1.0{WS}/experiments/exp/snapshotrun"
LOCATION = f"{WS.partition('/resourceGroups')[0]}/providers/Microsoft.MachineLearningServices/locations/eastus"
HERE = "ExperimentRun/dcid.r1"
TIME = "2026-01-01T00:00:00Z"

Body = tuple[str, str, Any]
Place = tuple[str | int, ...]


def furnish(client: Client) -> None:
    """Cluster gpu; snapshot s1; experiment exp with the interactive run r1 and the submitted r2; model birds:1."""
    client.cluster()
    client.snapshot({"train.py": b"print()"})
    client.ask("POST", EXPERIMENT)
    client.ask("PATCH", f"{EXPERIMENT}/runs/r1", {"runId": "r1", "tags": {"a": "b"}})
    client.submit("r2", configuration(environment=environment()))
    answer = client.ask("POST", f"{ARTIFACTS}/batch/metadata/{HERE}", {"paths": [{"path": "outputs/m.pt"}]})
    client.signed("PUT", answer["artifactContentInformation"]["outputs/m.pt"]["contentUri"], b"1")
    asset = client.ask("POST", f"{REGISTRY}/assets", asset_body())
    client.ask("POST", f"{REGISTRY}/models", {"name": "birds", "url": f"aml://asset/{asset['id']}"})
    client.ask("PUT", f"{ENVIRONMENTS}/env", environment())
    client.ask("PUT", SECRETS, {"name": "key", "value": "v"})
    client.ask("POST", f"{METRICS}/batch", metric_body())
    client.ask("POST", STORES, store_body())


def asset_body() -> dict[str, Any]:
    more = {"type": "t", "description": "d", "kvTags": {"a": "b"}, "properties": {}, "meta": {}}
    return {"name": "birds", "artifacts": [{"prefix": f"{HERE}/outputs/m.pt"}], "runid": "r1", **more}


def environment() -> dict[str, Any]:
    conda = {"dependencies": ["python=3.11", {"pip": ["numpy==2.0.0"]}]}
    parts = {"python": {"condaDependencies": conda}, "docker": {"baseImage": "a/b:1"}}
    return {"name": "env", "version": None, "environmentVariables": {"A": "b"}, **parts}


def metric_body() -> dict[str, Any]:
    row = {"metricId": "1", "createdUtc": TIME, "data": {"loss": 1.0}}
    metric = {"name": "loss", "columns": {"loss": "double"}, "properties": {"uxMetricType": "azureml.v1.scalar"}}
    return {"values": [{**metric, "value": [row]}], "reportErrors": True}


def store_body(name: str = "mine") -> dict[str, Any]:
    """As `Datastore.register_azure_blob_container` sends it."""
    section = {"accountName": "emulator", "containerName": "photos", "credentialType": "Sas", "credential": "s"}
    return {"name": name, "dataStoreType": "AzureBlob", "azureStorageSection": {**section, "protocol": "https"}}


def dataflow(path: str = "raw", store: str = "workspaceblobstore") -> str:
    """What `Dataset.File.from_files((store, path))` makes of a path."""
    pattern = (
        f"azureml:/{WS.replace('/providers/Microsoft.MachineLearningServices', '')}/datastores/{store}/paths/{path}"
    )
    flow = {"type": "mltable", "paths": [{"pattern": pattern.replace("resourceGroups", "resourcegroups")}]}
    return json.dumps({"blocks": [], "meta": {"RsDataflow": json.dumps(flow)}})


def dataset_body(path: str = "raw") -> dict[str, Any]:
    latest = {"dataflow": dataflow(path), "properties": {}, "datasetDefinitionState": {}}
    return {"name": "birds", "datasetType": "file", "latest": latest, "tags": {"a": "b"}, "isVisible": True}


def event_body(name: str, **data: Any) -> dict[str, Any]:
    return {"timestamp": TIME, "name": f"Microsoft.MachineLearning.Run.{name}", "data": {"RunId": "r1", **data}}


def run_body(run_id: str) -> dict[str, Any]:
    texts = {"name": "n", "displayName": "d", "description": "d", "target": "t", "startTimeUtc": TIME}
    kind = {"parentRunId": "r1", "runType": "azureml.x", "status": "Running", "hidden": False}
    return {"runId": run_id, **kind, **texts, "tags": {"a": "b"}, "properties": {"a": "b"}}


def compute_body() -> dict[str, Any]:
    scale = {"minNodeCount": 0, "maxNodeCount": 4, "nodeIdleTimeBeforeScaleDown": "PT120S"}
    login = {"adminUserName": "a", "adminUserSshPublicKey": "b", "adminUserPassword": None}
    details = {"vmSize": "Standard_DS3_v2", "vmPriority": "dedicated", "scaleSettings": scale, "subnet": None}
    inner = {**details, "userAccountCredentials": login}
    outer = {"computeType": "AmlCompute", "description": "d", "properties": inner}
    return {"location": "eastus", "tags": {"a": "b"}, "properties": outer}


def submission_body() -> dict[str, Any]:
    whole = configuration(arguments=["--lr", 0.1], environmentVariables={"A": "1"}, environment=environment())
    mpi = {"communicator": "IntelMpi", "mpi": {"processCountPerNode": 2}, "pytorch": {"processCount": None}}
    about = {"TargetDetails": None, "TelemetryValues": {"os": "x"}, "SnapshotId": "s1", "Tags": {"a": "b"}}
    return {**about, "Configuration": {**whole, **mpi}, "ParentRunId": "r1"}


def snapshot_body(client: Client) -> dict[str, Any]:
    (node,) = client.ask("POST", f"{CONTENT}/getblob", {"FileNames": ["a.py"]})["fileNodes"]
    client.signed("PUT", node["blobUri"], b"abc")
    files = {"FileNodes": [{"FullName": "a.py", "BlobUri": node["blobUri"], "FileSize": 3}]}
    rest = {"ParentSnapshotId": "s1", "Tags": {}, "Properties": {"branch": "main"}}
    return {**rest, "DirTreeNode": tree(["a.py"]), "FileRevisionList": files}


QUERY = {"filter": "RunId eq r1", "orderby": "RunId asc", "top": 1, "continuationToken": "MQ=="}
STEPS = [
    {"op": "add", "path": "/kvTags/a", "value": "b"},
    {"op": "replace", "path": "/description", "value": "x"},
    {"op": "remove", "path": "/properties/x"},
]
# Of the control plane, with an engine that has a virtual clock.
CONTROLS: dict[str, Any] = {
    "fail-next": {"kind": "500", "method": "GET", "path": "/x", "count": 1, "seconds": 0.5},
    "clear-faults": {},
    "latency": {"least": 0.0, "most": 0.5},
    "repeat": {"answer": "merge"},
    "preempt": {"run": "r3", "grace": 1},
    "advance": {"seconds": 1},
    "script": {"script": {"running": 60, "final": "Failed", "lines": ["x"], "metrics": [{"loss": 1.0}]}, "speed": 1},
    "adopt": {"subscription": "s", "group": "g", "name": "n"},
}
SCALE = {"properties": {"properties": {"scaleSettings": {"minNodeCount": 0, "maxNodeCount": 4}}}}
# {n} in a path is another number at every use: what is made new each time.
BODIES: dict[str, Callable[[Client], Body]] = {
    "experiment": lambda _: ("PATCH", EXPERIMENT, {"tags": {"a": "b"}, "description": "d", "archive": False}),
    "experiments query": lambda _: ("POST", f"{HISTORY}/experiments:query", {**QUERY, "filter": "", "orderby": "name"}),
    "runs query": lambda _: ("POST", f"{EXPERIMENT}/runs:query", QUERY),
    "snapshot addresses": lambda _: ("POST", f"{CONTENT}/getblob", {"FileNames": ["a.py"]}),
    "snapshot": lambda client: ("POST", f"{CONTENT}/s{{n}}", snapshot_body(client)),
    "submission": lambda _: ("POST", f"{SUBMIT}?runId=s{{n}}", submission_body()),
    "run": lambda _: ("PATCH", f"{EXPERIMENT}/runs/p{{n}}", run_body("p")),
    "runs": lambda _: ("PATCH", f"{EXPERIMENT}/batch/runs", {"runs": [run_body("b")]}),
    "tags by name": lambda _: ("DELETE", f"{EXPERIMENT}/runs/r1/tags", ["a"]),
    "tags by value": lambda _: ("DELETE", f"{EXPERIMENT}/runs/r1/tags", {"a": "b"}),
    "run data": lambda _: ("POST", f"{HISTORY}/rundata", {"runId": "r1"}),
    "warning": lambda _: ("POST", f"{EXPERIMENT}/runs/r1/events", event_body("Warning", Source="s", Message="m")),
    "error": lambda _: ("POST", f"{EXPERIMENT}/runs/r1/events", event_body("Error", ErrorResponse={"error": {}})),
    "events": lambda _: ("POST", f"{EXPERIMENT}/batch/events", {"events": [event_body("Heartbeat")]}),
    "metrics": lambda _: ("POST", f"{METRICS}/batch", metric_body()),
    "metric": lambda _: ("POST", f"{METRICS}/full", {"metricName": "loss"}),
    "artifacts": lambda _: ("POST", f"{ARTIFACTS}/batch/metadata/{HERE}", {"paths": [{"path": "x"}]}),
    "artifact contents": lambda _: ("POST", f"{ARTIFACTS}/batch/contentinfo/{HERE}", {"paths": [{"path": "x"}]}),
    "asset": lambda _: ("POST", f"{REGISTRY}/assets", asset_body()),
    "model": lambda client: ("POST", f"{REGISTRY}/models", {**run_of_model(client), "datasets": [], "unpack": False}),
    "model patch": lambda _: ("PATCH", f"{REGISTRY}/models/birds:1", STEPS),
    "secret": lambda _: ("PUT", SECRETS, {"name": "n", "value": "v", "contentType": "c"}),
    "secrets": lambda _: ("PUT", f"{SECRETS}:putbatch", {"secrets": [{"name": "n", "value": "v"}]}),
    "secrets asked": lambda _: ("POST", f"{SECRETS}:getbatch", {"secrets": [{"name": "n"}]}),
    "environment": lambda _: ("PUT", f"{ENVIRONMENTS}/env", environment()),
    "labels": lambda _: ("PUT", f"{ENVIRONMENTS}/env/versions/1/metadata", {"Labels": ["x"]}),
    "compute": lambda _: ("PUT", f"{WS}/computes/cpu", compute_body()),
    "compute scale": lambda _: ("PATCH", f"{WS}/computes/gpu", SCALE),
    "quotas": lambda _: ("POST", f"{LOCATION}/updateQuotas", {"value": [quota_body()]}),
    "build": lambda _: ("POST", f"/environment/v2.0{WS}/environments/env/versions/1/image", {}),
    "datastore": lambda _: ("PUT", f"{STORES}/mine", store_body()),
    "dataset": lambda _: ("POST", f"{DATASETS}?updateDefinitionIfExists=true", dataset_body()),
    "saved dataset": lambda _: (
        "POST",
        f"/dataset/v1.0{WS}/saveddatasets",
        {"datasetType": "file", "dataflowJson": dataflow(), "properties": {}},
    ),
    "adoption": lambda client: ("POST", control(client, "adopt"), {"subscription": "s", "group": "g", "name": "n"}),
}


def run_of_model(client: Client) -> dict[str, Any]:
    (asset, *_) = client.ask("GET", f"{REGISTRY}/assets")["value"]
    pairs = {"kvTags": {"a": "b"}, "properties": {"a": "b"}, "description": "d"}
    return {"name": "birds", "url": f"aml://asset/{asset['id']}", "runId": "r1", "framework": "f", **pairs}


def quota_body() -> dict[str, Any]:
    about = {"type": "Microsoft.MachineLearningServices/workspaces/quotas", "location": "eastus", "unit": "Count"}
    return {"id": f"{WS}/quotas/Standard DSv2 Family Cluster Dedicated vCPUs", "limit": 8, **about}


def control(client: Client, what: str) -> str:
    return f"/_emulator/{client.service.identity.control_secret}/{what}"


def places(value: Any, above: Place = ()) -> Iterator[Place]:
    """Where something stands in a body: the body itself, and every item of every list and object."""
    yield above
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*above, key))


def with_other(value: Any, place: Place, other: Any) -> Any:
    """A copy that has `other` at that place."""
    if not place:
        return other
    first, *rest = place
    copied = value.copy()
    copied[first] = with_other(value[first], tuple(rest), other)
    return copied
