"""Datastores: the workspace's own, and containers of the emulator's storage account that were registered."""

from __future__ import annotations

from typing import Any

import pytest

from tests.emulator.bodies import STORES, store_body
from tests.emulator.conftest import WS, Client

DEFAULT = f"/datastore/v1.0{WS}/default"
SECTION = "azureStorageSection"


def names(client: Client) -> list[str]:
    return [item["name"] for item in client.ask("GET", STORES)["value"]]


def test_a_registered_one_is_found_written_to_and_forgotten(client: Client) -> None:
    client.ask("POST", STORES, store_body("Mine"))
    found = client.ask("GET", f"{STORES}/MINE")
    section = found[SECTION]
    assert (found["name"], section["containerName"], found["isDefault"]) == ("mine", "azureml-photos", False)
    address = f"https://x/azureml-photos/a.txt?{section['sasToken']}"
    assert client.signed("PUT", address, b"abc", x_ms_blob_type="BlockBlob").status == 201
    assert client.signed("PUT", address.replace("azureml-photos", "azureml-blobstore"), b"").status == 403

    client.ask("DELETE", f"{STORES}/mine")
    assert "mine" not in names(client)
    client.refused("GET", f"{STORES}/mine", expect=404)


def test_another_default_lasts_as_long_as_it_is_there(client: Client) -> None:
    client.ask("POST", STORES, store_body())
    client.ask("PUT", f"{DEFAULT}/mine")
    assert (client.ask("GET", DEFAULT)["name"], client.ask("GET", DEFAULT)["isDefault"]) == ("mine", True)
    client.ask("DELETE", f"{STORES}/mine")
    assert client.ask("GET", DEFAULT)["name"] == "workspaceblobstore"
    client.refused("PUT", f"{DEFAULT}/mine", expect=404)


def test_a_name_is_taken_once_and_changed_by_request(client: Client) -> None:
    client.ask("POST", STORES, store_body())
    # The SDK looks for these words before it sends the change that `overwrite=True` means.
    assert "Another datastore with the same name already exists" in client.refused("POST", STORES, store_body())
    client.ask("PUT", f"{STORES}/mine", changed(containerName="other"))
    assert client.ask("GET", f"{STORES}/mine")[SECTION]["containerName"] == "azureml-other"


def changed(**section: Any) -> dict[str, Any]:
    body = store_body()
    return {**body, SECTION: {**body[SECTION], **section}}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({**store_body(), "name": "my-store"}, "datastore name 'my-store' is invalid"),
        ({**store_body(), "name": "x" * 256}, "at most 255"),
        ({**store_body(), "name": ""}, "name is ''"),
        ({**store_body(), "dataStoreType": "AzureFlie"}, "a datastore of type 'AzureFlie' is unknown"),
        ({**store_body(), "naem": "x"}, "unknown field 'naem'"),
        (changed(accountName="others"), "storage account 'others' is not the emulator's"),
        (changed(containerName="artifacts"), "container name 'artifacts' is invalid"),
        (changed(containerName="azureml-snapshots"), "container name 'snapshots' is invalid"),
        (changed(containerName="a/b"), "container name 'a/b' is invalid"),
        (changed(containerName="a--b"), "container name 'a--b' is invalid"),
    ],
)
def test_what_is_refused(body: dict[str, Any], words: str, client: Client) -> None:
    assert words in client.refused("POST", STORES, body)


@pytest.mark.parametrize("kind", ["AzureFile", "AzureDataLakeGen2"])
def test_what_azure_has_besides_blobs_is_not_answered(kind: str, client: Client) -> None:
    words = client.refused("POST", STORES, {**store_body(), "dataStoreType": kind}, 501)
    assert words.startswith(f"the emulator does not answer POST {STORES} for a datastore of type '{kind}'")


@pytest.mark.parametrize("name", ["workspaceblobstore", "workspaceartifactstore"])
def test_the_workspaces_own_stay(name: str, client: Client) -> None:
    assert "stays" in client.refused("DELETE", f"{STORES}/{name}")
    assert "cannot be changed" in client.refused("PUT", f"{STORES}/{name}", store_body(name))
    client.refused("POST", STORES, store_body(name))
