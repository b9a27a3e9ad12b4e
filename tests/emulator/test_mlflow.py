"""MLflow on the run history: what it logs is the run's, in a job and outside of one."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from runner.emulator import mlflow, mlflow_search
from runner.emulator.messages import ServiceError
from tests.emulator.bodies import EXPERIMENT, METRICS, furnish
from tests.emulator.conftest import WS, Client, Serving

API = f"/mlflow/v2.0{WS}/api/2.0/mlflow"
R1 = {"run_id": "r1"}
POINT = {"key": "m", "value": 1.5, "timestamp": 1_700_000_000_123, "step": 3}


@pytest.fixture
def furnished(client: Client) -> Client:
    furnish(client)
    return client


def data(client: Client, run: str = "r1") -> dict[str, Any]:
    found: dict[str, Any] = client.ask("GET", f"{API}/runs/get", run_id=run)["run"]["data"]
    return {key: {item["key"]: item["value"] for item in found[key]} for key in found}


@pytest.mark.parametrize(
    ("path", "body", "kind", "item"),
    [
        ("runs/log-metric", POINT, "metrics", {"m": 1.5}),
        ("runs/log-metric", {**POINT, "value": "NaN"}, "metrics", {"m": "NaN"}),
        ("runs/log-batch", {"metrics": [{**POINT, "run_id": "r1"}]}, "metrics", {"m": 1.5}),
        ("runs/log-parameter", {"key": "lr", "value": "0.1"}, "params", {"lr": "0.1"}),
        ("runs/log-batch", {"params": [{"key": "lr", "value": "é"}]}, "params", {"lr": "é"}),
        ("runs/set-tag", {"key": "who", "value": "me"}, "tags", {"a": "b", "who": "me"}),
        ("runs/log-batch", {"tags": [{"key": "who", "value": "me"}]}, "tags", {"a": "b", "who": "me"}),
        ("runs/delete-tag", {"key": "a"}, "tags", {}),
    ],
)
def test_what_is_logged_is_read(path: str, body: Any, kind: str, item: dict[str, Any], furnished: Client) -> None:
    assert furnished.ask("POST", f"{API}/{path}", {**R1, **body}) == {}
    found = data(furnished)[kind]
    found.pop("loss", None)  # logged by `furnish`
    assert found == item
    assert kind != "tags" or furnished.run("r1")["tags"] == item


def test_metrics_of_both_apis_are_one_series(furnished: Client) -> None:
    point = {**POINT, "key": "loss"}
    for _ in range(2):  # a repetition after a lost answer is the same point
        furnished.ask("POST", f"{API}/runs/log-metric", {**R1, **point})

    rows = furnished.ask("POST", f"{METRICS}/full", {"metricName": "loss"})["value"]
    assert [row["data"] for row in rows] == [{"loss": 1.5}, {"loss": 1.0}]
    history = furnished.ask("GET", f"{API}/metrics/get-history", run_id="r1", metric_key="loss")["metrics"]
    assert history[0] == point
    assert [item["value"] for item in history] == [1.5, 1.0]


def test_a_run_begins_has_a_child_and_ends(furnished: Client) -> None:
    experiment = furnished.ask("GET", f"{API}/experiments/get-by-name", experiment_name="exp")["experiment"]
    assert furnished.ask("GET", f"{API}/experiments/get", **only_id(experiment))["experiment"] == experiment
    body = {**only_id(experiment), "run_name": "kid", "start_time": 1_700_000_000_000}
    tags = [{"key": "mlflow.parentRunId", "value": "r1"}]
    info = furnished.ask("POST", f"{API}/runs/create", {**body, "tags": tags})["run"]["info"]

    assert (info["run_name"], info["status"], info["start_time"]) == ("kid", "RUNNING", 1_700_000_000_000)
    assert info["artifact_uri"].endswith(f"/experiments/exp/runs/{info['run_id']}/artifacts")
    assert furnished.run(info["run_id"])["parentRunId"] == "r1"
    ended = furnished.ask("POST", f"{API}/runs/update", {"run_id": info["run_id"], "status": "FAILED"})["run_info"]
    assert (ended["status"], furnished.run(info["run_id"])["status"]) == ("FAILED", "Failed")


def only_id(experiment: dict[str, Any]) -> dict[str, str]:
    return {"experiment_id": experiment["experiment_id"]}


def test_a_submitted_run_ends_with_its_process_only(furnished: Client) -> None:
    before = furnished.run("r2")["status"]
    furnished.ask("POST", f"{API}/runs/update", {"run_id": "r2", "status": "FINISHED"})
    assert furnished.run("r2")["status"] == before


@pytest.mark.parametrize(
    ("path", "body", "status", "code", "words"),
    [
        ("runs/log-metric", {"run_id": "none", **POINT}, 404, "RESOURCE_DOES_NOT_EXIST", "run 'none' does not exist"),
        ("runs/log-metric", POINT, 400, "INVALID_PARAMETER_VALUE", "run_id is 'None'"),
        ("runs/log-metric", {**R1, **POINT, "value": "1"}, 400, "INVALID_PARAMETER_VALUE", "it must be a number"),
        ("runs/log-metric", {**R1, **POINT, "value": True}, 400, "INVALID_PARAMETER_VALUE", "it must be a number"),
        ("runs/log-metric", {**R1, **POINT, "timestamp": 10**18}, 400, "INVALID_PARAMETER_VALUE", "is in no year"),
        ("runs/log-metric", {**R1, **POINT, "stp": 1}, 400, "INVALID_PARAMETER_VALUE", "did you mean 'step'?"),
        ("runs/log-batch", {**R1, "metrics": [{**POINT, "run_id": "r2"}]}, 400, "INVALID_PARAMETER_VALUE", "run 'r2'"),
        ("runs/log-batch", {**R1, "params": {"a": "b"}}, 400, "INVALID_PARAMETER_VALUE", "params is no list"),
        ("runs/set-tag", {**R1, "key": "", "value": "x"}, 400, "INVALID_PARAMETER_VALUE", "must be a text"),
        ("runs/delete-tag", {**R1, "key": "no"}, 404, "RESOURCE_DOES_NOT_EXIST", "has no tag 'no'"),
        ("runs/update", {**R1, "status": "Done"}, 400, "INVALID_PARAMETER_VALUE", "status 'Done' is unknown"),
        ("runs/create", {"experiment_id": "none"}, 404, "RESOURCE_DOES_NOT_EXIST", "experiment 'none' does not"),
        ("runs/search", {"run_view_type": "ALL_OF"}, 400, "INVALID_PARAMETER_VALUE", "one of ACTIVE_ONLY"),
        ("experiments/create", {"name": "exp"}, 400, "RESOURCE_ALREADY_EXISTS", "experiment 'exp' already exists"),
        ("experiments/create", {"name": "a b"}, 400, "INVALID_PARAMETER_VALUE", "experiment name 'a b' is invalid"),
    ],
)
def test_refusals_in_mlflows_shape(path: str, body: Any, status: int, code: str, words: str, furnished: Client) -> None:
    answer = furnished.ask("POST", f"{API}/{path}", body, status)
    assert answer["error_code"] == code
    assert words in answer["message"]


def test_a_refused_batch_leaves_nothing(furnished: Client) -> None:
    furnished.ask("POST", f"{API}/runs/log-parameter", {**R1, "key": "lr", "value": "1"})
    changed = {"params": [{"key": "lr", "value": "2"}], "metrics": [POINT], "tags": [{"key": "t", "value": "x"}]}
    answer = furnished.ask("POST", f"{API}/runs/log-batch", {**R1, **changed}, 400)

    assert answer["message"] == "parameter 'lr' of run 'r1' is '1' and cannot change to '2'"
    assert data(furnished) == {"metrics": {"loss": 1.0}, "params": {"lr": "1"}, "tags": {"a": "b"}}


def run(number: int) -> dict[str, Any]:
    pairs = {"params": [{"key": "opt", "value": "SGD" if number % 2 else "Adam"}], "tags": []}
    metrics = [{"key": "acc", "value": number / 10}] if number else []
    info = {"run_id": str(number), "lifecycle_stage": "active", "start_time": number, "status": "FINISHED"}
    return {"info": info, "data": {**pairs, "metrics": metrics}}


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({}, "0123"),
        ({"filter": "metrics.acc >= 0.2"}, "23"),
        ({"filter": "metrics.acc > 0.1 and params.opt = 'SGD'"}, "3"),
        ({"filter": 'params.`opt` != "SGD"'}, "02"),
        ({"filter": "params.opt LIKE 'S%' AND attributes.status = 'FINISHED'"}, "13"),
        ({"filter": "params.opt ilike 'ad_m'"}, "02"),
        ({"filter": "tags.none = 'x'"}, ""),
        ({"filter": "params.opt > 1"}, ""),
        ({"order_by": ["metrics.acc DESC"]}, "3210"),
        ({"order_by": ["params.opt", "attribute.start_time DESC"]}, "2031"),
        ({"max_results": 2}, "01"),
        ({"run_view_type": "DELETED_ONLY"}, ""),
    ],
)
def test_searches(body: dict[str, Any], found: str) -> None:
    assert "".join(item["info"]["run_id"] for item in mlflow_search.chosen([run(n) for n in range(4)], body)) == found


@pytest.mark.parametrize("written", ["metrics.acc", "acc > ", "metrics.a > 1 or params.a = 'b'", "metrics.a > 1.2.3"])
def test_a_filter_that_cannot_be_read(written: str) -> None:
    with pytest.raises(ServiceError, match=r"in a filter|cannot be read"):
        mlflow_search.chosen([run(1)], {"filter": written})


def test_artifacts_asked_for_through_the_run(furnished: Client) -> None:
    below = f"{EXPERIMENT}/runs/r1/artifacts"
    made = furnished.ask("POST", f"{below}/batch/metadata", {"paths": [{"path": "a/b.txt"}]})
    uri = made["artifactContentInformation"]["a/b.txt"]["contentUri"]
    assert ".core." in uri.split("/")[2]
    assert furnished.signed("PUT", uri, b"abc").status == 201

    listed, content = (
        json.loads(furnished.raw("GET", below + more, b"", {"path": path}).content())  # type: ignore[arg-type]
        for more, path in (("", "a/"), ("/contentinfo", "a/b.txt"))
    )
    assert [item["path"] for item in listed["value"]] == ["a/b.txt"]
    assert furnished.signed("GET", content["contentUri"]).content().read_bytes() == b"abc"  # type: ignore[union-attr]
    assert "path" in furnished.refused("GET", f"{below}/contentinfo")


def test_a_job_is_told_where_to_log(furnished: Client) -> None:
    told = mlflow.variables(furnished.service, {"runId": "r1", "experimentId": "e", "experimentName": "exp"})
    assert told["MLFLOW_TRACKING_URI"] == f"azureml://127.0.0.1:1/mlflow/v2.0{WS}"
    claims = furnished.service.identity.claims(told["MLFLOW_TRACKING_TOKEN"])
    assert claims is not None
    assert claims["runid"] == told["MLFLOW_RUN_ID"] == "r1"


JOB = """
import os, pathlib, mlflow
mlflow.log_metric("loss", 0.5, step=1)
mlflow.log_metric("loss", 0.25, step=2)
mlflow.log_metrics({"a": 1.0})
mlflow.log_params({"lr": 0.1})
mlflow.set_tag("who", "me")
pathlib.Path("f.txt").write_text("hello")
mlflow.log_artifact("f.txt", "sub")
mlflow.log_metric("later", 7, synchronous=False).wait()
with mlflow.start_run(nested=True, run_name="kid"):
    mlflow.log_metric("k", 1)
client, own = mlflow.MlflowClient(), os.environ["AZUREML_RUN_ID"]
assert client.get_run(own).data.params == {"lr": "0.1"}
assert [(item.step, item.value) for item in client.get_metric_history(own, "loss")] == [(1, 0.5), (2, 0.25)]
assert [item.path for item in client.list_artifacts(own, "sub")] == ["sub/f.txt"]
assert pathlib.Path(mlflow.artifacts.download_artifacts(run_id=own, artifact_path="sub/f.txt")).read_text() == "hello"
"""
SUBMIT = """
import mlflow
from azureml.core import Environment, Experiment, Run, ScriptRunConfig, Workspace
from azureml.core.compute import AmlCompute, ComputeTarget
ws = Workspace.from_config()
size = AmlCompute.provisioning_configuration(vm_size="Standard_DS3_v2", max_nodes=1)
cluster = ComputeTarget.create(ws, "mlflow", size)
config = ScriptRunConfig("src", script="job.py", compute_target=cluster, environment=Environment("e"))
run = Experiment(ws, "tracked").submit(config)
run.wait_for_completion(show_output=False)
assert run.get_metrics() == {"loss": [0.5, 0.25], "a": 1.0, "later": 7.0}, run.get_metrics()
assert run.get_tags() == {"who": "me"}
assert "sub/f.txt" in run.get_file_names()
assert [child.get_metrics() for child in run.get_children()] == [{"k": 1.0}]
mlflow.set_tracking_uri(ws.get_mlflow_tracking_uri())
mlflow.set_experiment("tracked")
with mlflow.start_run(run_name="mine") as mine:
    mlflow.log_metric("q", 1)
assert Run.get(ws, mine.info.run_id).get_metrics() == {"q": 1.0}
found = mlflow.MlflowClient().search_runs([mine.info.experiment_id], "metrics.q > 0.5")
assert [(item.info.run_name, item.info.status) for item in found] == [("mine", "FINISHED")]
print("all of it")
"""


@pytest.mark.slow
@pytest.mark.skipif(find_spec("azureml") is None, reason="needs azureml-core: pip install 'amlrun[azure]'")
def test_unmodified_mlflow_in_a_job_and_outside(serving: Serving, tmp_path: Path) -> None:
    if find_spec("azureml.mlflow") is None:
        pytest.skip("needs azureml-mlflow: pip install 'amlrun[mlflow]'")
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "job.py").write_text(JOB)
    (tmp_path / "submit.py").write_text(SUBMIT)
    done = serving.shell(f"{serving.python} submit.py", tmp_path)
    assert "all of it" in done.stdout, done.stdout[-3000:] + done.stderr[-3000:]
