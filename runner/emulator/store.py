"""The emulator's state: documents in SQLite and files beside it. The only module that knows where anything lies.

DIR/state.sqlite     documents: (kind, owner, key) -> JSON
DIR/ca.pem, ca.key, server.pem, bundle.pem, secret   identity, made on first use
DIR/blobs/           uploaded bytes
DIR/runs/<run>/      nodes/<n>/ working directories while it runs, logs/, kept/ what it left in ./outputs and ./logs
DIR/bin/             the jobs' `python`
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SCHEMA = """
CREATE TABLE IF NOT EXISTS documents (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL, owner TEXT NOT NULL, key TEXT NOT NULL, body TEXT NOT NULL,
    UNIQUE (kind, owner, key));
"""

# What a file system takes as one name.
NAME_BYTES = 255

Document = dict[str, Any]


class StoreError(Exception):
    """What lies at the place of the state is none of ours, or damaged."""


class Store:
    """Documents by (kind, owner, key), in the order in which they were first put. Safe to use from many threads.

    Raises StoreError for a state that cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        self.folder = folder
        self.lock = threading.RLock()
        self.database = sqlite3.connect(folder / "state.sqlite", check_same_thread=False, isolation_level=None)
        try:
            self.database.executescript(SCHEMA)
            self.database.execute("SELECT number, kind, owner, key, body FROM documents LIMIT 1")
            self.database.execute("PRAGMA journal_mode=WAL")
            self.database.execute("PRAGMA synchronous=NORMAL")
        except sqlite3.DatabaseError as error:
            self.database.close()
            path = folder / "state.sqlite"
            raise StoreError(f"the state in '{path}' cannot be read: {error}; move it away to begin anew") from None

    def close(self) -> None:
        with self.lock:
            self.database.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, and nobody else writes meanwhile. May be nested."""
        with self.lock:
            if self.database.in_transaction:
                yield
                return
            self.database.execute("BEGIN")
            try:
                yield
            except BaseException:
                self.database.execute("ROLLBACK")
                raise
            self.database.execute("COMMIT")

    def get(self, kind: str, owner: str, key: str) -> Document | None:
        row = self.query("SELECT body FROM documents WHERE kind=? AND owner=? AND key=?", kind, owner, key)
        return json.loads(row[0][0]) if row else None

    def put(self, kind: str, owner: str, key: str, body: Document) -> Document:
        with self.lock:
            self.database.execute(
                "INSERT INTO documents (kind, owner, key, body) VALUES (?,?,?,?) "
                "ON CONFLICT (kind, owner, key) DO UPDATE SET body=excluded.body",
                (kind, owner, key, json.dumps(body)),
            )
        return body

    def delete(self, kind: str, owner: str, key: str) -> bool:
        with self.lock:
            done = self.database.execute("DELETE FROM documents WHERE kind=? AND owner=? AND key=?", (kind, owner, key))
            return done.rowcount > 0

    def all(self, kind: str, owner: str | None = None) -> list[Document]:
        """Every document of a kind (of one owner), oldest first."""
        if owner is None:
            rows = self.query("SELECT body FROM documents WHERE kind=? ORDER BY number", kind)
        else:
            rows = self.query("SELECT body FROM documents WHERE kind=? AND owner=? ORDER BY number", kind, owner)
        return [json.loads(row[0]) for row in rows]

    def count(self, kind: str, owner: str | None = None) -> int:
        if owner is None:
            return int(self.query("SELECT COUNT(*) FROM documents WHERE kind=?", kind)[0][0])
        return int(self.query("SELECT COUNT(*) FROM documents WHERE kind=? AND owner=?", kind, owner)[0][0])

    def query(self, text: str, *values: str) -> list[tuple[Any, ...]]:
        with self.lock:
            return self.database.execute(text, values).fetchall()

    def clear(self) -> None:
        """Forget everything but the identity (certificates, secret)."""
        with self.transaction():
            self.database.execute("DELETE FROM documents")
        for folder in (self.blobs, self.runs):
            shutil.rmtree(folder, ignore_errors=True)

    @property
    def blobs(self) -> Path:
        return self.folder / "blobs"

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    def new_file(self) -> Path:
        """Where the bytes of a new blob go."""
        name = uuid.uuid4().hex
        path = self.blobs / name[:2] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def run_folder(self, run_id: str) -> Path:
        """Created if absent. A run id is a name that a client chose: only plain ones become a folder."""
        folder = self.runs / safe_name(run_id)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def relative(self, path: Path) -> str:
        return os.path.relpath(path, self.folder)


def safe_name(name: str) -> str:
    """`name` as a file name. Raises ValueError where it could lead elsewhere."""
    if not name or name.startswith(".") or any(sign in name for sign in "/\\\0") or len(name.encode()) > NAME_BYTES:
        raise ValueError(f"'{name}' cannot be a folder's name")
    return name
