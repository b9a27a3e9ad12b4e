"""Environments: versions that never change, the label Latest, and a few curated ones."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from runner.emulator import compute as clusters
from runner.emulator import packages
from runner.emulator.checking import only_known, rows, section, shortened
from runner.emulator.messages import Request, Response, Route, bad_request, not_found, page
from runner.emulator.service import Service

ENVIRONMENTS = "/environment/v1.0{ws}/environments"
RESERVED = ("azureml", "microsoft")
# Azure documents no pattern: what could not be a part of an address, or be read, is none.
NAME = re.compile(r"[^/\\?#%\s](?:[^/\\?#%]{0,253}[^/\\?#%\s])?")
FIELDS = (
    "name",
    "version",
    "environmentVariables",
    "python",
    "docker",
    "spark",
    "databricks",
    "r",
    "inferencingStackVersion",
    "assetId",
)
# What is said about a definition, and what in it must be an object.
ABOUT = ("name", "version", "assetId")
OBJECTS = ("environmentVariables", "python", "docker", "spark", "databricks")
REGISTRY = "mcr.microsoft.com/azureml/"


def curated_one(name: str, version: str, image: str, conda: list[Any] | None) -> dict[str, Any]:
    """One of Azure's own. Without a conda list its image is used as it is."""
    dependencies = {"channels": ["conda-forge"], "dependencies": conda, "name": "project_environment"}
    return {
        "name": name,
        "version": version,
        "environmentVariables": {},
        "python": {
            "interpreterPath": "python",
            "userManagedDependencies": conda is None,
            "condaDependencies": dependencies if conda else None,
            "baseCondaEnvironment": None,
        },
        "docker": {
            "baseImage": REGISTRY + image,
            "baseDockerfile": None,
            "buildContext": None,
            "baseImageRegistry": {"address": None, "username": None, "password": None, "registryIdentity": None},
            "platform": {"os": "Linux", "architecture": "amd64"},
            "enabled": False,
            "sharedVolumes": True,
            "shmSize": None,
            "arguments": [],
        },
        "spark": {"repositories": [], "packages": [], "precachePackages": True},
        "r": None,
        "inferencingStackVersion": None,
    }


# Names and versions as Azure/azureml-assets published them in 2026; what is inside the images is not here.
CURATED = (
    curated_one("AzureML-acpt-pytorch-2.8-cuda12.6", "17", "curated/acpt-pytorch-2.8-cuda12.6:17", None),
    curated_one("AzureML-acpt-pytorch-2.2-cuda12.1", "42", "curated/acpt-pytorch-2.2-cuda12.1:42", None),
    curated_one(
        "AzureML-Minimal",
        "1",
        "openmpi4.1.0-ubuntu22.04:20251130.v1",
        ["python=3.10.18", {"pip": ["azureml-defaults"]}],
    ),
)


def register(service: Service, request: Request) -> dict[str, Any]:
    name = request.parameters["environment"]
    if is_reserved(name):
        raise bad_request(f"environment name '{name}' is reserved; names may not begin with AzureML or Microsoft")
    return saved(service, name, request.object(), request.parameters.get("version"))


def is_reserved(name: str) -> bool:
    return name.lower().startswith(RESERVED)


def saved(service: Service, name: str, body: Any, asked: str | None = None) -> dict[str, Any]:
    """The same definition is the same version; another one gets the next number, or the version `asked` for."""
    for what, word in (("name", name), ("version", asked)):
        if word is not None and not (NAME.fullmatch(word) and word.isprintable()):
            raise bad_request(f"environment {what} '{shortened(word)}' is invalid; letters, digits, '_', '.' and '-'")
    known = only_known(body, FIELDS, "the environment")
    for key in OBJECTS:
        section(known.get(key), key)
    list(packages.pinned(known))  # refuses a conda section that cannot be read
    definition = {key: known.get(key) for key in FIELDS if key not in ABOUT}
    with service.store.transaction():
        versions = service.store.all("environment", name)
        for found in versions:
            same = fingerprint(found) == fingerprint(definition)
            if found["version"] == asked and not same:
                raise bad_request(f"environment '{name}' version '{asked}' exists with another definition")
            if same and asked in (None, found["version"]):
                return found
        version = asked or str(next_number(versions))
        document = {**definition, "name": name, "version": version, "assetId": f"azureml:{name}:{version}"}
        return service.store.put("environment", name, version, document)


def next_number(versions: list[dict[str, Any]]) -> int:
    return 1 + max((int(found["version"]) for found in versions if found["version"].isdigit()), default=0)


def fingerprint(definition: Mapping[str, Any]) -> str:
    kept = {key: value for key, value in definition.items() if key not in ABOUT}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def versions_of(service: Service, name: str) -> list[dict[str, Any]]:
    return [item for item in CURATED if item["name"] == name] or service.store.all("environment", name)


def find(service: Service, name: str, version: str | None) -> dict[str, Any]:
    """A registered or curated environment; the newest without `version`. Raises ServiceError (404)."""
    versions = versions_of(service, name)
    for found in reversed(versions):
        if version in (None, found["version"]):
            return found
    if versions:
        known = ", ".join(found["version"] for found in versions)
        raise not_found(f"environment '{name}' has no version '{version}'; it has {known}", "EnvironmentNotFound")
    raise not_found(f"environment '{name}' does not exist in this workspace", "EnvironmentNotFound")


def get(service: Service, request: Request) -> dict[str, Any]:
    return find(service, request.parameters["environment"], request.parameters.get("version"))


def get_by_label(service: Service, request: Request) -> dict[str, Any]:
    name, label = request.parameters["environment"], request.parameters["label"].lower()
    set_to = service.store.get("label", name, label)
    if set_to is None and label != "latest":
        raise not_found(f"environment '{name}' has no label '{request.parameters['label']}'", "EnvironmentNotFound")
    return find(service, name, set_to["version"] if set_to else None)


def set_labels(service: Service, request: Request) -> None:
    """A label is at one version of an environment: it moves here from another. `Latest` moves by itself."""
    labels = rows(only_known(request.object(), ("Labels",), "the body").get("Labels"), "Labels")
    found = get(service, request)
    for label in (str(item).lower() for item in labels):
        if label != "latest":
            service.store.put("label", found["name"], label, {"version": found["version"]})


def list_all(service: Service, request: Request) -> dict[str, Any]:
    newest = {item["name"]: item for item in (*CURATED, *service.store.all("environment"))}
    return page(list(newest.values()))


def image(service: Service, request: Request) -> dict[str, Any]:
    """What Azure would have built; nothing is built here."""
    found = get(service, request)
    python = found["python"] or {}
    name = f"azureml/azureml_{fingerprint(found)[:32]}"
    return {
        "imageExistsInRegistry": True,
        "dockerImage": {"name": name, "registry": {"address": "emulator.acr.emu", "username": None, "password": None}},
        "pythonEnvironment": python,
        "condaEnvironmentSpecification": json.dumps(python.get("condaDependencies")),
        "ingredients": {},
    }


def build(service: Service, request: Request) -> Response:
    """Nothing is built, which is done at once."""
    get(service, request)
    only_known(request.object(), (), "the body")
    if compute := request.parameters.get("compute"):
        clusters.require(service, compute)
    return Response({"location": f"{service.origin}/operations/done"}, 202)


BUILD = "/environment/v2.0{ws}/environments/{environment}/versions/{version}"
ROUTES = (
    Route("PUT", ENVIRONMENTS + "/{environment}", register, "`Environment.register`"),
    Route("PUT", ENVIRONMENTS + "/{environment}/versions/{version}", register, "`Environment.register`"),
    Route("GET", ENVIRONMENTS + "/{environment}", get, "`Environment.get`"),
    Route("GET", ENVIRONMENTS + "/{environment}/versions/{version}", get, "`Environment.get(version=)`"),
    Route("GET", ENVIRONMENTS + "/{environment}/labels/{label}", get_by_label, "`Environment.get(label=)`"),
    Route("PUT", ENVIRONMENTS + "/{environment}/versions/{version}/metadata", set_labels, "labels of an environment"),
    Route("GET", ENVIRONMENTS, list_all, "`Environment.list`"),
    Route("GET", ENVIRONMENTS + "/{environment}/versions/{version}/image", image, "`Environment.get_image_details`"),
    Route("POST", BUILD + "/image", build, "`Environment.build`"),
    Route("POST", BUILD + "/imageoncompute/{compute}", build, "`Environment.build(image_build_compute=)`"),
)
