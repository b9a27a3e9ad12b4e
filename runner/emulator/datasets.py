"""Registered datasets: a name, versions, and what each reads: files at one path of a datastore.

A version holds the dataflow that the SDK sent; of it the emulator understands the one pattern of a file dataset.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from typing import Any

import yaml

from runner.emulator import datastores
from runner.emulator.checking import needed, only_known, section, shortened, text, text_pairs
from runner.emulator.messages import Request, Route, ServiceError, bad_request, not_found, now, page
from runner.emulator.service import Service

DATASETS = "/dataset/v1.0{ws}/datasets"
SAVED = "/dataset/v1.0{ws}/saveddatasets"
DATES = ("createdTime", "modifiedTime", "etag")
ABOUT = ("datasetId", "description", "tags", *DATES)
FIELDS = (*ABOUT, "datasetState", "latest", "name", "isVisible", "defaultCompute", "datasetType")
LATEST = (
    *ABOUT,
    "versionId",
    "datasetDefinitionState",
    "dataflow",
    "dataPath",
    "partitionFormatInPath",
    "profileActionResult",
    "notes",
    "fileType",
    "properties",
    "savedDatasetId",
    "telemetryInfo",
    "useDescriptionTagsFromDefinition",
)
SAVED_FIELDS = ("id", "datasetType", "properties", "dataflowJson", "dataflow", "telemetryInfo")
NAME_CHARACTERS = 255
PATTERN = re.compile(
    r"azureml://(?:subscriptions/[^/]+/resourcegroups/[^/]+/workspaces/[^/]+/)?datastores/([^/]+)/paths/(.*)"
)
# What `from_files` appends to a folder.
EVERYTHING = re.compile(r"/?\*\*(/\*)?$")


def register(service: Service, request: Request) -> dict[str, Any]:
    """A new dataset; with `updateDefinitionIfExists` another version of one that exists."""
    body = only_known(request.object(), FIELDS, "the dataset")
    name = needed(body.get("name"), "name")
    if len(name) > NAME_CHARACTERS or not name.isprintable():
        raise bad_request(
            f"dataset name '{shortened(name)}' is invalid; at most {NAME_CHARACTERS} printable characters"
        )
    definition = only_known(section(body.get("latest"), "latest"), LATEST, "latest")
    with service.store.transaction():
        versions = service.store.all("dataset", name)
        if versions and request.query.get("updateDefinitionIfExists", "").lower() != "true":
            raise ServiceError(409, "Conflict", f"dataset '{name}' already exists")
        saved = keep(service, body.get("datasetType"), definition.get("dataflow"), definition.get("properties"))
        made = {
            "datasetId": versions[0]["datasetId"] if versions else str(uuid.uuid4()),
            "name": name,
            "version": str(len(versions) + 1),
            "saved": saved["id"],
            "description": text(body.get("description"), "description"),
            "tags": text_pairs(body.get("tags"), "tags"),
            "created": now(),
        }
        service.store.put("dataset", name, made["version"], made)
    return shown(service, made)


def keep(service: Service, kind: Any, dataflow: Any, properties: Any) -> dict[str, Any]:
    """What a dataset reads, as it was sent. Raises ServiceError (400) for what the emulator cannot read."""
    written = needed(dataflow, "the dataflow")
    where = read(service, written)
    document = {"datasetType": needed(kind, "datasetType"), "properties": section(properties, "properties")}
    identifier = str(uuid.uuid4())
    return service.store.put(
        "saved dataset", "", identifier, {**document, "id": identifier, "dataflowJson": written, **where}
    )


def read(service: Service, written: str) -> dict[str, str]:
    """Datastore and path of a dataflow that reads one of them, and whose `RsDataflow` says so."""
    try:
        flow = yaml.safe_load(str(json.loads(written)["meta"]["RsDataflow"]))
        (only,) = flow["paths"]
        (pattern,) = only.values()
    except (ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError):
        raise bad_request(
            "the dataflow is not read by the emulator; it takes the files of one datastore path"
        ) from None
    found = PATTERN.fullmatch(str(pattern))
    path = EVERYTHING.sub("", found[2]).strip("/") if found else ""
    if found is None or "*" in path or flow.get("transformations"):
        raise bad_request(
            f"'{shortened(pattern)}' is not read by the emulator; it takes a folder or file of a datastore"
        )
    return {"datastore": datastores.require(service, found[1]), "path": path, "flow": yaml.safe_dump(flow)}


def shown(service: Service, found: Mapping[str, Any]) -> dict[str, Any]:
    saved = saved_one(service, found["saved"])
    latest = {
        "datasetId": found["datasetId"],
        "versionId": found["version"],
        "datasetDefinitionState": {"state": "active"},
        "dataflow": saved["dataflowJson"],
        "properties": saved["properties"],
        "savedDatasetId": found["saved"],
        "createdTime": found["created"],
        "modifiedTime": found["created"],
    }
    return {
        "datasetId": found["datasetId"],
        "datasetState": {"state": "active"},
        "latest": latest,
        "createdTime": found["created"],
        "modifiedTime": found["created"],
        "name": found["name"],
        "description": found["description"],
        "tags": found["tags"],
        "isVisible": True,
        "datasetType": saved["datasetType"],
    }


def saved_one(service: Service, identifier: str) -> dict[str, Any]:
    found = service.store.get("saved dataset", "", identifier)
    if found is None:
        raise not_found(f"saved dataset '{shortened(identifier)}' does not exist", "DatasetNotFound")
    return found


def version_of(service: Service, name: str, version: Any = None) -> dict[str, Any]:
    """One version; the newest without any, or by the word 'latest'."""
    versions = service.store.all("dataset", name)
    for found in reversed(versions):
        if version in (None, "", "latest", found["version"]):
            return found
    asked = f" version '{shortened(version)}'" if versions else ""
    raise not_found(f"dataset '{shortened(name)}'{asked} does not exist in this workspace", "DatasetNotFound")


def meant(service: Service, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Datastore and path of the dataset that a run configuration names. Raises ServiceError (400, 404)."""
    known = only_known(asked, ("id", "name", "version"), "a dataset")
    identifier = text(known.get("id"), "the id of a dataset")
    if identifier is None:
        name = needed(known.get("name"), "the name of a dataset")
        identifier = version_of(service, name, text(known.get("version"), "the version of a dataset"))["saved"]
    return saved_one(service, identifier)


def get(service: Service, request: Request) -> dict[str, Any]:
    return shown(service, version_of(service, request.parameters["dataset"], request.query.get("versionId")))


def list_all(service: Service, request: Request) -> dict[str, Any]:
    newest = {found["name"]: found for found in service.store.all("dataset")}
    return page([shown(service, found) for found in newest.values()])


def of_saved(service: Service, request: Request) -> dict[str, Any]:
    wanted = request.parameters["saved"]
    return page([shown(service, found) for found in service.store.all("dataset") if found["saved"] == wanted])


def unregister(service: Service, request: Request) -> dict[str, Any]:
    """Every version; runs that were submitted with one keep what they have."""
    with service.store.transaction():
        name = version_of(service, request.parameters["dataset"])["name"]
        for found in service.store.all("dataset", name):
            service.store.delete("dataset", name, found["version"])
    return {}


def save(service: Service, request: Request) -> dict[str, Any]:
    """A dataset without a name: what a run reads that nobody has registered."""
    body = only_known(request.object(), SAVED_FIELDS, "the dataset")
    return saved_shown(keep(service, body.get("datasetType"), body.get("dataflowJson"), body.get("properties")))


def saved_shown(found: Mapping[str, Any]) -> dict[str, Any]:
    return {key: found[key] for key in ("id", "datasetType", "properties", "dataflowJson")}


def get_saved(service: Service, request: Request) -> dict[str, Any]:
    return saved_shown(saved_one(service, request.parameters["saved"]))


def data_version(service: Service, request: Request) -> dict[str, Any]:
    """The same, as the newer data service says it: what the SDK asks after every one of the above."""
    found = saved_one(service, request.parameters["data"].removeprefix("unregistered-"))
    return {"legacyDataflow": found["flow"], "legacyDataflowType": "YamlDataflow", "legacySavedDatasetId": found["id"]}


ROUTES = (
    Route("POST", DATASETS, register, "`FileDataset.register`"),
    Route("GET", DATASETS, list_all, "`ws.datasets`"),
    Route("GET", DATASETS + "/query/name={dataset}", get, "`Dataset.get_by_name`"),
    Route("GET", DATASETS + "/query/savedDatasetId={saved}", of_saved, "`Dataset.get_by_id`, `run.input_datasets`"),
    Route("DELETE", DATASETS + "/{dataset}", unregister, "`FileDataset.unregister_all_versions`"),
    Route("POST", SAVED, save, "`FileDataset.as_mount`, `.as_download`"),
    Route("GET", SAVED + "/{saved}", get_saved, "`Dataset.get_by_id`"),
    Route("GET", "/data/v1.0{ws}/dataversion/{data}/versions/{version}", data_version, "every dataset"),
)
