"""What is refused, with the words and the code: they are all that a user of the SDK gets to see."""

from __future__ import annotations

from typing import Any

import pytest

from tests.emulator.bodies import (
    ARTIFACTS,
    BODIES,
    ENVIRONMENTS,
    EXPERIMENT,
    HERE,
    METRICS,
    REGISTRY,
    SECRETS,
    furnish,
    submission_body,
    with_other,
)
from tests.emulator.conftest import HISTORY, WS, Client

USER, BODY = "UserError", "InvalidRequestBody"
EXECUTION = f"/execution/v1.0{WS}/experiments"
C = "Configuration"
PYTORCH = {"framework": "PyTorch", "communicator": "nccl"}


@pytest.fixture(scope="module")
def furnished(shared: Client) -> Client:
    furnish(shared)
    return shared


def refusal(client: Client, method: str, path: str, body: Any = None, status: int = 400) -> tuple[str, str]:
    error = client.ask(method, path, body, status)["error"]
    return error["code"], error["message"]


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        ({"target": "Other"}, "ComputeNotFound", "compute target 'Other' does not exist in this workspace"),
        ({"target": None}, "ComputeNotFound", "compute target '' does not exist in this workspace"),
        ({"nodeCount": 5}, USER, "the run needs 5 nodes, and compute 'gpu' has at most 4"),
        ({"nodeCount": 0}, USER, "nodeCount is '0'; it must be a whole number of at least 1"),
        ({"nodeCount": None}, USER, "nodeCount is 'None'; it must be a whole number of at least 1"),
        ({"nodeCount": 1.0}, USER, "nodeCount is '1.0'; it must be a whole number of at least 1"),
        ({"nodeCount": True}, USER, "nodeCount is 'True'; it must be a whole number of at least 1"),
        (
            {"mpi": {"processCountPerNode": 0}},
            USER,
            "mpi.processCountPerNode is '0'; it must be a whole number of at least 1",
        ),
        (
            {"communicator": "IntelMpi", "mpi": {"processCountPerNode": 1025}},
            USER,
            "mpi.processCountPerNode is 1025; the emulator starts at most 1024 on a node",
        ),
        (
            {**PYTORCH, "nodeCount": 2, "pytorch": {"processCount": 2050}},
            USER,
            "pytorch.processCount per node is 1025; the emulator starts at most 1024 on a node",
        ),
        ({"mpi": []}, BODY, "mpi is no object"),
        (
            {**PYTORCH, "nodeCount": 3, "pytorch": {"processCount": 4}},
            USER,
            "pytorch.processCount 4 is the total and does not divide by 3 nodes",
        ),
        (
            {**PYTORCH, "pytorch": {"processCount": "2"}},
            USER,
            "pytorch.processCount is '2'; it must be a whole number of at least 1",
        ),
        (
            {"communicator": "None", "nodeCount": 2},
            USER,
            "nodeCount is 2, and nothing says how the nodes work together; use MPI or PyTorch",
        ),
        (
            {"framework": "TensorFlow", "communicator": "ParameterServer"},
            USER,
            "framework 'tensorflow' with communicator 'parameterserver' is not supported by the emulator",
        ),
        ({"script": ""}, USER, "a run has a script or a command, exactly one of them"),
        ({"script": ["train.py"]}, USER, "a run has a script or a command, exactly one of them"),
        ({"script": "a\0b"}, USER, "the script or command has a NUL in it, and no process can be started so"),
        ({"arguments": "--lr 1"}, BODY, "arguments is no list"),
        ({"arguments": [True]}, USER, "argument 'True' is neither text nor a number"),
        ({"arguments": ["a\0"]}, USER, "argument 'a\0' has a NUL in it, and no process can be started so"),
        ({"maxRunDurationSeconds": 2592001}, USER, "maxRunDurationSeconds 2592001 is more than 2592000"),
        ({"maxRunDurationSeconds": 0}, USER, "maxRunDurationSeconds is '0'; it must be a whole number of at least 1"),
        ({"environmentVariables": ["A=1"]}, BODY, "environmentVariables is no object of names and texts"),
        ({"environmentVariables": {"A=B": "1"}}, USER, "environmentVariables has 'A=B', which no process can have"),
        ({"environmentVariables": {"": "1"}}, USER, "environmentVariables has '', which no process can have"),
        ({"environmentVariables": {"A": "\0"}}, USER, "environmentVariables has 'A', which no process can have"),
        (
            {"environment": {"name": "e", "environmentVariables": {"A=B": "1"}}},
            USER,
            "environment.environmentVariables has 'A=B', which no process can have",
        ),
        ({"environment": None}, USER, "the run has no environment"),
        ({"environment": "env"}, BODY, "environment is no object"),
        ({"environment": {"name": 5}}, USER, "the run has no environment"),
        (
            {"environment": {"name": "no", "version": "1"}},
            "EnvironmentNotFound",
            "environment 'no' does not exist in this workspace",
        ),
        (
            {"environment": {"name": "env", "version": "7"}},
            "EnvironmentNotFound",
            "environment 'env' has no version '7'; it has 1",
        ),
        (
            {"environment": {"name": "e", "dockr": {}}},
            BODY,
            "the environment has an unknown field 'dockr'; did you mean 'docker'?",
        ),
        ({"environment": {"name": "e", "docker": "img"}}, BODY, "docker is no object"),
        (
            {"environment": {"name": "e", "python": {"condaDependencies": ["numpy"]}}},
            BODY,
            "condaDependencies is no object",
        ),
        (
            {"environment": {"name": "e", "python": {"condaDependencies": {"dependencies": "numpy"}}}},
            BODY,
            "the dependencies of the conda section is no list",
        ),
        (
            {"environment": {"name": "e", "python": {"condaDependencies": {"dependencies": [{"pip": "numpy"}]}}}},
            BODY,
            "pip in the conda section is no list",
        ),
        ({"datacaches": [{}]}, USER, "'datacaches' is not supported by the emulator yet"),
        ({"outputData": {"x": {}}}, USER, "'outputData' is not supported by the emulator yet"),
        ({"sourceDirectoryDataStore": "x"}, USER, "'sourceDirectoryDataStore' is not supported by the emulator yet"),
        ({"nodeCounts": 1}, BODY, "Configuration has an unknown field 'nodeCounts'; did you mean 'nodeCount'?"),
    ],
)
def test_submissions(more: dict[str, Any], code: str, words: str, furnished: Client) -> None:
    body = submission_body()
    whole = {**body, C: {**body[C], **more}}
    assert refusal(furnished, "POST", f"{EXECUTION}/exp/snapshotrun", whole) == (code, words)


@pytest.mark.parametrize(
    ("place", "value", "status", "words"),
    [
        (("SnapshotId",), "none", 400, "snapshot 'none' does not exist"),
        (("SnapshotId",), 5, 400, "SnapshotId is '5'; it must be a text"),
        (("ParentRunId",), "nobody", 404, "run 'nobody' does not exist"),
        (("ParentRunId",), ["r1"], 400, "ParentRunId is '['r1']'; it must be a text"),
        (("Tags",), ["a"], 400, "Tags is no object of names and texts"),
        ((C,), [1], 400, "Configuration is not an object"),
        ((), [], 400, "the body is not a JSON object"),
    ],
)
def test_bodies_of_submissions(place: tuple[str, ...], value: Any, status: int, words: str, furnished: Client) -> None:
    body = with_other(submission_body(), place, value)
    assert refusal(furnished, "POST", f"{EXECUTION}/exp/snapshotrun", body, status)[1] == words


def test_a_refused_submission_leaves_nothing(furnished: Client) -> None:
    """No environment, no experiment, no run."""
    store = furnished.service.store
    before = {kind: store.count(kind) for kind in ("run", "experiment", "environment")}
    news = {"name": "new-env", "docker": {"baseImage": "other"}}
    body = with_other({**submission_body(), "ParentRunId": "nobody"}, (C, "environment"), news)
    refusal(furnished, "POST", f"{EXECUTION}/new-exp/snapshotrun", body, 404)
    assert {kind: store.count(kind) for kind in before} == before


GONE = "gone"
ROWS: list[tuple[str, str, Any, int, str, str]] = [
    (
        "POST",
        f"{HISTORY}/experiments/a%20b",
        None,
        400,
        USER,
        "experiment name 'a b' is invalid; letters, digits, '_' and '-', at most 255",
    ),
    (
        "POST",
        f"{HISTORY}/experiments/{'x' * 256}",
        None,
        400,
        USER,
        f"experiment name '{'x' * 256}' is invalid; letters, digits, '_' and '-', at most 255",
    ),
    ("GET", f"{HISTORY}/experiments/{GONE}", None, 404, "ExperimentNotFound", "experiment 'gone' does not exist"),
    ("GET", f"{HISTORY}/experimentids/{GONE}", None, 404, "ExperimentNotFound", "experiment 'gone' does not exist"),
    ("PATCH", EXPERIMENT, {"archive": "yes"}, 400, BODY, "archive is 'yes'; it must be true or false"),
    ("PATCH", EXPERIMENT, {"description": 5}, 400, BODY, "description is '5'; it must be a text"),
    ("PATCH", EXPERIMENT, {"tags": []}, 400, BODY, "tags is no object of names and texts"),
    ("GET", f"{HISTORY}/runs/{GONE}", None, 404, "RunNotFound", "run 'gone' does not exist"),
    (
        "PATCH",
        f"{HISTORY}/experiments/{GONE}/runs/r",
        {},
        404,
        "ExperimentNotFound",
        "experiment 'gone' does not exist",
    ),
    ("PATCH", f"{EXPERIMENT}/runs/r1", {"hidden": "no"}, 400, BODY, "hidden is 'no'; it must be true or false"),
    ("PATCH", f"{EXPERIMENT}/runs/r1", {"displayName": 5}, 400, BODY, "displayName is '5'; it must be a text"),
    ("PATCH", f"{EXPERIMENT}/runs/r1", {"tags": "x"}, 400, BODY, "tags is no object"),
    ("PATCH", f"{EXPERIMENT}/runs/r9", {"runType": 5}, 400, BODY, "runType is '5'; it must be a text"),
    ("PATCH", f"{EXPERIMENT}/runs/r9", {"parentRunId": 5}, 400, BODY, "parentRunId is '5'; it must be a text"),
    ("PATCH", f"{EXPERIMENT}/batch/runs", {"runs": {}}, 400, BODY, "runs is no list"),
    ("PATCH", f"{EXPERIMENT}/batch/runs", {"runs": [{}]}, 400, BODY, "runId is 'None'; it must be a text"),
    ("DELETE", f"{EXPERIMENT}/runs/r1/tags", "a", 400, BODY, "tags is no object"),
    ("POST", f"{HISTORY}/rundata", {}, 400, BODY, "runId is 'None'; it must be a text"),
    ("POST", f"{EXPERIMENT}/batch/events", {"events": [{}]}, 400, BODY, "RunId is 'None'; it must be a text"),
    ("POST", f"{EXPERIMENT}/runs/r1/events", {"data": []}, 400, BODY, "data is no object"),
    (
        "POST",
        f"{METRICS}/batch",
        {"values": [{"name": ""}]},
        400,
        BODY,
        "the name of a metric is ''; it must be a text",
    ),
    ("POST", f"{METRICS}/batch", {"values": [{"name": "m", "columns": []}]}, 400, BODY, "columns is no object"),
    (
        "POST",
        f"{METRICS}/batch",
        {"values": [{"name": "m", "value": [{"metricId": "1", "data": 5}]}]},
        400,
        BODY,
        "the data of a row is no object",
    ),
    ("POST", f"{METRICS}/full", {"metricName": GONE}, 404, "MetricNotFound", "run 'r1' has no metric 'gone'"),
    ("POST", f"{METRICS.replace('r1', GONE)}/list", {}, 404, "RunNotFound", "run 'gone' does not exist"),
    (
        "POST",
        f"{ARTIFACTS}/batch/metadata/{HERE}",
        {"paths": [{"path": "a/../b"}]},
        400,
        USER,
        "artifact path 'a/../b' is invalid; a relative path without '..'",
    ),
    ("POST", f"{ARTIFACTS}/batch/metadata/{HERE}", {"paths": "x"}, 400, BODY, "paths is no list"),
    ("GET", f"{ARTIFACTS}/contentinfo/{HERE}/{GONE}", None, 404, "NotFound", f"artifact '{HERE}/gone' does not exist"),
    (
        "POST",
        f"{REGISTRY}/assets",
        {"artifacts": [{"prefix": f"{HERE}/{GONE}"}]},
        400,
        USER,
        f"there is no artifact at '{HERE}/gone'",
    ),
    (
        "POST",
        f"{REGISTRY}/models",
        {"name": "a b"},
        400,
        USER,
        "model name 'a b' is invalid; letters, digits, '-', '.' and '_', at most 255",
    ),
    ("POST", f"{REGISTRY}/models", {"name": "m"}, 404, "AssetNotFound", "asset '' does not exist"),
    ("POST", f"{REGISTRY}/models", {"name": "m", "framework": []}, 400, BODY, "framework is '[]'; it must be a text"),
    ("GET", f"{REGISTRY}/models/birds:9", None, 404, "ModelNotFound", "model 'birds:9' does not exist"),
    ("DELETE", f"{REGISTRY}/models/birds:9", None, 404, "ModelNotFound", "model 'birds:9' does not exist"),
    (
        "PATCH",
        f"{REGISTRY}/models/birds:1",
        [{"op": "add", "path": "/description", "value": 5}],
        400,
        BODY,
        "description is '5'; it must be a text",
    ),
    ("PATCH", f"{REGISTRY}/models/birds:1", {"op": "add"}, 400, BODY, "the patch is no list"),
    ("PUT", SECRETS, {"name": "n"}, 400, USER, "secret 'n' has no value"),
    ("PUT", SECRETS, {"name": "n", "value": 5}, 400, BODY, "the value of a secret is '5'; it must be a text"),
    ("PUT", SECRETS, {"value": "v"}, 400, BODY, "the name of a secret is 'None'; it must be a text"),
    ("GET", f"{SECRETS}/{GONE}", None, 404, "SecretNotFound", "secret 'gone' does not exist"),
    (
        "PUT",
        f"{ENVIRONMENTS}/AzureML-x",
        {},
        400,
        USER,
        "environment name 'AzureML-x' is reserved; names may not begin with AzureML or Microsoft",
    ),
    (
        "GET",
        f"{ENVIRONMENTS}/{GONE}",
        None,
        404,
        "EnvironmentNotFound",
        "environment 'gone' does not exist in this workspace",
    ),
    (
        "GET",
        f"{ENVIRONMENTS}/env/labels/{GONE}",
        None,
        404,
        "EnvironmentNotFound",
        "environment 'env' has no label 'gone'",
    ),
    ("GET", f"{WS}/computes/{GONE}", None, 404, "ComputeNotFound", "compute 'gone' does not exist in this workspace"),
    (
        "GET",
        f"/datastore/v1.0{WS}/datastores/{GONE}",
        None,
        404,
        "DatastoreNotFound",
        "datastore 'gone' does not exist; there are workspaceblobstore, workspaceartifactstore, mine",
    ),
    ("GET", "/subscriptions/none", None, 404, "SubscriptionNotFound", "subscription 'none' was not found"),
    ("PUT", "/metadata/endpoints", None, 501, "NotImplemented", "the emulator does not answer PUT /metadata/endpoints"),
]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code", "words"), ROWS, ids=[row[-1][:50] for row in ROWS]
)
def test_words(method: str, path: str, body: Any, status: int, code: str, words: str, furnished: Client) -> None:
    assert refusal(furnished, method, path, body, status) == (code, words)


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ("Standard_NC6", "VM size 'Standard_NC6' was retired"),
        ("Standard_DS3_v9", "VM size 'Standard_DS3_v9' does not exist; did you mean 'Standard_DS3_v2'?"),
        ("nonsense", "VM size 'nonsense' does not exist"),
    ],
)
def test_sizes(size: str, words: str, furnished: Client) -> None:
    method, path, body = BODIES["compute"](furnished)
    code, said = refusal(furnished, method, path, with_other(body, ("properties", "properties", "vmSize"), size))
    assert (code, said[: len(words)]) == ("InvalidPropertyValue", words)
