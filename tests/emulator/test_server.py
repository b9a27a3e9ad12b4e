"""HTTPS: who may speak to it, bodies of every form, and that it stays up."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
from pathlib import Path

import pytest

# An extra: `make test-slow` has an environment with it.
pytest.importorskip("cryptography", reason="the emulator's extra is not installed")

from runner.emulator import routes, server
from tests.emulator.conftest import WS, Served


def test_a_client_that_trusts_the_authority_is_served(served: Served) -> None:
    status, body = served.ask("GET", WS)
    assert (status, json.loads(body)["name"]) == (200, "emulator")


def test_it_listens_on_loopback_only(served: Served) -> None:
    assert server.LOOPBACK == "127.0.0.1"
    address = socket.gethostbyname(socket.gethostname())
    if address.startswith("127."):
        pytest.skip("this machine has no other address")  # nothing to refuse a connection to
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((address, served.port), timeout=2)


def test_others_do_not_trust_it(served: Served) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        http.client.HTTPSConnection("127.0.0.1", served.port, timeout=10).connect()


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", ""])
def test_a_foreign_host_is_refused(host: str, served: Served) -> None:
    status, body = served.ask("GET", "/discovery", Host=host.format(port=served.port))
    assert (status, json.loads(body)["error"]["code"]) == (403, "Forbidden")


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost"])
def test_a_foreign_page_is_refused(origin: str, served: Served) -> None:
    assert served.ask("GET", "/discovery", Origin=origin)[0] == 403


def test_its_own_names_are_not_foreign(served: Served) -> None:
    own = f"localhost:{served.port}"
    assert served.ask("GET", "/discovery", Host=own, Origin=f"https://{own}")[0] == 200


def test_many_requests_on_one_connection(served: Served) -> None:
    connection = served.connect()
    for _ in range(3):
        connection.request("GET", "/discovery")
        assert json.loads(connection.getresponse().read())["api"] == served.service.origin
    connection.close()


def test_a_body_in_chunks(served: Served) -> None:
    path = f"/_emulator/{served.service.identity.control_secret}/adopt"
    text = json.dumps({"subscription": "S", "group": "G", "name": "chunks"}).encode()
    status, body = served.ask("POST", path, iter([text[:10], text[10:]]), Transfer_Encoding="chunked")
    assert status == 200
    assert json.loads(body)["names"][-1]["name"] == "chunks"


def test_a_blob_of_some_size_comes_back_whole_and_in_part(served: Served) -> None:
    data = bytes(range(256)) * 20_000
    path = "/azureml-blobstore/a%20b.bin"
    query = served.service.identity.address_query("/azureml-blobstore", "rw")
    assert served.ask("PUT", f"{path}?{query}", data)[0] == 201
    assert served.ask("GET", f"{path}?{query}") == (200, data)
    assert served.ask("GET", f"{path}?{query}", Range="bytes=1000-1009") == (206, data[1000:1010])
    assert served.ask("HEAD", f"{path}?{query}") == (200, b"")


def test_a_body_that_is_too_big_is_not_read(served: Served) -> None:
    connection = served.connect()
    connection.putrequest("PUT", "/azureml-blobstore/x")
    connection.putheader("Content-Length", str(server.MAX_BODY + 1))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def test_a_mistake_in_one_answer_is_500_and_the_next_is_served(
    served: Served, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("oh")

    with monkeypatch.context() as patch:
        patch.setattr(server, "dispatch", broken)
        status, body = served.ask("GET", "/discovery")
    assert (status, json.loads(body)["error"]["message"]) == (500, "ZeroDivisionError: oh")
    assert served.ask("GET", "/discovery")[0] == 200
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_clients_that_speak_no_tls_or_leave_do_no_harm(served: Served, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_connection(("127.0.0.1", served.port)) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
        plain.settimeout(10)
        plain.recv(100)
    with socket.create_connection(("127.0.0.1", served.port)):
        pass
    connection = served.connect()
    connection.putrequest("POST", WS)
    connection.putheader("Content-Length", "100")
    connection.endheaders(b"half")
    connection.close()
    assert served.ask("GET", "/discovery")[0] == 200
    assert "Traceback" not in capfd.readouterr().err


def test_many_clients_at_once(served: Served) -> None:
    results: list[int] = []

    def work() -> None:
        results.extend(served.ask("GET", "/discovery")[0] for _ in range(5))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [200] * 40


def test_a_line_that_is_no_request(served: Served) -> None:
    with served.trust.wrap_socket(
        socket.create_connection(("127.0.0.1", served.port)), server_hostname="127.0.0.1"
    ) as raw:
        raw.sendall(b"nonsense\r\n\r\n")
        assert b"400" in raw.recv(1000)


def test_every_method_of_the_table_is_served(served: Served) -> None:
    assert {route.method for route in routes.ROUTES} <= set(server.METHODS)
    for method in server.METHODS:
        assert served.ask(method, "/nothing")[0] == 501


def test_the_folder_is_private(served: Served) -> None:
    folder: Path = served.service.store.folder
    assert folder.stat().st_mode & 0o077 == 0
