"""MLflow's logged models and its registry: what they hold is the run's artifacts, and the workspace's models."""

from __future__ import annotations

from typing import Any

import pytest

from tests.emulator.bodies import REGISTRY, furnish
from tests.emulator.conftest import WS, Client

API = f"/mlflow/v2.0{WS}/api/2.0/mlflow"
R1 = {"run_id": "r1"}


@pytest.fixture
def furnished(client: Client) -> Client:
    furnish(client)
    return client


def run_information(client: Client) -> dict[str, Any]:
    found: dict[str, Any] = client.ask("GET", f"{API}/runs/get", **R1)["run"]["info"]
    return found


def logged(client: Client, name: str = "net", **more: Any) -> dict[str, Any]:
    body = {"experiment_id": run_information(client)["experiment_id"], "name": name, "source_run_id": "r1", **more}
    found: dict[str, Any] = client.ask("POST", f"{API}/logged-models", body)["model"]["info"]
    return found


def version(client: Client, name: str = "birds", **more: Any) -> dict[str, Any]:
    source = f"{run_information(client)['artifact_uri']}/outputs/m.pt"
    body = {"name": name, "source": source, **R1, **more}
    found: dict[str, Any] = client.ask("POST", f"{API}/model-versions/create", body)["model_version"]
    return found


def test_a_logged_model_becomes_ready_and_is_its_runs(furnished: Client) -> None:
    made = logged(furnished, tags=[{"key": "t", "value": "u"}])
    one = f"{API}/logged-models/{made['model_id']}"
    assert (made["status"], made["artifact_uri"]) == (
        "LOGGED_MODEL_PENDING",
        f"{run_information(furnished)['artifact_uri']}/models/{made['model_id']}",
    )
    furnished.ask("PATCH", one, {"model_id": made["model_id"], "status": "LOGGED_MODEL_READY"})
    assert furnished.ask("GET", one)["model"]["info"]["status"] == "LOGGED_MODEL_READY"
    furnished.ask("POST", f"{API}/runs/outputs", {**R1, "models": [{"model_id": made["model_id"], "step": 3}]})
    outputs = furnished.ask("GET", f"{API}/runs/get", **R1)["run"]["outputs"]
    assert outputs == {"model_outputs": [{"model_id": made["model_id"], "step": 3}]}


@pytest.mark.parametrize(
    ("written", "found"),
    [("", "ba"), ("name = 'a'", "a"), ("tags.t = 'b'", "b"), ("source_run_id = 'r2'", ""), ("status = 'x'", "")],
)
def test_logged_models_are_found(written: str, found: str, furnished: Client) -> None:
    for name in "ab":
        made = logged(furnished, name, tags=[{"key": "t", "value": name}])
    body = {"experiment_ids": [made["experiment_id"]], "filter": written}
    models = furnished.ask("POST", f"{API}/logged-models/search", body)["models"]
    assert "".join(item["info"]["name"] for item in models) == found
    assert furnished.ask("POST", f"{API}/logged-models/search", {"experiment_ids": ["other"]})["models"] == []


def test_a_registered_version_is_a_model_of_the_workspace(furnished: Client) -> None:
    assert version(furnished, description="d")["version"] == "2"  # the first one was registered by `furnish`
    furnished.ask("POST", f"{API}/registered-models/create", {"name": "fish"})
    made = version(furnished, "fish", tags=[{"key": "a", "value": "b"}])

    model = furnished.ask("GET", f"{REGISTRY}/models/fish:1")
    assert (model["runId"], model["kvTags"], model["experimentName"]) == ("r1", {"a": "b"}, "exp")
    asset = furnished.ask("GET", f"{REGISTRY}/assets/{model['url'].rpartition('/')[2]}")
    assert asset["artifacts"] == [{"prefix": "ExperimentRun/dcid.r1/outputs/m.pt"}]
    assert furnished.ask("GET", f"{API}/model-versions/get", name="fish", version="1")["model_version"] == made
    found = furnished.ask("GET", f"{API}/model-versions/search", filter="name='birds'")["model_versions"]
    assert [(item["version"], item.get("description")) for item in found] == [("2", "d"), ("1", None)]


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("registered-models/create", {"name": "birds"}, 400, "model 'birds' already exists"),
        ("registered-models/create", {"name": "a/b"}, 400, "model name 'a/b' is invalid"),
        ("model-versions/create", {"name": "new", "source": "azureml://x"}, 404, "model 'new' does not exist"),
        ("model-versions/create", {"name": "birds", "source": "s3://x"}, 400, "'s3://x' names no artifacts"),
        (
            "model-versions/create",
            {"name": "birds", "source": "azureml://artifacts/LocalUpload/c/none"},
            400,
            "there is no artifact at 'LocalUpload/c/none'",
        ),
        ("logged-models", {"name": "x"}, 400, "run_id is 'None'"),
        ("logged-models", {"name": "x", "source_run_id": "r1", "experiment_id": "e"}, 400, "not in experiment 'e'"),
        ("runs/outputs", {**R1, "models": [{"model_id": "none"}]}, 404, "logged model 'none' does not exist"),
        ("logged-models/search", {"filter": "name"}, 400, "cannot be read"),
    ],
)
def test_what_is_refused(path: str, body: dict[str, Any], status: int, words: str, furnished: Client) -> None:
    assert words in furnished.ask("POST", f"{API}/{path}", body, status)["message"]


def test_what_is_not_there_is_not_found(furnished: Client) -> None:
    furnished.ask("GET", f"{API}/logged-models/none", expect=404)
    answer = furnished.ask("GET", f"{API}/model-versions/get", None, 404, name="birds", version="9")
    assert answer["message"] == "model 'birds' has no version '9'"


def test_a_status_that_mlflow_does_not_have(furnished: Client) -> None:
    one = f"{API}/logged-models/{logged(furnished)['model_id']}"
    assert "is unknown" in furnished.ask("PATCH", one, {"status": "READY"}, 400)["message"]


def test_only_metrics_are_waited_for(furnished: Client) -> None:
    later = f"/mlflow/v2.0{WS}/api/2.0/preview/mlflow/runs"
    metric = {"key": "m", "value": 1.0, "timestamp": 1_700_000_000_000, "step": 0}
    tracking = furnished.ask("POST", f"{later}/log-batch-async", {**R1, "metrics": [metric]})["batch_tracking_id"]
    assert furnished.ask("GET", f"{later}/get-run-data-status", **R1, batch_tracking_id=tracking) == {
        "is_complete": True
    }
    tags = {"tags": [{"key": "a", "value": "b"}]}
    assert furnished.ask("POST", f"{later}/log-batch-async", {**R1, **tags}) == {"batch_tracking_id": ""}
