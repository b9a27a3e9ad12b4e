"""Requests byte by byte over TLS: what is refused, what leaves the connection usable, and who may ask."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

# An extra: `make test-slow` has an environment with it.
pytest.importorskip("cryptography", reason="the emulator's extra is not installed")

from runner.emulator.server import MAX_BODY, METHODS
from tests.emulator.conftest import HISTORY, WS, Served

CLIENTS = 32
CHUNKED = "Transfer-Encoding: chunked\r\n"


@contextmanager
def spoken(served: Served) -> Iterator[socket.socket]:
    with (
        socket.create_connection(("127.0.0.1", served.port), timeout=10) as plain,
        served.trust.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
    ):
        yield connection


def answer(connection: socket.socket, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    response = http.client.HTTPResponse(connection, method=method)
    response.begin()
    return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()


def request(served: Served, line: str, headers: str = "", body: str = "") -> bytes:
    token = served.service.identity.token({"tid": "t"})
    own = f"Host: 127.0.0.1:{served.port}\r\nAuthorization: Bearer {token}\r\n"
    return f"{line}\r\n{own}{headers}\r\n{body}".encode("latin-1")


def ended(connection: socket.socket) -> bool:
    """Whether the other side has closed."""
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


@pytest.mark.parametrize(
    ("line", "headers", "body", "status", "words"),
    [
        ("GET http://[ HTTP/1.1", "", "", 400, "is no address"),
        ("GET / HTTP/3.0", "", "", 505, ""),
        ("GET / HTTP", "", "", 400, ""),
        ("GET", "", "", 400, ""),
        (f"GET /{'x' * 70_000} HTTP/1.1", "", "", 414, ""),
        ("GET / HTTP/1.1", f"X: {'x' * 70_000}\r\n", "", 431, ""),
        ("GET / HTTP/1.1", "X: x\r\n" * 200, "", 431, ""),
        (f"POST {WS} HTTP/1.1", "Content-Length: -1\r\n", "", 400, "'-1' is no length"),
        (f"POST {WS} HTTP/1.1", "Content-Length: +1\r\n", "x", 400, "'+1' is no length"),
        (f"POST {WS} HTTP/1.1", "Content-Length: 1 2\r\n", "x", 400, "'1 2' is no length"),
        (f"POST {WS} HTTP/1.1", "Content-Length: 0x1\r\n", "x", 400, "'0x1' is no length"),
        (f"POST {WS} HTTP/1.1", "Content-Length: \xb2\r\n", "x", 400, "is no length"),
        (f"POST {WS} HTTP/1.1", f"Content-Length: {'9' * 5000}\r\n", "", 400, f"'{'9' * 100}...' is no length"),
        (f"POST {WS} HTTP/1.1", f"Content-Length: {MAX_BODY + 1}\r\n", "", 413, "send the rest in blocks"),
        (f"POST {WS} HTTP/1.1", CHUNKED, "x\r\n", 400, "'x' is no length"),
        (f"POST {WS} HTTP/1.1", CHUNKED, "-1\r\n", 400, "'-1' is no length"),
        (f"POST {WS} HTTP/1.1", CHUNKED, f"{MAX_BODY + 1:x}\r\n", 413, "send the rest in blocks"),
        (f"POST {WS} HTTP/1.1", CHUNKED, f"{MAX_BODY:x}".rjust(70_000, "0") + "\r\n", 400, "does not say its length"),
        (f"POST {WS} HTTP/1.1", CHUNKED, "2\r\nabcd\r\n0\r\n\r\n", 400, "longer than it says"),
    ],
)
def test_what_cannot_be_told_apart_from_the_next_ends_the_connection(
    line: str, headers: str, body: str, status: int, words: str, served: Served, capfd: pytest.CaptureFixture[str]
) -> None:
    with spoken(served) as connection:
        connection.sendall(request(served, line, headers, body))
        got, sent, content = answer(connection)
        assert got == status
        assert words in content.decode()
        assert sent["connection"] == "close"
        assert ended(connection)
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("line", "body", "status"),
    [
        ("GET /nothing HTTP/1.1", "", 501),
        ("OPTIONS / HTTP/1.1", "", 501),
        ("BREW /pot HTTP/1.1", "x", 501),
        (f"GET {WS}x HTTP/1.1", "unasked for", 404),
        (f"POST {HISTORY}/runs:query HTTP/1.1", "{", 400),
        (f"PATCH {HISTORY}/experiments/none/runs/r HTTP/1.1", "{}", 404),
        ("GET /azureml-blobstore/x HTTP/1.1", "", 403),
        ("HEAD /azureml-blobstore/x HTTP/1.1", "", 403),
        ("GET //discovery HTTP/1.1", "", 200),
        ("GET https://anywhere/discovery HTTP/1.1", "", 200),
    ],
)
def test_after_a_refusal_the_connection_serves_the_next(line: str, body: str, status: int, served: Served) -> None:
    with spoken(served) as connection:
        connection.sendall(request(served, line, f"Content-Length: {len(body)}\r\n", body))
        got, headers, content = answer(connection, line.partition(" ")[0])
        assert (got, "connection" in headers) == (status, False)
        assert content or line.startswith("HEAD")
        connection.sendall(request(served, "GET /discovery HTTP/1.1"))
        assert answer(connection)[0] == 200


@pytest.mark.parametrize(
    "body",
    [
        "2\r\n{}\r\n0\r\n\r\n",
        "1;name=value\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
        "002\r\n{}\r\n0\r\nTrailer: x\r\nAnother: y\r\n\r\n",
    ],
)
def test_chunks_in_every_form(body: str, served: Served) -> None:
    with spoken(served) as connection:
        for _ in range(2):
            connection.sendall(request(served, f"POST {HISTORY}/runs:query HTTP/1.1", CHUNKED, body))
            assert answer(connection)[0] == 200


def test_requests_that_do_not_wait_for_answers(served: Served) -> None:
    with spoken(served) as connection:
        connection.sendall(request(served, "GET /discovery HTTP/1.1") + request(served, "GET /nothing HTTP/1.1"))
        file = connection.makefile("rb")
        lines = [line for line in file_lines(file, 2) if line.startswith(b"HTTP/1.1")]
        assert [line.split()[1] for line in lines] == [b"200", b"501"]


def file_lines(file: Any, answers: int) -> Iterator[bytes]:
    for _ in range(answers):
        length = 0
        while (line := file.readline()).strip():
            yield line
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        file.read(length)


def test_a_client_that_asks_first_is_told_to_go_on(served: Served) -> None:
    """curl does so with a body of some size, and waits."""
    with spoken(served) as connection:
        asking = "Expect: 100-continue\r\nContent-Length: 2\r\n"
        connection.sendall(request(served, f"POST {HISTORY}/runs:query HTTP/1.1", asking))
        assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
        connection.sendall(b"{}")
        assert answer(connection)[0] == 200


def test_an_older_client_gets_its_answer_and_the_end(served: Served) -> None:
    with spoken(served) as connection:
        connection.sendall(request(served, "GET /discovery HTTP/1.0"))
        status, headers, content = answer(connection)
        assert (status, headers["connection"], "api" in json.loads(content)) == (200, "close", True)
        assert ended(connection)


def test_head_tells_the_length_and_sends_nothing(served: Served) -> None:
    query = served.service.identity.address_query("/azureml-blobstore", "rw")
    path = f"/azureml-blobstore/head?{query}"
    assert served.ask("PUT", path, b"x" * 1000)[0] == 201
    asked = [request(served, f"HEAD {where} HTTP/1.1") for where in (path, path.replace("head", "none"))]
    asked.append(request(served, f"GET {path} HTTP/1.1", "Range: bytes=998-\r\nConnection: close\r\n"))
    with spoken(served) as connection:
        connection.sendall(b"".join(asked))
        first, second, third = connection.makefile("rb").read().split(b"HTTP/1.1 ")[1:]
    assert first.startswith(b"200 ")
    assert b"\r\nContent-Length: 1000\r\n" in first
    assert second.startswith(b"404 ")
    assert first.endswith(b"\r\n\r\n")
    assert second.endswith(b"\r\n\r\n")
    assert third.endswith(b"\r\n\r\nxx")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1"},
        {"Host": "127.0.0.1:443"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ],
    ids=str,
)
def test_a_foreign_page_or_name_is_refused_whatever_it_asks(
    method: str, headers: dict[str, str], served: Served
) -> None:
    """Even at the addresses that need no token, and although it has one."""
    for path in ("/discovery", WS, "/azureml-blobstore/x", f"/msi/{served.service.identity.path_secret}/token"):
        assert served.ask(method, path, None, **headers)[0] == 403


def test_without_a_host_nothing_is_answered(served: Served) -> None:
    with spoken(served) as connection:
        connection.sendall(b"GET /discovery HTTP/1.1\r\n\r\n")
        assert answer(connection)[0] == 403


def at_once(work: Any) -> None:
    threads = [threading.Thread(target=work, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.slow
def test_many_clients_that_write_leave_everything_whole(served: Served) -> None:
    """Each makes a run, tags one that all know, logs a metric to it and puts a blob."""
    assert served.ask("POST", f"{HISTORY}/experiments/many")[0] == 200
    common = f"{HISTORY}/experiments/many/runs/common"
    assert served.ask("PATCH", common, b"{}")[0] == 200
    query = served.service.identity.address_query("/azureml-blobstore", "rw")
    seen: list[tuple[int, int, int, int]] = []

    def work(number: int) -> None:
        row = {"metricId": str(number), "createdUtc": "2026-01-01T00:00:00Z", "data": {"m": number}}
        metric = {"values": [{"name": "m", "columns": {"m": "int"}, "value": [row]}]}
        asked = (
            ("PATCH", f"{HISTORY}/experiments/many/runs/run{number}", {"tags": {"n": str(number)}}),
            ("PATCH", common, {"tags": {f"t{number}": "x"}}),
            ("POST", f"/metric/v2.0{WS}/runs/common/batch", metric),
        )
        first, second, third = (served.ask(how, where, json.dumps(what).encode())[0] for how, where, what in asked)
        put = served.ask("PUT", f"/azureml-blobstore/many{number}?{query}", str(number).encode() * 1000)[0]
        seen.append((first, second, third, put))

    at_once(work)
    assert seen == [(200, 200, 200, 201)] * CLIENTS
    store = served.service.store
    runs = [run for run in store.all("run") if run["runId"].startswith(("run", "common"))]
    assert len({run["runNumber"] for run in runs}) == len(runs) == CLIENTS + 1
    assert set(runs[0]["tags"]) == {f"t{number}" for number in range(CLIENTS)}
    assert {run["runId"]: run["tags"] for run in runs[1:]} == {f"run{n}": {"n": str(n)} for n in range(CLIENTS)}
    assert sorted(row["data"]["m"] for row in store.all("row", "common/m")) == list(range(CLIENTS))
    for number in range(CLIENTS):
        assert served.ask("GET", f"/azureml-blobstore/many{number}?{query}")[1] == str(number).encode() * 1000
