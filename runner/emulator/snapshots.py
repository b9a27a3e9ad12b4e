"""Snapshots: a tree of files, of which only the changed ones travel; the others come from the parent snapshot."""

from __future__ import annotations

import shutil
import uuid
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from runner.emulator.blobs import file_of
from runner.emulator.checking import needed, only_known, rows, section, shortened, text, text_pairs
from runner.emulator.messages import Request, Route, bad_request, not_found, now
from runner.emulator.service import Service

CONTENT = "/content/v2.0{ws}/snapshots"
CONTAINER = "snapshots"
NONE = "00000000-0000-0000-0000-000000000000"
FIELDS = ("ParentSnapshotId", "Tags", "Properties", "DirTreeNode", "FileRevisionList")


def latest(service: Service, request: Request) -> dict[str, Any]:
    """None yet, always: the client then sends everything, and remembers by itself what it has sent."""
    return {"id": NONE, "root": {}}


def addresses(service: Service, request: Request) -> dict[str, Any]:
    body = only_known(request.object(), ("FileNames",), "the body")
    nodes = []
    for name in rows(body.get("FileNames"), "FileNames"):
        path = f"/azureml-{CONTAINER}/{uuid.uuid4().hex}"
        nodes.append({"fullName": checked(name), "blobUri": service.blob_address(path, "rcw")})
    return {"fileNodes": nodes}


def checked(name: Any) -> str:
    """A path that stays inside. Raises ServiceError (400)."""
    path = PurePosixPath(text(name, "a file name") or "")
    if path.is_absolute() or ".." in path.parts or "\0" in str(name) or not path.parts:
        raise bad_request(f"file name '{name}' leads out of the snapshot")
    return str(path)


def create(service: Service, request: Request) -> dict[str, Any]:
    """Raises ServiceError (400) for an unknown parent, which makes the client send everything."""
    identifier = request.parameters["snapshot"]
    body = only_known(request.object(), FIELDS, "the snapshot")
    known = files_of_parent(service, text(body.get("ParentSnapshotId"), "ParentSnapshotId"))
    revisions = section(body.get("FileRevisionList"), "FileRevisionList")
    sent = dict(revision(service, item) for item in rows(revisions.get("FileNodes"), "FileNodes"))
    files = {}
    for path in paths_of(section(body.get("DirTreeNode"), "DirTreeNode")):
        blob = sent.get(path) or known.get(path)
        if blob is None:
            raise bad_request(f"file '{path}' of the snapshot was never sent")
        files[path] = blob
    properties = text_pairs(body.get("Properties"), "Properties")
    document = {"id": identifier, "files": files, "properties": properties, "createdTime": now()}
    service.store.put("snapshot", "", identifier, document)
    return {"id": identifier, "root": body.get("DirTreeNode"), "createdTime": document["createdTime"]}


def files_of_parent(service: Service, parent: str | None) -> dict[str, str]:
    if parent is None or parent == NONE:
        return {}
    found = service.store.get("snapshot", "", parent)
    if found is None:
        raise bad_request(f"parent snapshot '{parent}' does not exist")
    files: dict[str, str] = found["files"]
    return files


def has(service: Service, identifier: str) -> bool:
    return service.store.get("snapshot", "", identifier) is not None


def revision(service: Service, item: Any) -> tuple[str, str]:
    """(path, blob) of one file that was sent. Raises ServiceError (400) if its bytes did not arrive whole."""
    node = only_known(item, ("FullName", "BlobUri", "FileSize"), "a file node")
    try:
        blob = PurePosixPath(urlsplit(needed(node.get("BlobUri"), "BlobUri")).path).name
    except ValueError:
        raise bad_request(f"'{shortened(node.get('BlobUri'))}' is no address of a blob") from None
    file = file_of(service, CONTAINER, blob)
    if file is None or file.stat().st_size != node.get("FileSize"):
        raise bad_request(f"the bytes of '{node.get('FullName')}' did not arrive")
    return checked(node.get("FullName")), blob


def paths_of(node: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """Every file of a tree. A node with children, or typed a directory, is none."""
    for name, child in section(node.get("children"), "children").items():
        path = f"{above}/{name}" if above else name
        about = section(child, f"node '{path}'")
        if about.get("children"):
            yield from paths_of(about, path)
        elif about.get("type") == "File":
            yield checked(path)
        elif about.get("type") != "Directory":
            raise bad_request(f"'{shortened(path)}' is neither a File nor a Directory of the snapshot")


def archive(service: Service, request: Request) -> dict[str, Any]:
    """A zip of everything, and where to get it."""
    identifier = request.parameters["snapshot"]
    path = service.store.new_file()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, source in sources(service, identifier):
            bundle.write(source, name)
    name = f"{uuid.uuid4().hex}.zip"
    service.store.put("blob", CONTAINER, name, {"name": name, "file": service.store.relative(path)})
    return {"zipSasUri": service.blob_address(f"/azureml-{CONTAINER}/{name}")}


def require(service: Service, identifier: str) -> dict[str, Any]:
    found = service.store.get("snapshot", "", identifier)
    if found is None:
        raise not_found(f"snapshot '{identifier}' does not exist", "SnapshotNotFound")
    return found


def metadata(service: Service, request: Request) -> dict[str, Any]:
    document = require(service, request.parameters["snapshot"])
    return {key: document[key] for key in ("id", "properties", "createdTime")} | {"files": sorted(document["files"])}


def stage(service: Service, identifier: str, folder: Path) -> None:
    """Put the files of a snapshot into a new folder."""
    folder.mkdir(parents=True)
    for name, source in sources(service, identifier):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def sources(service: Service, identifier: str) -> list[tuple[str, Path]]:
    """(path in the snapshot, where its bytes are). Raises ServiceError (404) rather than leave a file out."""
    found = []
    for name, blob in require(service, identifier)["files"].items():
        file = file_of(service, CONTAINER, blob)
        if file is None:
            raise not_found(f"the bytes of '{name}' in snapshot '{identifier}' are gone; submit again", "BlobNotFound")
        found.append((name, file))
    return found


ROUTES = (
    Route("GET", "/content/v1.0{ws}/snapshots/latest/metadata", latest, "`Experiment.submit`, first time"),
    Route("POST", CONTENT + "/getblob", addresses, "`Experiment.submit`: where to upload changed files"),
    Route("POST", CONTENT + "/{snapshot}", create, "`Experiment.submit`: the tree"),
    Route("POST", CONTENT + "/{snapshot}/zip", archive, "`run.restore_snapshot`"),
    Route("GET", CONTENT + "/{snapshot}/metadata", metadata, "what a snapshot holds"),
)
