"""Plain azureml-core and mlflow: the calls that tutorial.py does not make, area by area.

`python walk.py all` in a shell that points to a workspace. Where only the SDK's own REST client can be made to ask,
that is what asks: address and body are the SDK's all the same.
"""

import base64
import json
import os
import sys
import time
from pathlib import Path

import mlflow
from azure.identity import ManagedIdentityCredential
from azureml._restclient import models as sent
from azureml._restclient.artifacts_client import ArtifactsClient
from azureml._restclient.assets_client import AssetsClient
from azureml._restclient.environment_client import EnvironmentClient
from azureml._restclient.experiment_client import ExperimentClient
from azureml._restclient.workspace_client import WorkspaceClient
from azureml.core import Dataset, Datastore, Environment, Experiment, Model, Run, ScriptRunConfig, Workspace
from azureml.core.authentication import InteractiveLoginAuthentication, MsiAuthentication
from azureml.core.compute import AmlCompute, ComputeTarget
from azureml.data._dataset_rest_helper import _restclient
from azureml.data.data_reference import DataReference
from azureml.exceptions import UserErrorException
from mlflow.entities import LoggedModelOutput

HERE = Path(__file__).resolve().parent
# A picture of one pixel.
DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="


def refusal(kind, call):
    """The text of the error that a call must end with."""
    try:
        call()
    except kind as error:
        return str(error)
    raise AssertionError("it should have been refused")


def cluster(ws, name="walk"):
    if name in ws.compute_targets:
        return ws.compute_targets[name]
    size = AmlCompute.provisioning_configuration(vm_size="Standard_DS3_v2", max_nodes=2)
    target = ComputeTarget.create(ws, name, size)
    target.wait_for_completion(show_output=False)
    return target


def submitted(ws, script, folder=HERE / "src", references=(), **more):
    source = ScriptRunConfig(str(folder), script, compute_target=cluster(ws), environment=Environment("e"), **more)
    source.run_config.data_references.update(references)
    run = Experiment(ws, "walk").submit(source)
    run.wait_for_completion(show_output=False)
    return run


def sign_in(ws):
    assert MsiAuthentication().get_authentication_header()["Authorization"].startswith("Bearer ")
    assert InteractiveLoginAuthentication().get_authentication_header()["Authorization"].startswith("Bearer ")
    os.environ["MSI_SECRET"] = "x"  # as on a node of Azure ML, where azure-identity asks in another way
    try:
        assert ManagedIdentityCredential().get_token("https://management.azure.com/.default").token.count(".") == 2
    finally:
        del os.environ["MSI_SECRET"]
    assert ws.name in Workspace.list(ws.subscription_id, resource_group=ws.resource_group)
    assert ws.name in Workspace.list(ws.subscription_id)
    assert Workspace(ws.subscription_id, ws.resource_group, ws.name).location == ws.location
    assert ws.get_details()["name"] == ws.name


def compute(ws):
    target = cluster(ws, "brief")
    assert list(target.get_active_runs()) == []
    assert list(Run.list_by_compute(target, tags={"a": "b"}, status="Running")) == []
    family = next(row["name"]["value"] for row in AmlCompute.list_quotas(ws) if "DSv2" in row["name"]["value"])
    AmlCompute.update_quotas(ws, family, limit=8)
    assert [row["limit"] for row in AmlCompute.list_quotas(ws) if row["name"]["value"] == family] == [8]
    AmlCompute.update_quotas(ws, family)
    target.delete()


def environments(ws):
    env = Environment("walked")
    env.version = "7"
    assert env.register(ws).version == "7"
    EnvironmentClient(ws.service_context)._set_envionment_definition_labels("walked", "7", ["stable"])
    assert Environment.get(ws, "walked", label="stable").version == "7"
    assert env.get_image_details(ws).image_exist
    built = env.build(ws)
    built.wait_for_completion(show_output=False)
    assert built.status == "Succeeded"
    assert env.build(ws, image_build_compute=cluster(ws).name).status == "Succeeded"


def datastores(ws):
    def register(credential, **more):
        return Datastore.register_azure_blob_container(ws, "mine", "photos", "emulator", **credential, **more)

    assert register({"account_key": base64.b64encode(b"key").decode()}, create_if_not_exists=True).name == "mine"
    assert "already exists" in refusal(Exception, lambda: register({"sas_token": "sv=1&sig=2"}))
    register({"sas_token": "sv=1&sig=2"}, overwrite=True)
    store = Datastore.get(ws, "mine")
    assert (store.datastore_type, store.container_name) == ("AzureBlob", "azureml-photos")
    assert "mine" in ws.datastores
    Path("photos/deep").mkdir(parents=True, exist_ok=True)
    Path("photos/deep/a b.txt").write_text("é")
    Path("photos/b.txt").write_text("two")
    store.upload_files(["photos/deep/a b.txt", "photos/b.txt"], "photos", "raw", show_progress=False)
    assert store.download("got", prefix="raw", show_progress=False) == 2
    assert Path("got/raw/deep/a b.txt").read_text() == "é"
    store.blob_service.get_blob_client(store.container_name, "raw/b.txt").delete_blob()
    assert store.download("less", prefix="raw", show_progress=False) == 1
    store.set_as_default()
    assert ws.get_default_datastore().name == "mine"
    ws.set_default_datastore("workspaceblobstore")
    store.unregister()
    assert "mine" not in ws.datastores
    words = refusal(
        Exception, lambda: Datastore.register_azure_file_share(ws, "files", "s", "emulator", account_key="a")
    )
    assert "the emulator does not answer POST" in words, words


def datasets(ws):
    """What the public calls ask for that make a dataset, which need azureml-dataset-runtime. Those that read do not."""
    where = (ws.subscription_id, ws.resource_group, ws.name)
    store, service = ws.get_default_datastore(), _restclient(ws).dataset
    Path("raw").mkdir(exist_ok=True)
    Path("raw/a.txt").write_text("a")
    store.upload("raw", target_path="raw", overwrite=True, show_progress=False)
    flow = {"type": "mltable", "paths": [{"pattern": "azureml://datastores/workspaceblobstore/paths/raw/**"}]}
    dataflow = json.dumps({"blocks": [], "meta": {"RsDataflow": json.dumps(flow)}})
    latest = sent.DatasetDefinitionDto(dataflow=dataflow, properties={})
    asked = sent.DatasetDto(name="birds", dataset_type="file", latest=latest, tags={"a": "b"})
    for version in ("1", "2"):
        made = service.register(*where, dataset_dto=asked, if_exists_ok=True, update_definition_if_exists=True)
        assert made.latest.version_id == version
    saved = service.ensure_saved(*where, dataset=sent.SavedDatasetDto(dataset_type="file", dataflow_json=dataflow))
    known = Dataset.get_by_name(ws, "birds")
    assert (known.name, known.version, known.tags) == ("birds", 2, {"a": "b"})
    assert Dataset.get_by_name(ws, "birds", version=1).version == 1
    assert Dataset.get_by_id(ws, known.id).name == "birds"
    assert Dataset.get_by_id(ws, saved.id).name is None
    assert len(ws.datasets) == 1
    reference = DataReference(store, "raw", path_on_datastore="raw", mode="download")
    lines = ["import sys, pathlib", "print(sorted(path.name for path in pathlib.Path(sys.argv[1]).iterdir()))"]
    Path("reads").mkdir(exist_ok=True)
    Path("reads/reads.py").write_text("\n".join(lines))
    run = submitted(ws, "reads.py", "reads", arguments=[str(reference)], references={"raw": reference.to_config()})
    run.download_file("user_logs/std_log.txt", "read.txt")
    assert Path("read.txt").read_text().strip() == "['a.txt']"
    known.unregister_all_versions()
    assert "birds" in refusal(UserErrorException, lambda: Dataset.get_by_name(ws, "birds"))


def experiments(ws):
    experiment = Experiment(ws, "put-away")
    experiment.set_tags({"a": "b", "c": "d"})
    experiment.refresh()
    assert experiment.tags["a"] == "b"
    experiment.archive()
    assert "put-away" not in [item.name for item in Experiment.list(ws)]
    experiment.reactivate()
    assert "put-away" in [item.name for item in Experiment.list(ws, tags="a")]


def queries(ws):
    """Filters, and pages of one run."""
    experiment = Experiment(ws, "asked")
    runs = [experiment.start_logging(snapshot_directory=None) for _ in range(4)]
    for number, run in enumerate(runs):
        run.set_tags({"sweep": "s", "number": str(number)})
        run.add_properties({"odd": str(number % 2)})
    runs[0].complete()
    runs[1].cancel()
    assert {run.id for run in experiment.get_runs(tags={"sweep": "s"})} == {run.id for run in runs}
    assert {run.id for run in experiment.get_runs(tags="sweep")} == {run.id for run in runs}
    assert {run.id for run in experiment.get_runs(properties={"odd": "1"})} == {runs[1].id, runs[3].id}
    client = ExperimentClient(ws.service_context, "asked", experiment.id)
    assert len(list(client.get_runs(last=1, tags={"sweep": "s"}))) >= 1
    assert [run.run_id for run in client.get_runs(status="Completed")] == [runs[0].id]
    assert len(list(client.get_runs_by_run_ids([run.id for run in runs], page_size=1))) == 4
    counted = client._execute_with_experiment_arguments(client._client.run.get_counts)
    assert (counted.completed, counted.canceled, counted.running) == (1, 1, 2)
    for run in runs[2:]:
        run.complete()


def formed(kind, data, version="1.0.0"):
    return {"schema_type": kind, "schema_version": version, "data": data}


def metrics(ws):
    """Of every kind; a run made by hand, with its children."""
    run = Experiment(ws, "logged").start_logging(snapshot_directory=str(HERE / "src"))
    for step in range(3):
        run.log("loss", 1 / (step + 1), step=step)
    run.log_list("list", [1, 2])
    run.log_row("row", x=1, y="a")
    run.log_table("table", {"x": [1, 2], "y": [3, 4]})
    Path("dot.png").write_bytes(base64.b64decode(DOT))
    run.log_image("picture", path="dot.png")
    rows = [[[1, 0, 1, 0]], [[1, 0, 1, 0]]]
    table = {"probability_tables": rows, "probability_thresholds": [0.5], "class_labels": ["a", "b"]}
    table |= {"percentile_tables": rows, "percentile_thresholds": [0.5]}
    run.log_accuracy_table("accuracy", formed("accuracy_table", table, "1.0.1"))
    matrix = {"class_labels": ["a", "b"], "matrix": [[1, 2], [3, 4]]}
    run.log_confusion_matrix("confusion", formed("confusion_matrix", matrix))
    run.log_residuals("residuals", formed("residuals", {"bin_edges": [0, 1], "bin_counts": [2]}))
    averages = {"bin_averages": [1], "bin_errors": [0], "bin_counts": [1], "bin_edges": [0, 1]}
    run.log_predictions("predictions", formed("predictions", averages))
    run.flush()
    found = run.get_metrics()
    assert found["loss"] == [1.0, 0.5, 1 / 3], found
    assert (found["list"], found["row"]) == ([1, 2], {"x": 1, "y": "a"}), found
    assert {"table", "picture", "confusion", "accuracy", "residuals", "predictions"} <= set(found)
    child = run.child_run("child")
    child.log("inner", 1)
    child.complete()
    kids = run.create_children(tag_key="kid", tag_values=["0", "1"])
    kids[0].fail("no data", "E1")
    kids[1].cancel()
    assert [item.get_status() for item in run.get_children(tags={"kid": "0"})] == ["Failed"]
    assert len(list(run.get_children(recursive=True))) == 3
    assert run.get_metrics(recursive=True, name="inner")
    run.tag("plain")
    run.description = "by hand"
    run.complete()
    assert Path(run.restore_snapshot(path="back")).exists()
    assert Run.get(ws, run.id).description == "by hand"


def artifacts(ws):
    run = Experiment(ws, "kept").start_logging(snapshot_directory=None)
    for name in ("one", "two"):
        Path(f"{name}.txt").write_text(name)
    run.upload_files(["files/one.txt", "files/two.txt"], ["one.txt", "two.txt"])
    assert set(run.get_file_names()) == {"files/one.txt", "files/two.txt"}
    run.download_files(output_directory="all")
    assert Path("all/files/two.txt").read_text() == "two"
    where = ("ExperimentRun", f"dcid.{run.id}")
    client = ArtifactsClient(ws.service_context)
    assert client.download_artifact_contents_to_string(*where, "files/one.txt") == "one"
    assert client._execute_with_workspace_arguments(client._client.artifact.get, *where, path="files/one.txt").path
    run.complete()
    model = run.register_model("walked", model_path="files", tags={"a": "b"}, properties={"p": "q"})
    model.add_tags({"c": "d"})
    model.add_properties({"r": "s"})
    model.remove_tags(["a"])
    model.update(description="told")
    model.add_dataset_references([])
    same = Model(ws, id=model.id)
    assert (same.tags, same.properties, same.description) == ({"c": "d"}, {"p": "q", "r": "s"}, "told")
    assert [item.id for item in Model.list(ws, name="walked", tags=[["c", "d"]], latest=True)] == [model.id]
    assert [item.id for item in Model.list(ws, run_id=run.id)] == [model.id]
    assert [asset.runid for asset in AssetsClient(ws.service_context).list_assets_with_query(run_id=run.id)] == [run.id]
    assert Path(same.download("model", exist_ok=True)).exists()
    same.delete()
    assert Model.list(ws, name="walked") == []


def jobs(ws):
    ws.get_default_keyvault().set_secret("walked", "a secret")
    run = submitted(ws, "inside.py")
    assert run.get_status() == "Completed", run.get_details_with_logs()
    assert (run.get_tags(), run.display_name) == ({"a": "1"}, "inside")
    assert sorted(child.get_status() for child in run.get_children()) == ["Completed", "Failed"]
    Experiment(ws, "walk").set_tags({"seen": "outside"})
    assert run.get_metrics() == {"loss": 0.5}
    assert run.get_snapshot_id()
    assert WorkspaceClient(ws.service_context).get_run(run.id).run_id == run.id


def tracking(ws):
    mlflow.set_tracking_uri(ws.get_mlflow_tracking_uri())
    mlflow.set_experiment("tracked")
    client = mlflow.MlflowClient()
    with mlflow.start_run(run_name="mine") as mine:
        run_id, experiment = mine.info.run_id, mine.info.experiment_id
        mlflow.log_metric("loss", 0.5, step=1)
        mlflow.log_metrics({"a": 1.0, "b": 2.0})
        mlflow.log_param("lr", 0.1)
        mlflow.set_tag("who", "me")
        mlflow.delete_tag("who")
        mlflow.log_metric("later", 7, synchronous=False).wait()
        mlflow.log_text("hello", "model/a.txt")
        with mlflow.start_run(nested=True):
            mlflow.log_params({"c": "d"})
        logged = client.create_logged_model(experiment, "net", run_id, {"t": "u"}, {"p": "q"}, "classifier")
        client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, 1)])
        client.finalize_logged_model(logged.model_id, "READY")
    assert client.get_logged_model(logged.model_id).status == "READY"
    assert [item.name for item in client.search_logged_models([experiment], "name = 'net'")] == ["net"]
    assert client.get_run(run_id).outputs.model_outputs[0].model_id == logged.model_id
    assert client.get_experiment(experiment).name == client.get_experiment_by_name("tracked").name == "tracked"
    assert [point.value for point in client.get_metric_history(run_id, "later")] == [7]
    assert [item.info.run_id for item in client.search_runs([experiment], "metrics.loss < 1")] == [run_id]
    assert [item.path for item in client.list_artifacts(run_id, "model")] == ["model/a.txt"]
    found = mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path="model/a.txt")
    assert Path(found).read_text() == "hello"
    client.create_registered_model("tracked-net")
    assert "already exists" in refusal(mlflow.MlflowException, lambda: client.create_registered_model("tracked-net"))
    version = client.create_model_version("tracked-net", f"{mine.info.artifact_uri}/model", run_id)
    assert (version.version, client.get_model_version("tracked-net", "1").run_id) == ("1", run_id)
    assert [item.version for item in client.search_model_versions("name='tracked-net'")] == ["1"]
    assert Path(Model(ws, "tracked-net").download("tracked", exist_ok=True)).exists()


SECTIONS = (
    sign_in,
    compute,
    environments,
    datastores,
    datasets,
    experiments,
    queries,
    metrics,
    artifacts,
    jobs,
    tracking,
)

if __name__ == "__main__":
    workspace = Workspace.from_config()
    for section in SECTIONS:
        if section.__name__ in sys.argv[1:] or sys.argv[1:] == ["all"]:
            started = time.monotonic()
            section(workspace)
            print(f"{section.__name__}: passed in {time.monotonic() - started:.1f} s", flush=True)
