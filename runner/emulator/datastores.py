"""Datastores: the workspace's own blob containers, with a signature as their credential."""

from __future__ import annotations

from typing import Any

from runner.emulator.messages import Request, Route, not_found, page
from runner.emulator.service import ACCOUNT, Service

DATASTORES = "/datastore/v1.0{ws}"
DEFAULT = "workspaceblobstore"
# What the SDK expects to find in every workspace, and the container of each.
OWN = {DEFAULT: "blobstore", "workspaceartifactstore": "artifacts"}
KEEP_SECONDS = 7 * 24 * 3600


def described(service: Service, name: str) -> dict[str, Any]:
    container = f"azureml-{OWN[name]}"
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
        "dataStoreType": "AzureBlob",
        "hasBeenValidated": True,
        "isDefault": name == DEFAULT,
        "tags": {},
        "azureStorageSection": section,
    }


def default(service: Service, request: Request) -> dict[str, Any]:
    return described(service, DEFAULT)


def get(service: Service, request: Request) -> dict[str, Any]:
    name = request.parameters["datastore"]
    if name not in OWN:
        raise not_found(f"datastore '{name}' does not exist; there are {', '.join(OWN)}", "DatastoreNotFound")
    return described(service, name)


def list_all(service: Service, request: Request) -> dict[str, Any]:
    return page([described(service, name) for name in OWN])


ROUTES = (
    Route("GET", DATASTORES + "/default", default, "`ws.get_default_datastore`"),
    Route("GET", DATASTORES + "/datastores/{datastore}", get, "`Datastore.get`"),
    Route("GET", DATASTORES + "/datastores", list_all, "`ws.datastores`"),
)
