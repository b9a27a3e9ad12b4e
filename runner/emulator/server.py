"""HTTPS on 127.0.0.1: reads requests, refuses foreign pages and hosts, sends answers. Knows nothing of Azure."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import ssl
import struct
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import parse_qs, urlsplit

from runner.emulator.checking import MAX_DIGITS, shortened
from runner.emulator.messages import Request, Response, ServiceError, bad_request, error_body
from runner.emulator.routes import dispatch
from runner.emulator.service import Service

LOOPBACK = "127.0.0.1"
# The SDK sends at most 64 MiB in one request; larger files come in blocks.
MAX_BODY = 256 * 1024 * 1024
IDLE_SECONDS = 75
POLL_SECONDS = 0.1
LINE_BYTES = 65536
METHODS = ("GET", "PUT", "POST", "PATCH", "DELETE", "HEAD")


class Server(ThreadingHTTPServer):
    """A thread per connection. `service` is set before the first request is accepted."""

    daemon_threads = True
    request_queue_size = 256
    service: Service

    def __init__(self, port: int, certificate: Path) -> None:
        super().__init__((LOOPBACK, port), Handler)
        self.last_request = time.monotonic()
        self.refusing = threading.Event()
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(certificate)

    def get_request(self) -> tuple[Any, Any]:
        """The handshake is left to the connection's own thread: a slow client must not block the others."""
        if self.refusing.is_set():
            time.sleep(POLL_SECONDS)  # the selector calls a socket that does not listen ready
            raise ConnectionRefusedError
        connection, address = self.socket.accept()
        connection.settimeout(IDLE_SECONDS)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address

    def refuse(self, seconds: float) -> None:
        """For so long nobody can connect: another socket, which does not listen, is in the place of ours."""
        if not self.refusing.is_set():
            self.refusing.set()
            with contextlib.suppress(OSError):
                self.socket.shutdown(socket.SHUT_RD)  # at once, although the selector holds it a moment longer
            with socket.socket() as deaf:
                os.dup2(deaf.fileno(), self.socket.fileno(), inheritable=False)
            again = threading.Timer(seconds, self.listen_again)
            again.daemon = True
            again.start()

    def listen_again(self) -> None:
        with socket.socket() as listening:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(self.server_address)
            listening.listen(self.request_queue_size)
            os.dup2(listening.fileno(), self.socket.fileno(), inheritable=False)
        self.refusing.clear()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that leave, or speak no TLS, are everyday; anything else is a mistake of ours and is shown."""
        if not isinstance(sys.exc_info()[1], OSError):
            traceback.print_exc()


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    default_request_version = "HTTP/1.1"  # so that a refusal of a line without any has a status
    server_version = "amlrun-emulator"
    sys_version = ""
    wbufsize = -1  # headers and body leave together
    server: Server

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline:
            self.close_connection = True
        elif len(self.raw_requestline) > 65536:
            self.requestline = self.request_version = self.command = ""  # what `send_error` looks at
            self.close_connection = True
            self.send_error(HTTPStatus.REQUEST_URI_TOO_LONG)
        elif self.parse_request():
            self.respond()
            self.wfile.flush()

    def respond(self) -> None:
        try:
            response = self.answer()
        except ServiceError as error:
            response = error.response()
            self.close_connection = True  # part of the body may be unread
        except (ConnectionError, TimeoutError, ssl.SSLError):
            self.close_connection = True  # nobody is there to answer
            return
        except Exception as error:  # noqa: BLE001 - a mistake in one answer must not take the server down
            traceback.print_exc()
            response = Response(error_body("InternalServerError", f"{type(error).__name__}: {error}"), 500)
            self.close_connection = True  # the same holds here
        if response.cut:
            self.close_connection = True
        (CUTS[response.cut] if response.cut else Handler.send)(self, response)

    def handle_expect_100(self) -> bool:
        """Whoever asks before it sends its body waits for this, so it must leave now."""
        super().handle_expect_100()
        self.wfile.flush()
        return True

    def answer(self) -> Response:
        self.server.last_request = time.monotonic()
        self.check_origin()
        try:
            address = urlsplit(self.path)
        except ValueError:
            raise bad_request(f"'{shortened(self.path)}' is no address", "InvalidUri") from None
        query = {name: values[-1] for name, values in parse_qs(address.query, keep_blank_values=True).items()}
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, address.path or "/", query, headers, self.read_body())
        return dispatch(self.server.service, request)

    def check_origin(self) -> None:
        """A page of another site, or a name that was bound to this address, has no business here."""
        port = self.server.server_address[1]
        hosts = {f"{LOOPBACK}:{port}", f"localhost:{port}"}
        host = self.headers.get("Host", "")
        origin = self.headers.get("Origin")
        if host not in hosts or (origin is not None and origin.partition("://")[2] not in hosts):
            raise ServiceError(403, "Forbidden", "this address answers to its own name only")

    def read_body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            return self.read_chunks()
        return self.read_part(number(self.headers.get("Content-Length") or "0", 10), MAX_BODY)

    def read_part(self, length: int, room: int) -> bytes:
        if length > room:
            raise ServiceError(
                413, "RequestBodyTooLarge", f"a request may have {MAX_BODY} bytes; send the rest in blocks"
            )
        data = self.rfile.read(length)
        if len(data) < length:
            raise ConnectionError("the client left in the middle of its request")
        return data

    def read_chunks(self) -> bytes:
        body = BytesIO()
        while size := self.chunk_size():
            body.write(self.read_part(size, MAX_BODY - body.tell()))
            if self.rfile.readline(LINE_BYTES).strip():
                raise bad_request("a chunk of the body is longer than it says", "InvalidRequestBody")
        while self.rfile.readline(LINE_BYTES).strip():
            pass  # trailers
        return body.getvalue()

    def chunk_size(self) -> int:
        line = self.rfile.readline(LINE_BYTES)
        if not line.endswith(b"\n"):
            raise bad_request("a chunk of the body does not say its length", "InvalidRequestBody")
        return number(line.partition(b";")[0].decode("latin-1"), 16)

    def send(self, response: Response) -> None:
        content = response.content()
        size = content.stat().st_size if isinstance(content, Path) else len(content)
        length = size - response.first if response.length is None else response.length
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        if "Content-Type" not in response.headers:
            self.send_header("Content-Type", response.content_type())
        if "Content-Length" not in response.headers:
            self.send_header("Content-Length", str(length))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command == "HEAD":
            return
        if isinstance(content, Path):
            with content.open("rb") as file:
                file.seek(response.first)
                copy(file, self.wfile, length)
        else:
            self.wfile.write(content)

    def reset(self, response: Response) -> None:
        """The client sees that the connection was reset, not that it ended."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(self.connection.detach())

    def refuse(self, response: Response) -> None:
        self.server.refuse(response.seconds)
        self.reset(response)

    def truncate(self, response: Response) -> None:
        """Half of the body, of which the header says that it is whole."""
        content = response.content()
        whole = content.read_bytes() if isinstance(content, Path) else content
        part = whole[response.first :][: response.length]
        headers = {**response.headers, "Content-Type": response.content_type(), "Content-Length": str(len(part))}
        self.send(replace(response, body=part[: len(part) // 2], headers=headers, first=0, length=len(part) // 2))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the standard library's
        """Nothing: addresses hold secrets."""


CUTS: Mapping[str, Callable[[Handler, Response], None]] = {
    "reset": Handler.reset,
    "refused": Handler.refuse,
    "truncated": Handler.truncate,
}
for method in METHODS:
    setattr(Handler, f"do_{method}", Handler.respond)


def number(text: str, base: int) -> int:
    """A length that a client sent. Raises ServiceError (400): what comes after it cannot be told apart."""
    digits = "[0-9A-Fa-f]" if base == 16 else "[0-9]"
    if not re.fullmatch(rf"\s*0*{digits}{{1,{MAX_DIGITS}}}\s*", text):
        raise bad_request(f"'{shortened(text.strip())}' is no length of a body", "InvalidRequestBody")
    return int(text, base)


def copy(source: BinaryIO, target: Any, length: int) -> None:
    """Exactly `length` bytes, although a log may grow meanwhile."""
    while length > 0 and (part := source.read(min(length, 1 << 20))):
        target.write(part)
        length -= len(part)
    if length:
        raise ConnectionError("the file has become shorter while it was sent")


def serve(server: Server) -> threading.Thread:
    """Answer requests in a thread, until `server.shutdown()`."""
    thread = threading.Thread(target=server.serve_forever, args=(POLL_SECONDS,), name="https", daemon=True)
    thread.start()
    return thread
