"""Artifacts: files by (origin, container, path). A run's container is its data container; logs are artifacts too."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

from runner.emulator.blobs import file_of
from runner.emulator.checking import only_known, rows
from runner.emulator.messages import Request, Route, bad_request, error_body, not_found, now, page
from runner.emulator.service import Service

ARTIFACTS = "/artifact/v2.0{ws}/artifacts"
RUNS = "ExperimentRun"
CONTAINER = "artifacts"


def attach(service: Service, container: str, path: str, file: Path) -> None:
    """Make a file of ours an artifact of a run, as it is now and grows: nothing is copied."""
    known = service.store.get(kind_of(RUNS), container, path) or new(service, RUNS, container, path)
    service.store.put("blob", CONTAINER, known["blob"], {"name": known["blob"], "file": service.store.relative(file)})


def new(service: Service, origin: str, container: str, path: str) -> dict[str, Any]:
    """Blobs have opaque names: the SDK percent-encodes the path of an address once more."""
    document = {"origin": origin, "container": container, "path": path, "blob": uuid.uuid4().hex, "createdTime": now()}
    return service.store.put(kind_of(origin), container, path, document)


def kind_of(origin: str) -> str:
    """Equal containers of two origins are two."""
    return "artifact" if origin.lower() == RUNS.lower() else f"artifact of {origin.lower()}"


def listed(service: Service, container: str, prefix: str = "", origin: str = RUNS) -> list[dict[str, Any]]:
    """Artifacts whose bytes are there."""
    return [
        item
        for item in service.store.all(kind_of(origin), container)
        if item["path"].startswith(prefix) and file_of(service, CONTAINER, item["blob"]) is not None
    ]


def address(service: Service, artifact: dict[str, Any], permissions: str = "r") -> str:
    return service.blob_address(f"/azureml-{CONTAINER}/{artifact['blob']}", permissions)


def shown(artifact: dict[str, Any]) -> dict[str, Any]:
    identifier = f"{artifact['origin']}/{artifact['container']}/{artifact['path']}"
    where = {"dataStoreName": "workspaceartifactstore", "relativePath": identifier}
    return {
        "artifactId": identifier,
        **{key: artifact[key] for key in ("origin", "container", "path", "createdTime")},
        "etag": None,
        "dataPath": where,
    }


def information(service: Service, artifact: dict[str, Any], permissions: str = "r") -> dict[str, Any]:
    named = {key: artifact[key] for key in ("origin", "container", "path")}
    return {"contentUri": address(service, artifact, permissions), **named}


def create_many(service: Service, request: Request) -> dict[str, Any]:
    """Where to upload each of these paths to. A path that is there already is refused, as Azure does."""
    origin, container = request.parameters["origin"], request.parameters["container"]
    body = only_known(request.object(), ("paths",), "the body")
    created, contents, errors = {}, {}, {}
    for item in rows(body.get("paths"), "paths"):
        path = checked_path(only_known(item, ("path", "tags"), "a path").get("path"))
        found = service.store.get(kind_of(origin), container, path)
        if found and file_of(service, CONTAINER, found["blob"]) is not None:
            message = f"Resource Conflict: ArtifactId {origin}/{container}/{path} already exists."
            errors[path] = error_body("UserError", message)
            continue
        artifact = found or new(service, origin, container, path)
        created[path] = shown(artifact)
        contents[path] = information(service, artifact, "rcw")
    return {"artifacts": created, "artifactContentInformation": contents, "errors": errors}


def checked_path(path: Any) -> str:
    inner = path.lstrip("/") if isinstance(path, str) else ""
    if not inner or "\0" in inner or ".." in inner.split("/"):
        raise bad_request(f"artifact path '{path}' is invalid; a relative path without '..'")
    return inner


def list_all(service: Service, request: Request) -> dict[str, Any]:
    container, origin = request.parameters["container"], request.parameters["origin"]
    return page([shown(item) for item in listed(service, container, origin=origin)])


def get(service: Service, request: Request) -> dict[str, Any]:
    return shown(require(service, request))


def content(service: Service, request: Request) -> dict[str, Any]:
    return information(service, require(service, request))


def require(service: Service, request: Request) -> dict[str, Any]:
    container, path = request.parameters["container"], request.parameters["path"]
    found = service.store.get(kind_of(request.parameters["origin"]), container, path)
    if found is None or file_of(service, CONTAINER, found["blob"]) is None:
        raise not_found(f"artifact '{request.parameters['origin']}/{container}/{path}' does not exist")
    return found


def contents_below(service: Service, request: Request) -> dict[str, Any]:
    """Everything whose path begins with a prefix (none: the whole container)."""
    container, prefix = request.parameters["container"], request.parameters.get("path", "")
    found = listed(service, container, prefix, request.parameters["origin"])
    return page([information(service, item) for item in found])


def batch_contents(service: Service, request: Request) -> dict[str, Any]:
    body = only_known(request.object(), ("paths",), "the body")
    found = listed(service, request.parameters["container"], origin=request.parameters["origin"])
    wanted = {
        checked_path(item.get("path") if isinstance(item, dict) else item) for item in rows(body.get("paths"), "paths")
    }
    chosen = [item for item in found if item["path"] in wanted]
    return {
        "artifacts": {item["path"]: shown(item) for item in chosen},
        "artifactContentInformation": {item["path"]: information(service, item) for item in chosen},
        "errors": {},
    }


HERE = "/{origin}/{container}"
ROUTES = (
    Route("POST", ARTIFACTS + "/batch/metadata" + HERE, create_many, "`run.upload_file`, `.upload_folder`"),
    Route("POST", ARTIFACTS + "/batch/contentinfo" + HERE, batch_contents, "downloads of several files"),
    Route("GET", ARTIFACTS + "/prefix/contentinfo" + HERE, contents_below, "`run.download_files`, logs"),
    Route("GET", ARTIFACTS + "/prefix/contentinfo" + HERE + "/{path:rest}", contents_below, "`run.download_files`"),
    Route("GET", ARTIFACTS + "/contentinfo" + HERE + "/{path:rest}", content, "`run.download_file`"),
    Route("GET", ARTIFACTS + "/metadata" + HERE + "/{path:rest}", get, "one artifact"),
    Route("GET", ARTIFACTS + HERE, list_all, "`run.get_file_names`"),
)
