"""Files on a loopback HTTP server that can break off, refuse and change its mind, and remembers what it was asked."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Served:
    """`cuts`: after how many bytes each of the next answers ends; `codes`: what the next requests get instead."""

    files: dict[str, bytes]
    etag: str | None = '"one"'
    cuts: list[int] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)
    ready: threading.Event = field(default_factory=threading.Event)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    url: str = ""

    def part(self, asked_range: str | None, if_range: str | None, content: bytes) -> tuple[int, int]:
        """Status, and the byte that the answer begins with."""
        if asked_range is None or if_range != self.etag:
            return 200, 0
        return 206, int(asked_range.removeprefix("bytes=").rstrip("-"))


@contextmanager
def serving(files: dict[str, bytes], **keys: object) -> Iterator[Served]:
    """Serve `files` by path until the end of the block; answers wait for `ready`, which is set at first."""
    served = Served(files, **keys)  # type: ignore[arg-type]
    served.ready.set()

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0].lstrip("/")
            served.asked.append((path, self.headers.get("Range")))
            served.ready.wait(20)
            if served.codes or path not in served.files:
                self.send_error(served.codes.pop(0) if served.codes else 404)
                return
            content = served.files[path]
            status, start = served.part(self.headers.get("Range"), self.headers.get("If-Range"), content)
            self.send_response(status)
            if status == 206:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            if served.etag:
                self.send_header("ETag", served.etag)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            end = start + served.cuts.pop(0) if served.cuts else len(content)
            self.wfile.write(content[start:end])

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
