"""Datastores: the workspace's own blob containers, with a signature as their credential."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from runner.emulator.blobs import file_of
from runner.emulator.checking import needed, only_known, section, shortened
from runner.emulator.messages import Request, Route, ServiceError, bad_request, not_found, page
from runner.emulator.service import ACCOUNT, Service

DATASTORES = "/datastore/v1.0{ws}"
DEFAULT = "workspaceblobstore"
# What the SDK expects to find in every workspace, and the container of each.
OWN = {DEFAULT: "blobstore", "workspaceartifactstore": "artifacts"}
NAME = re.compile(r"[a-z0-9_]{1,255}")
# As Azure names containers; what the workspace keeps for itself is nobody's datastore.
CONTAINER = re.compile(r"(?!.*--)[a-z0-9][a-z0-9-]{1,54}[a-z0-9]")
RESERVED = ("artifacts", "snapshots")
KIND = "AzureBlob"
# azureml/data/constants.py: Azure has them, and they are reached in ways of their own.
OTHER_KINDS = (
    "AzureFile",
    "AzureDataLake",
    "AzureDataLakeGen2",
    "AzureSqlDatabase",
    "AzurePostgreSql",
    "AzureMySql",
    "DBFS",
    "Hdfs",
)
FIELDS = ("name", "dataStoreType", "hasBeenValidated", "tags", "azureStorageSection")
STORAGE = (
    "accountName",
    "containerName",
    "endpoint",
    "protocol",
    "credentialType",
    "credential",
    "clientCredentials",
    "blobCacheTimeout",
    "isSas",
    "accountKey",
    "sasToken",
    "areWorkspaceManagedIdentitiesAllowed",
    "subscriptionId",
    "resourceGroup",
    "serviceDataAccessAuthIdentity",
)
KEEP_SECONDS = 7 * 24 * 3600


def described(service: Service, name: str) -> dict[str, Any]:
    container = f"azureml-{containers(service)[name]}"
    signature = service.identity.address_query(f"/{container}", "rcwl", KEEP_SECONDS)
    section = {
        "accountName": ACCOUNT,
        "containerName": container,
        # With user information before the host, as in every blob address of the emulator.
        "endpoint": f"emu@{service.host}",
        "protocol": "https",
        "credentialType": "Sas",
        "credential": signature,
        "sasToken": signature,
        "isSas": True,
        "accountKey": None,
    }
    return {
        "name": name,
        "dataStoreType": KIND,
        "hasBeenValidated": True,
        "isDefault": name == default_name(service),
        "tags": {},
        "azureStorageSection": section,
    }


def containers(service: Service) -> dict[str, str]:
    """Each datastore's container: the workspace's own, and those that were registered."""
    return {**OWN, **{found["name"]: found["container"] for found in service.store.all("datastore")}}


def default_name(service: Service) -> str:
    found = service.store.get("default datastore", "", "name")
    return str(found["name"]) if found and found["name"] in containers(service) else DEFAULT


def default(service: Service, request: Request) -> dict[str, Any]:
    return described(service, default_name(service))


def set_default(service: Service, request: Request) -> None:
    name = require(service, request.parameters["datastore"])
    service.store.put("default datastore", "", "name", {"name": name})


def get(service: Service, request: Request) -> dict[str, Any]:
    return described(service, require(service, request.parameters["datastore"]))


def require(service: Service, name: str) -> str:
    """The name as it is spelled. Raises ServiceError (404)."""
    known = containers(service)
    if name.lower() not in known:
        raise not_found(f"datastore '{name}' does not exist; there are {', '.join(known)}", "DatastoreNotFound")
    return name.lower()


def list_all(service: Service, request: Request) -> dict[str, Any]:
    return page([described(service, name) for name in containers(service)])


def register(service: Service, request: Request) -> None:
    """A container of the emulator's own storage account, made on first use. The credential is not looked at."""
    name, container = asked(request)
    with service.store.transaction():
        if name in containers(service):
            raise bad_request(f"Another datastore with the same name already exists: '{name}'")
        service.store.put("datastore", "", name, {"name": name, "container": container})


def change(service: Service, request: Request) -> None:
    """PUT: `overwrite=True` of a datastore that exists."""
    name, container = asked(request)
    with service.store.transaction():
        if require(service, request.parameters["datastore"]) != name or name in OWN:
            raise bad_request(f"datastore '{name}' cannot be changed")
        service.store.put("datastore", "", name, {"name": name, "container": container})


def asked(request: Request) -> tuple[str, str]:
    """Name and container. Raises ServiceError (400) for a store that is not the emulator's, 501 for other kinds."""
    body = only_known(request.object(), FIELDS, "the datastore")
    name, kind = needed(body.get("name"), "name").lower(), body.get("dataStoreType")
    if not NAME.fullmatch(name):
        raise bad_request(
            f"datastore name '{shortened(name)}' is invalid; lower-case letters, digits and '_', at most 255"
        )
    if kind in OTHER_KINDS:
        what = f"{request.method} {request.path} for a datastore of type '{kind}'"
        raise ServiceError(501, "NotImplemented", f"the emulator does not answer {what}; it has {KIND} only")
    if kind != KIND:
        raise bad_request(f"a datastore of type '{shortened(kind)}' is unknown; the emulator has {KIND} only")
    storage = only_known(
        section(body.get("azureStorageSection"), "azureStorageSection"), STORAGE, "azureStorageSection"
    )
    if storage.get("accountName") != ACCOUNT:
        account = shortened(storage.get("accountName"))
        raise bad_request(f"storage account '{account}' is not the emulator's; its only one is '{ACCOUNT}'")
    container = needed(storage.get("containerName"), "containerName").removeprefix("azureml-")
    if not CONTAINER.fullmatch(container) or container in RESERVED:
        raise bad_request(f"container name '{shortened(container)}' is invalid; lower-case letters, digits and '-'")
    return name, container


def unregister(service: Service, request: Request) -> None:
    """What is in its container stays."""
    name = require(service, request.parameters["datastore"])
    if name in OWN:
        raise bad_request(f"datastore '{name}' is the workspace's own and stays")
    service.store.delete("datastore", "", name)


def files_below(service: Service, name: str, path: str) -> Iterator[tuple[str, Path]]:
    """Every file at a path (nothing: of the whole datastore), with its name in the datastore."""
    container = containers(service)[require(service, name)]
    for blob in service.store.all("blob", container):
        inside = not path or blob["name"] == path or blob["name"].startswith(f"{path}/")
        if inside and (file := file_of(service, container, blob["name"])) is not None:
            yield blob["name"], file


def has_file(service: Service, name: str, path: str) -> bool:
    return file_of(service, containers(service)[require(service, name)], path) is not None


ONE = DATASTORES + "/datastores/{datastore}"
ROUTES = (
    Route("GET", DATASTORES + "/default", default, "`ws.get_default_datastore`"),
    Route("PUT", DATASTORES + "/default/{datastore}", set_default, "`ws.set_default_datastore`"),
    Route("GET", ONE, get, "`Datastore.get`"),
    Route("PUT", ONE, change, "`Datastore.register_azure_blob_container(overwrite=True)`"),
    Route("DELETE", ONE, unregister, "`datastore.unregister`"),
    Route("GET", DATASTORES + "/datastores", list_all, "`ws.datastores`"),
    Route("POST", DATASTORES + "/datastores", register, "`Datastore.register_azure_blob_container`"),
)
