"""Every route answers with what the SDK reads, by the names in which it reads it.

The names are those of the SDK's own models (azureml/_restclient/models) and of what its code takes from raw answers.
"""

from __future__ import annotations

import copy
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from runner.emulator.messages import Response, Route
from runner.emulator.routes import AREAS
from runner.emulator.scripted import ScriptedEngine
from runner.emulator.store import Store
from tests.emulator.bodies import (
    BODIES,
    DATASETS,
    SCALE,
    STEPS,
    dataset_body,
    event_body,
    furnish,
    run_body,
    store_body,
)
from tests.emulator.conftest import WS, Client, Recorder, made

PAGE = ("value", "continuationToken", "nextLink")
EXPERIMENT = ("experimentId", "name", "createdUtc", "archivedTime", "tags")
LISTED_RUN = (
    *("runId", "runNumber", "rootRunId", "parentRunId", "experimentId", "dataContainerId", "runType", "name"),
    *("displayName", "status", "createdUtc", "startTimeUtc", "endTimeUtc", "target", "properties", "tags"),
    *("cancelUri", "error", "warnings"),
)
RUN = (*LISTED_RUN, "runDefinition")
SUBSCRIPTION = ("id", "subscriptionId", "displayName", "state", "tenantId")
WORKSPACE = (
    *("id", "name", "location", "tags", "sku.tier", "properties.workspaceId", "properties.discoveryUrl"),
    *("properties.storageAccount", "properties.keyVault", "properties.applicationInsights"),
    "properties.provisioningState",
)
CLOUD = (
    *("name", "portal", "resourceManager", "gallery", "graph", "graphAudience", "batch", "media", "sqlManagement"),
    *("vmImageAliasDoc", "activeDirectoryDataLake", "microsoftGraphResourceId", "authentication.loginEndpoint"),
    *("authentication.audiences", "authentication.tenant", "authentication.identityProvider", "suffixes.storage"),
    *("suffixes.keyVaultDns", "suffixes.sqlServerHostname", "suffixes.azureDataLakeStoreFileSystem"),
    *("suffixes.azureDataLakeAnalyticsCatalogAndJob", "suffixes.acrLoginServer"),
)
COMPUTE = (
    *("id", "name", "location", "tags"),
    *(f"properties.{name}" for name in ("computeType", "description", "resourceId", "provisioningState")),
    *(f"properties.{name}" for name in ("provisioningErrors", "isAttachedCompute", "createdOn", "modifiedOn")),
    *(f"properties.properties.{name}" for name in ("vmSize", "vmPriority", "scaleSettings.minNodeCount", "subnet")),
    *(f"properties.properties.{name}" for name in ("currentNodeCount", "targetNodeCount", "allocationState", "errors")),
    "properties.properties.allocationStateTransitionTime",
    *(f"properties.properties.userAccountCredentials.adminUser{name}" for name in ("Name", "Password", "SshPublicKey")),
    *(
        f"properties.properties.nodeStateCounts.{name}NodeCount"
        for name in ("idle", "running", "preparing", "leaving", "unusable", "preempted")
    ),
)
ENVIRONMENT = ("name", "version", "environmentVariables", "python", "docker", "spark", "inferencingStackVersion")
DATASTORE = (
    *("name", "dataStoreType", "hasBeenValidated", "isDefault", "tags", "azureStorageSection.accountName"),
    *(f"azureStorageSection.{name}" for name in ("containerName", "endpoint", "protocol", "credentialType")),
    *(f"azureStorageSection.{name}" for name in ("credential", "sasToken", "isSas", "accountKey")),
)
DATASET = (
    *("datasetId", "name", "description", "tags", "datasetType", "latest.versionId", "latest.savedDatasetId"),
    *("latest.dataflow", "latest.properties"),
)
SAVED = ("id", "datasetType", "dataflowJson", "properties")
ARTIFACT = ("artifactId", "origin", "container", "path", "dataPath", "createdTime", "etag")
CONTENT = ("contentUri", "origin", "container", "path")
ASSET = ("id", "name", "artifacts", "createdTime")
MODEL = ("id", "name", "version", "url", "createdTime", "datasets", "kvTags", "properties", "description", "framework")
FAULTS = ("faults", "latency", "repeat")
SECRET = ("name", "value", "createdTime", "modifiedTime")


def each(names: tuple[str, ...], *others: str, of: str = "value") -> tuple[str, ...]:
    """These names in the first item of a list, and others beside the list."""
    return (*(f"{of}.0.{name}" for name in names), *others)


# By the function that answers: several routes may share one.
ANSWERS: Mapping[str, tuple[str, ...]] = {
    "artifacts.batch_contents": ("artifacts", "artifactContentInformation", "errors"),
    "artifacts.content": CONTENT,
    "artifacts.contents_below": each(CONTENT, *PAGE),
    "artifacts.create_many": (
        *(f"artifacts.x.{name}" for name in ARTIFACT),
        *(f"artifactContentInformation.x.{name}" for name in CONTENT),
        "errors",
    ),
    "artifacts.get": ARTIFACT,
    "artifacts.list_all": each(ARTIFACT, *PAGE),
    "environments.build": (),
    "quotas.list_all": ("value.0.id", "value.0.type", "value.0.limit", "value.0.unit"),
    "quotas.update": ("value",),  # as many as were asked about: none
    "runs.counts": ("completed", "failed", "running", "queued", "canceled"),
    "compute.change": COMPUTE,
    "compute.create": COMPUTE,
    "compute.delete": (),
    "compute.get": COMPUTE,
    "compute.list_all": each(COMPUTE),
    "compute.nodes": each(("nodeId", "port", "publicIpAddress", "privateIpAddress", "nodeState", "runId"), of="nodes"),
    "compute.operation": ("status",),
    "compute.size_list": each(("name", "family", "vCPUs", "gpus", "memoryGB"), of="amlCompute"),
    "compute.usages": each(("id", "type", "unit", "currentValue", "limit", "name.value", "name.localizedValue")),
    "control.adopt": ("id", "names.0.subscription", "names.0.group", "names.0.name"),
    "control.advance": ("clock", "done", "going"),
    "control.clear": FAULTS,
    "control.fail_next": ("number", "kind", "method", "path", "left", "seconds"),
    "control.faults": FAULTS,
    "control.latency": FAULTS,
    "control.preempt": ("run", "nodes"),
    "control.repeat": FAULTS,
    "control.requests": each(("method", "path", "status", "seconds", "time"), of="requests"),
    "control.reset": ("workspaceId",),
    "control.script": ("script.preparing", "script.final", "speed"),
    "control.status": ("origin", "workspaceId", "python", "runs", "compute", "experiments", "models"),
    "datasets.data_version": ("legacyDataflow",),
    "datasets.get": DATASET,
    "datasets.get_saved": SAVED,
    "datasets.list_all": each(DATASET, *PAGE),
    "datasets.of_saved": each(DATASET, *PAGE),
    "datasets.register": DATASET,
    "datasets.save": SAVED,
    "datasets.unregister": (),
    "datastores.change": (),
    "datastores.default": DATASTORE,
    "datastores.get": DATASTORE,
    "datastores.list_all": each(DATASTORE, *PAGE),
    "datastores.register": (),
    "datastores.set_default": (),
    "datastores.unregister": (),
    "environments.get": ENVIRONMENT,
    "environments.get_by_label": ENVIRONMENT,
    "environments.image": (
        *("imageExistsInRegistry", "dockerImage.name", "dockerImage.registry.address", "pythonEnvironment"),
        *("condaEnvironmentSpecification", "ingredients"),
    ),
    "environments.list_all": each(ENVIRONMENT, *PAGE),
    "environments.register": ENVIRONMENT,
    "environments.set_labels": (),
    "events.event": (),
    "events.events": ("errors",),
    "experiments.change": EXPERIMENT,
    "experiments.create": EXPERIMENT,
    "experiments.get": EXPERIMENT,
    "experiments.list_experiments": each(EXPERIMENT, *PAGE),
    "experiments.query_all_runs": each(LISTED_RUN, *PAGE),
    "experiments.query_experiments": each(EXPERIMENT, *PAGE),
    "experiments.query_runs": each(LISTED_RUN, *PAGE),
    "experiments.runs_on_compute": each(LISTED_RUN, *PAGE),
    "metrics.full": ("name", "columns", "properties", "value.0.metricId", "value.0.data", "continuationToken"),
    "metrics.names": each(("metricKey.name", "columns", "properties"), "continuationToken"),
    "metrics.wait": (),
    "metrics.wait_in_history": (),
    "metrics.write": ("errors",),
    "models.change": MODEL,
    "models.create": MODEL,
    "models.create_asset": ASSET,
    "models.delete": (),
    "models.get": MODEL,
    "models.get_asset": ASSET,
    "models.list_all": each(MODEL, "nextLink"),
    "models.list_assets": each(ASSET, "nextLink"),
    "runs.cancel": ("runId",),
    "runs.change": RUN,
    "runs.change_many": (*(f"runs.p.{name}" for name in RUN), "errors"),
    "runs.children": each(RUN, *PAGE),
    "runs.details": (
        *("runId", "target", "status", "startTimeUtc", "endTimeUtc", "error", "warnings", "properties"),
        *("inputDatasets", "outputDatasets", "runDefinition", "logFiles"),
    ),
    "runs.get": RUN,
    "runs.remove_tags": RUN,
    "runs.run_data": tuple(f"runMetadata.{name}" for name in RUN),
    "runs.token": ("token", "expiryTimeUtc"),
    "snapshots.addresses": each(("fullName", "blobUri"), of="fileNodes"),
    "snapshots.archive": ("zipSasUri",),
    "snapshots.create": ("id", "root", "createdTime"),
    "snapshots.latest": ("id", "root"),
    "snapshots.metadata": ("id", "properties", "createdTime", "files"),
    "submission.submit": ("runId",),
    "vault.delete": (),
    "vault.get": SECRET,
    "vault.get_many": (*each(SECRET, of="secrets"), "notFoundSecrets"),
    "vault.names": each(("name",), *PAGE),
    "vault.put": (),
    "vault.put_many": (),
    "workspaces.clouds": tuple(f"{number}.{name}" for number in (0, 1) for name in CLOUD),
    "workspaces.discovery": ("api", "experimentation", "history", "hyperdrive", "modelmanagement", "studio"),
    "workspaces.get_subscription": SUBSCRIPTION,
    "workspaces.openid": ("authorization_endpoint", "token_endpoint", "issuer"),
    "workspaces.principal_token": ("token_type", "expires_in", "access_token"),
    "workspaces.subscriptions": each(SUBSCRIPTION, *PAGE),
    "workspaces.tenants": each(("id", "tenantId"), *PAGE),
    "workspaces.token": ("access_token", "token_type", "expires_on", "resource"),
    "workspaces.workspace": WORKSPACE,
    "workspaces.workspace_list": each(WORKSPACE, *PAGE),
}
# Null would be followed as an address, or be taken for one of the things that an identity can be.
NEVER = {"compute.list_all": ("nextLink",), "compute.nodes": ("nextLink",), "compute.get": ("identity",)}


def name_of(route: Route) -> str:
    return f"{route.answer.__module__.rpartition('.')[2]}.{route.answer.__name__}"


def body_of(name: str, client: Client) -> Any:
    """What to send; nothing for most."""
    known: dict[str, Any] = {
        "compute.change": SCALE,
        "datasets.register": {**dataset_body(), "name": "cats"},
        "datastores.change": store_body(),
        "datastores.register": store_body("other"),
        "control.fail_next": {"kind": "500", "path": "/nothing"},
        "control.latency": {"least": 0},
        "control.preempt": {"run": "r1"},
        "control.repeat": {"answer": "accept"},
        "events.event": event_body("Start"),
        "models.change": STEPS,
        "runs.change": {},
        "runs.change_many": {"runs": [run_body("p")]},
        "runs.remove_tags": ["a"],
    }
    rows = {
        **{"artifacts.create_many": "artifacts", "artifacts.batch_contents": "artifact contents"},
        **{"compute.create": "compute", "control.adopt": "adoption", "environments.register": "environment"},
        **{"environments.set_labels": "labels", "events.events": "events", "experiments.change": "experiment"},
        **{"metrics.full": "metric", "metrics.write": "metrics", "models.create": "model"},
        **{"models.create_asset": "asset", "runs.run_data": "run data", "snapshots.addresses": "snapshot addresses"},
        **{"snapshots.create": "snapshot", "submission.submit": "submission", "vault.put": "secret"},
        **{"vault.put_many": "secrets", "datasets.save": "saved dataset"},
    }
    if name == "vault.get_many":
        return {"secrets": [{"name": "key"}]}
    return BODIES[rows[name]](client)[2] if name in rows else known.get(name)


def path_of(route: Route, client: Client) -> str:
    (asset, *_) = client.ask("GET", f"/modelmanagement/v1.0{WS}/assets")["value"]
    (dataset,) = client.ask("GET", DATASETS)["value"]
    saved = dataset["latest"]["savedDatasetId"]
    experiment = client.ask("GET", f"/history/v1.0{WS}/experiments/exp")
    secrets = {"msi": client.service.identity.path_secret, "_emulator": client.service.identity.control_secret}
    subscription, group = WS.split("/")[2], WS.split("/")[4]
    known = {
        **{"subscription": subscription, "group": group, "tenant": "t", "location": "eastus", "compute": "gpu"},
        **{"operation": "done", "environment": "env", "version": "1", "label": "latest", "run": "r1"},
        **{"dataset": "birds", "saved": saved, "data": f"unregistered-{saved}"},
        **{"datastore": "mine", "experiment": "exp", "experiment_id": experiment["experimentId"]},
        **{"snapshot": "s1", "origin": "ExperimentRun", "container": "dcid.r1", "path": "outputs/m.pt"},
        **{
            "asset": asset["id"],
            "model": "birds:1",
            "secret": secrets.get(route.template[1:].partition("/")[0], "key"),
        },
    }
    return re.sub(r"\{(\w+)(:rest)?\}", lambda found: str(known[found[1]]), route.template.replace("{ws}", WS))


def reached(document: Any, dotted: str) -> Any:
    """What stands there. Fails by KeyError or IndexError where nothing does."""
    for name in dotted.split("."):
        document = document[int(name)] if name.isdigit() else document[name]
    return document


# What the SDK asks for as JSON: neither bytes nor what people look at; MLflow's shapes are test_mlflow.py's.
JSON_ROUTES = [route for area, routes in AREAS if area not in ("Blobs", "Page", "MLflow") for route in routes]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Client:
    """Furnished and closed: its state is there to be copied."""
    engine, store = Recorder(), Store(tmp_path_factory.mktemp("original") / "emulator")
    client = Client(made(store, engine), engine)
    furnish(client)
    client.ask("PATCH", f"/history/v1.0{WS}/experiments/exp/runs/child", {"parentRunId": "r1"})
    client.engine.busy["gpu"] = 1
    client.ask("POST", DATASETS, dataset_body())
    store.close()
    return client


@pytest.fixture
def furnished(original: Client, tmp_path: Path) -> Iterator[Client]:
    shutil.copytree(original.service.store.folder, tmp_path / "emulator")
    engine, store = copy.deepcopy(original.engine), Store(tmp_path / "emulator")
    yield Client(made(store, engine), engine)
    store.close()


def test_every_function_has_its_row() -> None:
    assert {name_of(route) for route in JSON_ROUTES} == set(ANSWERS)


def asked(route: Route, client: Client) -> Response:
    name = name_of(route)
    body = body_of(name, client)
    if name == "compute.delete":
        client.engine.busy.clear()
    if name in ("control.advance", "control.script"):
        client.service.engine = ScriptedEngine(client.service)
    if name == "workspaces.principal_token":
        form = f"grant_type=client_credentials&client_id=me&client_secret={client.service.identity.path_secret}"
        return client.raw(route.method, path_of(route, client), form.encode())
    content = b"" if body is None else json.dumps(body).encode()
    return client.raw(route.method, path_of(route, client), content)


@pytest.mark.parametrize("route", JSON_ROUTES, ids=lambda route: f"{route.method} {route.template}")
def test_an_answer_has_what_the_sdk_reads(route: Route, furnished: Client) -> None:
    response = asked(route, furnished)
    content = response.content()
    assert isinstance(content, bytes)
    assert response.status in (200, 201, 202), content
    document = json.loads(content) if content else {}
    for dotted in ANSWERS[name_of(route)]:
        reached(document, dotted)
    for absent in NEVER.get(name_of(route), ()):
        assert absent not in document
