"""Blobs: parts against Python's slices, blocks in any order, appending, headers, lists, signatures."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from itertools import count
from typing import Any
from urllib.parse import quote, urlsplit
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from runner.emulator.messages import Response
from tests.emulator.conftest import Client

CHECKED = settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
NUMBERS = count()
DATA = bytes(range(97, 107))
CONTAINER = "/azureml-blobstore"


def address(client: Client, name: str = "", permissions: str = "rw") -> str:
    return client.service.blob_address(f"{CONTAINER}/{name or f'b{next(NUMBERS)}'}", permissions)


def put(client: Client, content: bytes, **headers: str) -> str:
    uri = address(client)
    assert client.signed("PUT", uri, content, None, **headers).status == 201
    return uri


def whole(client: Client, uri: str) -> bytes:
    return body(client.signed("GET", uri))


def body(response: Response) -> bytes:
    """What the server sends of it."""
    content = response.content()
    data = content if isinstance(content, bytes) else content.read_bytes()
    return data[response.first :][: response.length]


@CHECKED
@given(
    st.binary(max_size=8), st.integers(0, 9), st.none() | st.integers(0, 12), st.sampled_from(["range", "x_ms_range"])
)
@example(data=b"abc", first=1, last=9, header="range")
def test_a_part_is_the_slice(shared: Client, data: bytes, first: int, last: int | None, header: str) -> None:
    uri = put(shared, data)
    response = shared.signed("GET", uri, b"", None, **{header: f"bytes={first}-{'' if last is None else last}"})
    if last is not None and last < first:
        assert (response.status, body(response)) == (200, data)
    elif first >= len(data):
        assert (response.status, response.headers["Content-Range"]) == (416, f"bytes */{len(data)}")
    else:
        part = data[first:] if last is None else data[first : last + 1]
        assert (response.status, body(response)) == (206, part)
        assert response.headers["Content-Range"] == f"bytes {first}-{first + len(part) - 1}/{len(data)}"


# HTTP lets a server leave out what it does not do (the last n bytes, several parts), and what makes no sense.
@pytest.mark.parametrize(
    "asked", ["bytes=-3", "bytes=1-2,4-5", "items=0-1", "bytes=", "0-1", "", f"bytes={'9' * 5000}-"]
)
def test_other_ranges_give_the_whole(asked: str, shared: Client) -> None:
    response = shared.signed("GET", put(shared, DATA), range=asked)
    assert (response.status, body(response), response.length) == (200, DATA, len(DATA))
    assert "Content-Range" not in response.headers


def test_the_services_own_header_goes_before_the_other(shared: Client) -> None:
    response = shared.signed("GET", put(shared, DATA), range="bytes=0-0", x_ms_range="bytes=2-3")
    assert body(response) == b"cd"


@CHECKED
@given(st.lists(st.binary(max_size=8), min_size=1, max_size=6), st.data())
def test_blocks_come_in_the_order_of_the_list(shared: Client, parts: list[bytes], data: Any) -> None:
    """In whatever order they were sent, some of them twice, and some of them never used."""
    order = data.draw(st.lists(st.sampled_from(range(len(parts))), max_size=8))
    uri = put(shared, b"before")
    for number in data.draw(st.permutations(range(len(parts)))):
        assert block(shared, uri, number, b"another").status == 201
        assert block(shared, uri, number, parts[number]).status == 201
    assert whole(shared, uri) == b"before"
    assert commit(shared, uri, order).status == 201
    assert whole(shared, uri) == b"".join(parts[number] for number in order)


def block(client: Client, uri: str, number: int, content: bytes) -> Response:
    return client.signed("PUT", uri, content, {"comp": "block", "blockid": block_id(number)})


def block_id(number: int) -> str:
    return base64.b64encode(f"{number:05}".encode()).decode()


def commit(client: Client, uri: str, numbers: list[int], **headers: str) -> Response:
    rows = "".join(f"<Latest>{block_id(number)}</Latest>" for number in numbers)
    text = f'<?xml version="1.0" encoding="utf-8"?><BlockList>{rows}</BlockList>'
    return client.signed("PUT", uri, text.encode(), {"comp": "blocklist"}, **headers)


def test_a_missing_block_changes_nothing(shared: Client) -> None:
    uri = put(shared, b"before")
    block(shared, uri, 1, b"one")
    refused = commit(shared, uri, [1, 2])
    assert (refused.status, refused.headers["x-ms-error-code"]) == (400, "InvalidBlockList")
    assert whole(shared, uri) == b"before"
    assert commit(shared, uri, [1]).status == 201
    assert whole(shared, uri) == b"one"


@pytest.mark.parametrize("text", [b"", b"<BlockList>", b"nonsense", b"\xff"])
def test_a_list_of_blocks_that_is_no_xml(text: bytes, shared: Client) -> None:
    refused = shared.signed("PUT", put(shared, b""), text, {"comp": "blocklist"})
    assert (refused.status, refused.headers["x-ms-error-code"]) == (400, "InvalidXmlDocument")


def test_blocks_belong_to_one_blob(shared: Client) -> None:
    one, two = put(shared, b""), put(shared, b"")
    block(shared, one, 1, b"x")
    assert commit(shared, two, [1]).status == 400


@CHECKED
@given(st.lists(st.binary(max_size=9), max_size=6))
def test_appending(shared: Client, parts: list[bytes]) -> None:
    uri = put(shared, b"", x_ms_blob_type="AppendBlob")
    sent = b""
    for part in parts:
        answer = shared.signed("PUT", uri, part, {"comp": "appendblock"})
        assert (answer.status, answer.headers["x-ms-blob-append-offset"]) == (201, str(len(sent)))
        sent += part
        assert whole(shared, uri) == sent
    assert shared.signed("HEAD", uri).headers["x-ms-blob-type"] == "AppendBlob"


@pytest.mark.parametrize("kind", ["AppendBlob", "BlockBlob"])
def test_what_has_grown_has_no_sum_of_what_it_was(kind: str, shared: Client) -> None:
    """The storage client compares: a stale one would make a good download fail."""
    uri = put(shared, b"", x_ms_blob_type=kind)
    shared.signed("PUT", uri, b"more", {"comp": "appendblock"})
    assert "Content-MD5" not in shared.signed("GET", uri).headers


@pytest.mark.parametrize("content", [b"", b"x", DATA * 1000])
def test_what_is_said_about_a_blob(content: bytes, shared: Client) -> None:
    uri = put(shared, content, x_ms_blob_type="BlockBlob", x_ms_blob_content_type="text/x-log")
    head, got = shared.signed("HEAD", uri), shared.signed("GET", uri)
    assert head.headers == got.headers
    assert (head.length, head.headers["x-ms-blob-type"], head.headers["Content-Type"]) == (
        *(len(content), "BlockBlob"),
        "text/x-log",
    )
    assert head.headers["Content-MD5"] == base64.b64encode(hashlib.md5(content).digest()).decode()
    assert set(head.headers) >= {"ETag", "Last-Modified", "Accept-Ranges", "x-ms-version", "x-ms-request-id"}


def test_a_blob_put_again_is_the_new_one(shared: Client) -> None:
    uri = put(shared, b"old and long", x_ms_blob_content_type="a/b")
    before = shared.signed("HEAD", uri).headers["ETag"]
    assert shared.signed("PUT", uri, b"new").status == 201
    head = shared.signed("HEAD", uri).headers
    assert (whole(shared, uri), head["Content-Type"]) == (b"new", "application/octet-stream")
    assert head["ETag"] != before


def test_every_write_says_when(shared: Client) -> None:
    """The storage client reads both of every answer, and fails without."""
    uri = address(shared)
    answers = [shared.signed("PUT", uri, b"x", {"comp": part} if part else {}) for part in ("", "block", "appendblock")]
    answers.append(commit(shared, uri, []))
    for answer in answers:
        assert (answer.status, set(answer.headers) >= {"ETag", "Last-Modified"}) == (201, True)


@pytest.mark.parametrize(
    ("method", "query"),
    [("GET", {}), ("HEAD", {}), ("DELETE", {}), ("PUT", {"comp": "appendblock"}), ("PUT", {"comp": "metadata"})],
)
def test_a_blob_that_is_not_there(method: str, query: dict[str, str], shared: Client) -> None:
    answer = shared.signed(method, address(shared), b"", query)
    assert (answer.status, answer.headers["x-ms-error-code"]) == (404, "BlobNotFound")
    assert b"<Code>BlobNotFound</Code>" in answer.body


@pytest.mark.parametrize("name", ["a\0b", "line\nbreak", "\x1b[0m"])
def test_a_name_that_no_list_could_say(name: str, shared: Client) -> None:
    uri = address(shared, quote(name))
    answer = shared.signed("PUT", uri, b"x")
    assert (answer.status, answer.headers["x-ms-error-code"]) == (400, "InvalidResourceName")


# A signature is over the path as it is sent; a container's holds for every name in it.
def names_in(client: Client, prefix: str) -> Iterator[tuple[str, str]]:
    query = client.service.identity.address_query(CONTAINER, "rwl")
    answer = client.signed("GET", f"https://h{CONTAINER}?{query}", query={"comp": "list", "prefix": prefix})
    assert answer.headers["Content-Type"] == "application/xml"
    for row in ElementTree.fromstring(body(answer)).iter("Blob"):
        yield row.findtext("Name") or "", row.findtext("Properties/Content-Length") or ""


NAMES = st.lists(
    st.text(st.sampled_from("ab&<>\"'%é☃ +"), min_size=1, max_size=5).filter(lambda name: name == name.strip()),
    unique=True,
    max_size=5,
)


@CHECKED
@given(NAMES)
def test_a_list_has_every_name_below_a_prefix(shared: Client, names: list[str]) -> None:
    prefix = f"list{next(NUMBERS)}/"
    query = shared.service.identity.address_query(CONTAINER, "rw")
    for size, name in enumerate(names):
        uri = f"https://h{CONTAINER}/{quote(prefix + name)}?{query}"
        assert shared.signed("PUT", uri, b"x" * size).status == 201
    assert dict(names_in(shared, prefix)) == {prefix + name: str(size) for size, name in enumerate(names)}
    assert list(names_in(shared, f"{prefix}none")) == []


def test_a_container_with_a_slash_is_the_same_container(shared: Client) -> None:
    query = shared.service.identity.address_query(CONTAINER, "rl")
    put(shared, b"x")
    answers = [shared.signed("GET", f"https://h{CONTAINER}{end}?{query}", query={"comp": "list"}) for end in ("", "/")]
    assert answers[0].status == answers[1].status == 200
    assert answers[0].body == answers[1].body


def tampered(uri: str, name: str, value: str) -> str:
    parts = urlsplit(uri)
    fields = dict(item.split("=", 1) for item in parts.query.split("&"))
    assert fields[name] != value
    return f"https://h{parts.path}?" + "&".join(f"{key}={item}" for key, item in {**fields, name: value}.items())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sp", "rwd"),
        ("sp", ""),
        ("se", "2999-01-01T00:00:00Z"),
        ("se", ""),
        ("sr", "c"),
        ("sig", ""),
        ("sig", "é"),
        ("sig", "A" * 43),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
def test_a_changed_address_is_no_address(method: str, name: str, value: str, shared: Client) -> None:
    uri = put(shared, b"kept")
    answer = shared.signed(method, tampered(uri, name, value), b"other")
    assert (answer.status, answer.headers["x-ms-error-code"]) == (403, "AuthenticationFailed")
    assert whole(shared, uri) == b"kept"


@pytest.mark.parametrize(
    ("permissions", "allowed"),
    [("r", {"GET", "HEAD"}), ("w", {"PUT", "DELETE"}), ("rcw", {"GET", "HEAD", "PUT", "DELETE"}), ("l", set())],
)
def test_an_address_permits_what_it_says(permissions: str, allowed: set[str], shared: Client) -> None:
    path = urlsplit(put(shared, b"x")).path
    uri = shared.service.blob_address(path, permissions)
    got = {method for method in ("GET", "HEAD", "PUT", "DELETE") if shared.signed(method, uri, b"x").status < 300}
    assert got == allowed
