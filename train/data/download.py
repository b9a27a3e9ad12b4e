"""Files from an address: downloaded once, by one process of a node, and kept for the next run."""

from __future__ import annotations

import hashlib
import http.client
import os
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from filelock import FileLock, Timeout

from train.data.archive import unpack
from train.errors import TrainError
from train.process import find_process

# Seconds before each further attempt.
PAUSES: tuple[float, ...] = (1, 4, 15)
SECONDS_BETWEEN_LINES = 5.0
SECONDS_OF_SILENCE = 60
CHUNK = 2**18

# Of an answer: what another attempt may mend.
PASSING = frozenset({408, 416, 425, 429, 500, 502, 503, 504})
BROKEN = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError)


@dataclass(frozen=True, slots=True)
class Remote:
    """A file at a http, https or file address; `checksum` is 'sha256:HEX', 'md5:HEX', or None: not verified."""

    url: str
    checksum: str | None

    @property
    def name(self) -> str:
        return PurePosixPath(urllib.parse.unquote(urllib.parse.urlsplit(self.url).path)).name or "download"

    @property
    def shown(self) -> str:
        """Without what may be a password or a signature."""
        parts = urllib.parse.urlsplit(self.url)
        return urllib.parse.urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))

    @property
    def folder(self) -> str:
        """A file is what its checksum says it is, wherever it comes from; without one it is what its address says."""
        identity = f"{self.name} {self.checksum}" if self.checksum else self.url
        return hashlib.sha256(identity.encode()).hexdigest()[:16]


def cache_folder(given: str | None) -> Path:
    """Where downloads are kept: as given, else AMLRUN_DATA, else ~/.cache/amlrun."""
    try:
        return Path(given or os.environ.get("AMLRUN_DATA") or "~/.cache/amlrun").expanduser()
    except RuntimeError as error:
        raise TrainError("data.cache: this user has no home folder; set data.cache or AMLRUN_DATA") from error


def fetch(remote: Remote, cache: Path) -> Path:
    """The file, downloaded unless an earlier run did. Raises TrainError if it cannot be had or is not the one meant."""
    path = cache / remote.folder / remote.name
    if not path.exists():
        with _alone(remote, cache):
            if not path.exists():
                _download(remote, path)
    _say_unpinned(remote, path.parent)
    return path


def fetch_unpacked(remote: Remote, cache: Path) -> Path:
    """The folder that an archive (zip, tar) became, downloaded and unpacked unless an earlier run did."""
    folder = cache / remote.folder / "unpacked"
    if not folder.exists():
        with _alone(remote, cache):
            if not folder.exists():
                archive = folder.with_name(remote.name)
                if not archive.exists():
                    _download(remote, archive)
                try:
                    unpack(archive, folder)
                finally:
                    archive.unlink()
    _say_unpinned(remote, folder.parent)
    return folder


@contextmanager
def _alone(remote: Remote, cache: Path) -> Iterator[None]:
    """One process at a time. The lock is the kernel's: it goes with a process that dies."""
    folder = cache / remote.folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            print(f"data: waiting for another process that downloads '{remote.shown}'", flush=True)
            lock.acquire()
        try:
            yield
        finally:
            lock.release()
    except OSError as error:
        raise TrainError(
            f"data.cache: cannot write below '{folder}' ({error}); "
            f"set data.cache or AMLRUN_DATA to a folder with room that can be written"
        ) from error


@dataclass(slots=True)
class _Transfer:
    """How far a download has come, over several attempts. `version`: what the server calls this content, if it does."""

    remote: Remote
    part: Path
    received: int = 0
    total: int | None = None
    version: str = ""
    told: float = 0.0


def _download(remote: Remote, path: Path) -> None:
    """Written beside, and under its name once it is whole and the right one."""
    transfer = _Transfer(remote, path.with_name(f".{path.name}.part"), told=time.monotonic())
    print(f"data: downloading '{remote.shown}'", flush=True)
    for pause in (*PAUSES, None):
        try:
            _receive(transfer)
            break
        except BROKEN as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()  # it is an open answer too
            if pause is None or not _may_pass(error):
                raise _unreachable(remote, error) from error
            print(f"data: {_words(error)}; another attempt in {pause} s", flush=True)
            time.sleep(pause)
    _verify(remote, transfer.part)
    transfer.part.replace(path)


def _receive(transfer: _Transfer) -> None:
    """One attempt, from where the last one ended if the server still has the same content."""
    headers = {"User-Agent": "amlrun"}
    if transfer.received and transfer.version:
        headers |= {"Range": f"bytes={transfer.received}-", "If-Range": transfer.version}
    request = urllib.request.Request(transfer.remote.url, headers=headers)  # noqa: S310 - the schema says which
    with urllib.request.urlopen(request, timeout=SECONDS_OF_SILENCE) as answer:  # noqa: S310
        goes_on = (answer.headers.get("Content-Range") or "").startswith(f"bytes {transfer.received}-")
        if not goes_on:
            transfer.received = 0
        transfer.version = _version(answer.headers)
        length = answer.headers.get("Content-Length")
        transfer.total = transfer.received + int(length) if length else None
        with transfer.part.open("ab" if goes_on else "wb") as file:
            while chunk := answer.read(CHUNK):
                file.write(chunk)
                transfer.received += len(chunk)
                _tell(transfer)
    if transfer.total is not None and transfer.received < transfer.total:
        raise ConnectionError(f"the connection ended after {transfer.received} of {transfer.total} bytes")


def _version(headers: Any) -> str:
    """A weak tag vouches for the meaning and not for the bytes: no range can be asked for with it."""
    tag = headers.get("ETag") or ""
    return tag if tag and not tag.startswith("W/") else headers.get("Last-Modified") or ""


def _tell(transfer: _Transfer) -> None:
    now = time.monotonic()
    if now - transfer.told >= SECONDS_BETWEEN_LINES:
        transfer.told = now
        of = f" of {transfer.total / 1e6:.1f}" if transfer.total else ""
        print(f"data: {transfer.remote.name}: {transfer.received / 1e6:.1f}{of} MB", flush=True)


def _may_pass(error: Exception) -> bool:
    if isinstance(error, urllib.error.HTTPError):
        return error.code in PASSING
    reason = getattr(error, "reason", error)  # what URLError wraps
    return not isinstance(reason, (ssl.SSLCertVerificationError, FileNotFoundError, http.client.InvalidURL, str))


def _words(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answered {error.code} {error.reason}"
    reason = getattr(error, "reason", error)
    return str(reason) or type(reason).__name__


def _unreachable(remote: Remote, error: Exception) -> TrainError:
    return TrainError(
        f"data.url: '{remote.shown}' could not be downloaded ({_words(error)}); "
        f"without a network get the data elsewhere and set data.path to it"
    )


def _verify(remote: Remote, part: Path) -> None:
    if remote.checksum is None:
        part.with_name(".sha256").write_text(_digest(part, "sha256"), encoding="utf-8")
        return
    kind, _, wanted = remote.checksum.partition(":")
    found = _digest(part, kind)
    if found != wanted.lower():
        part.unlink()
        raise TrainError(
            f"data: '{remote.shown}' is not the file that was meant: its {kind} is '{found}', not '{wanted}' as "
            f"configured; what came was removed: correct the checksum if the file is right, or set data.path"
        )


def _digest(path: Path, kind: str) -> str:
    if kind not in ("sha256", "md5"):
        raise TrainError(f"data: '{kind}' is no kind of checksum; write 'sha256:HEX' or 'md5:HEX'")
    made = hashlib.new(kind, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            made.update(chunk)
    return made.hexdigest()


def _say_unpinned(remote: Remote, folder: Path) -> None:
    if remote.checksum is None and find_process().first:
        found = (folder / ".sha256").read_text(encoding="utf-8")
        print(
            f"data: warning: '{remote.shown}' has no checksum in the configuration, so nothing vouches for what came; "
            f"what came is pinned with data.checksum=sha256:{found}",
            flush=True,
        )
