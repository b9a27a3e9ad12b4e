"""Blob storage: the few verbs that the SDK uses. Every address carries its own permission, as a SAS does."""

from __future__ import annotations

import base64
import hashlib
import re
from email.utils import formatdate
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from runner.emulator.messages import Request, Response, Route
from runner.emulator.service import Service


def put(service: Service, request: Request) -> Response:
    """A whole blob, one block of it, the list that makes blocks a blob, an append blob, or its metadata."""
    container, name = place(request)
    if not service.identity.allows(request.path, dict(request.query), "w"):
        return refused(403, "AuthenticationFailed")
    if not name.isprintable():
        return refused(400, "InvalidResourceName")  # nor could a list of blobs, which is XML, say it
    part = request.query.get("comp", "")
    return PUTS[part](service, request, container, name) if part in PUTS else refused(501, "NotImplemented")


def put_whole(service: Service, request: Request, container: str, name: str) -> Response:
    digest = base64.b64encode(hashlib.md5(request.body, usedforsecurity=False).digest()).decode()
    if request.headers.get("content-md5", digest) != digest:
        return refused(400, "Md5Mismatch")
    path = service.store.new_file()
    path.write_bytes(request.body)
    content_type = request.headers.get("x-ms-blob-content-type") or request.headers.get("content-type")
    appends = request.headers.get("x-ms-blob-type", "").lower() == "appendblob"
    about = {"kind": "AppendBlob"} if appends else {"md5": digest}
    remember(service, container, name, path, {**about, "type": content_type})
    return created({"Content-MD5": digest})


def put_block(service: Service, request: Request, container: str, name: str) -> Response:
    path = service.store.new_file()
    path.write_bytes(request.body)
    block = {"file": service.store.relative(path)}
    service.store.put("block", f"{container}/{name}", request.query.get("blockid", ""), block)
    return created()


def put_block_list(service: Service, request: Request, container: str, name: str) -> Response:
    owner = f"{container}/{name}"
    try:
        wanted = [item.text or "" for item in ElementTree.fromstring(request.body)]  # noqa: S314 - the caller is signed in
    except ElementTree.ParseError:
        return refused(400, "InvalidXmlDocument")
    blocks = [found for number in wanted if (found := service.store.get("block", owner, number)) is not None]
    if len(blocks) < len(wanted):
        return refused(400, "InvalidBlockList")
    path = service.store.new_file()
    with path.open("wb") as file:
        for block in blocks:
            file.write((service.store.folder / block["file"]).read_bytes())
    for number, block in dict(zip(wanted, blocks, strict=True)).items():  # a block may stand in the list twice
        service.store.delete("block", owner, number)
        (service.store.folder / block["file"]).unlink()
    remember(service, container, name, path, {"type": request.headers.get("x-ms-blob-content-type")})
    return created()


def append_block(service: Service, request: Request, container: str, name: str) -> Response:
    """What the SDK does with the logs of `with run:` in a job."""
    found = service.store.get("blob", container, name)
    if found is None:
        return refused(404, "BlobNotFound")
    with (service.store.folder / found["file"]).open("ab") as file:
        start = file.tell()
        file.write(request.body)
    if "md5" in found:  # of what it was before
        service.store.put("blob", container, name, {key: found[key] for key in found if key != "md5"})
    return created({"x-ms-blob-append-offset": str(start), "x-ms-blob-committed-block-count": "1"})


def put_metadata(service: Service, request: Request, container: str, name: str) -> Response:
    if file_of(service, container, name) is None:
        return refused(404, "BlobNotFound")
    return Response(status=200, headers=common())


PUTS = {
    "": put_whole,
    "block": put_block,
    "blocklist": put_block_list,
    "appendblock": append_block,
    "metadata": put_metadata,
}


def remember(service: Service, container: str, name: str, path: Path, about: dict[str, Any]) -> None:
    service.store.put("blob", container, name, {"name": name, "file": service.store.relative(path), **about})


def file_of(service: Service, container: str, name: str) -> Path | None:
    found = service.store.get("blob", container, name)
    path = service.store.folder / found["file"] if found else None
    return path if path is not None and path.is_file() else None


def get(service: Service, request: Request) -> Response:
    """GET and HEAD, all of it or the range that `Range` or `x-ms-range` asks for."""
    container, name = place(request)
    if not service.identity.allows(request.path, dict(request.query), "r"):
        return refused(403, "AuthenticationFailed")
    path = file_of(service, container, name)
    if path is None:
        return refused(404, "BlobNotFound")
    size = path.stat().st_size
    about = service.store.get("blob", container, name) or {}
    headers = described(path, about)
    asked = request.headers.get("x-ms-range") or request.headers.get("range")
    span = re.fullmatch(r"bytes=(\d{1,18})-(\d{0,18})", asked or "", re.ASCII)
    if span is None or (span[2] and int(span[2]) < int(span[1])):  # what makes no sense is not there, says HTTP
        return Response(path, 200, headers, 0, size)
    first, last = int(span[1]), min(int(span[2] or size), size - 1)
    if first >= size:
        return refused(416, "InvalidRange", {"Content-Range": f"bytes */{size}"})
    headers["Content-Range"] = f"bytes {first}-{last}/{size}"
    return Response(path, 206, headers, first, last - first + 1)


def described(path: Path, about: dict[str, Any]) -> dict[str, str]:
    known = path.stat()
    headers = {
        **common(),
        "Accept-Ranges": "bytes",
        "x-ms-blob-type": about.get("kind") or "BlockBlob",
        "ETag": f'"0x{known.st_mtime_ns:X}"',
        "Last-Modified": formatdate(known.st_mtime, usegmt=True),
        "Content-Type": about.get("type") or "application/octet-stream",
    }
    return {**headers, "Content-MD5": about["md5"]} if about.get("md5") else headers


def delete(service: Service, request: Request) -> Response:
    container, name = place(request)
    if not service.identity.allows(request.path, dict(request.query), "w"):
        return refused(403, "AuthenticationFailed")
    path = file_of(service, container, name)
    if not service.store.delete("blob", container, name):
        return refused(404, "BlobNotFound")
    if path is not None and path.is_relative_to(service.store.blobs):
        path.unlink()
    return Response(status=202, headers=common())


def list_container(service: Service, request: Request) -> Response:
    """The blobs below `prefix`, in one page (XML, as the storage service answers)."""
    container = request.parameters["container"]
    if not service.identity.allows(request.path, dict(request.query), "r"):
        return refused(403, "AuthenticationFailed")
    if request.query.get("comp") != "list":
        return Response(status=200, headers={**common(), "ETag": '"0x0"', "Last-Modified": formatdate(usegmt=True)})
    prefix = request.query.get("prefix", "")
    names = sorted(blob["name"] for blob in service.store.all("blob", container))
    rows = "".join(listed(service, container, name) for name in names if name.startswith(prefix))
    head = f'<EnumerationResults ServiceEndpoint="{service.origin}" ContainerName="{escape(container)}">'
    text = f'<?xml version="1.0" encoding="utf-8"?>{head}<Blobs>{rows}</Blobs><NextMarker /></EnumerationResults>'
    return Response(text.encode(), 200, {**common(), "Content-Type": "application/xml"})


def listed(service: Service, container: str, name: str) -> str:
    path = file_of(service, container, name)
    if path is None:
        return ""
    headers = described(path, service.store.get("blob", container, name) or {})
    fields = {
        "Last-Modified": headers["Last-Modified"],
        "Etag": headers["ETag"].strip('"'),
        "Content-Length": str(path.stat().st_size),
        "Content-Type": headers["Content-Type"],
        "BlobType": headers["x-ms-blob-type"],
        "LeaseStatus": "unlocked",
        "LeaseState": "available",
    }
    properties = "".join(f"<{field}>{escape(value)}</{field}>" for field, value in fields.items())
    return f"<Blob><Name>{escape(name)}</Name><Properties>{properties}</Properties></Blob>"


def place(request: Request) -> tuple[str, str]:
    return request.parameters["container"], request.parameters["blob"]


def created(extra: dict[str, str] | None = None) -> Response:
    """The storage client reads ETag and Last-Modified of every answer to a write."""
    headers = {"ETag": '"0x1"', "Last-Modified": formatdate(usegmt=True), "x-ms-request-server-encrypted": "true"}
    return Response(status=201, headers={**common(), **headers, **(extra or {})})


def common() -> dict[str, str]:
    return {"x-ms-version": "2019-07-07", "x-ms-request-id": "0"}


def refused(status: int, code: str, extra: dict[str, str] | None = None) -> Response:
    text = f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>{code}</Message></Error>'
    headers = {**common(), "x-ms-error-code": code, "Content-Type": "application/xml", **(extra or {})}
    return Response(text.encode(), status, headers)


# Containers are named so that no other path can be taken for one.
CONTAINER = "/azureml-{container}"
BLOB = CONTAINER + "/{blob:rest}"
ROUTES = (
    Route("PUT", BLOB, put, "uploads: snapshot, artifacts, datastore", open=True),
    Route("GET", BLOB, get, "downloads: artifacts, logs, models, datastore", open=True),
    Route("HEAD", BLOB, get, "uploads, downloads", open=True),
    Route("DELETE", BLOB, delete, "datastore", open=True),
    Route("GET", CONTAINER, list_container, "`Datastore.download`", open=True),
)
