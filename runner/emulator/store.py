"""The emulator's state: documents in SQLite and files beside it. The only module that knows where anything lies.

DIR/state.sqlite     documents: (kind, owner, key) -> JSON, and the fields by which some kinds are sought
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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SCHEMA = """
CREATE TABLE IF NOT EXISTS documents (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL, owner TEXT NOT NULL, key TEXT NOT NULL, body TEXT NOT NULL,
    UNIQUE (kind, owner, key));
CREATE INDEX IF NOT EXISTS documents_of_owner ON documents (kind, owner);
CREATE TABLE IF NOT EXISTS fields (
    number INTEGER NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL,
    PRIMARY KEY (number, name)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS fields_by_value ON fields (name, value);
"""
# Of a state that has `fields` of all its documents; one of an earlier version has 0.
VERSION = 1
# The fields of a kind by which SQLite finds its documents. Their values are texts, true or false, mappings to texts, or
# missing. Kept beside the documents and not read out of them: what runs sent need not be JSON to SQLite (NaN).
SOUGHT: Mapping[str, tuple[str, ...]] = {
    "experiment": ("experimentId",),
    "run": (
        *("runId", "experimentId", "rootRunId", "parentRunId", "status", "runType", "target", "hidden"),
        *("createdUtc", "startTimeUtc", "endTimeUtc", "tags", "properties"),
    ),
}
BODIES_AT_ONCE = 100
# With a write-ahead log nothing is ever torn; what the last moments before a power cut brought may be missing.
SYNCHRONOUS = "NORMAL"

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
            self.database.execute(f"PRAGMA synchronous={SYNCHRONOUS}")
            self.database.executescript(f"BEGIN; {SCHEMA} COMMIT;")
            self.database.execute("SELECT number, kind, owner, key, body FROM documents LIMIT 1")
            self.database.execute("PRAGMA journal_mode=WAL")
            self.bring_up_to_date()
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
        text = json.dumps(body)
        with self.transaction() if kind in SOUGHT else self.lock:
            self.database.execute(
                "INSERT INTO documents (kind, owner, key, body) VALUES (?,?,?,?) "
                "ON CONFLICT (kind, owner, key) DO UPDATE SET body=excluded.body",
                (kind, owner, key, text),
            )
            if kind in SOUGHT:
                self.note_fields(self.number(kind, owner, key), sought(kind, body))
        return body

    def delete(self, kind: str, owner: str, key: str) -> bool:
        with self.transaction():
            if kind in SOUGHT:
                self.database.execute("DELETE FROM fields WHERE number=?", (self.number(kind, owner, key),))
            done = self.database.execute("DELETE FROM documents WHERE kind=? AND owner=? AND key=?", (kind, owner, key))
            return done.rowcount > 0

    def number(self, kind: str, owner: str, key: str) -> int:
        found = self.query("SELECT number FROM documents WHERE kind=? AND owner=? AND key=?", kind, owner, key)
        return int(found[0][0]) if found else 0

    def note_fields(self, number: int, wanted: Mapping[str, str]) -> None:
        """Only what has changed is written: most of a run stays as it was when it was made."""
        known = dict(self.query("SELECT name, value FROM fields WHERE number=?", number))
        gone = [(number, name) for name in known if name not in wanted]
        new = [(number, name, value) for name, value in wanted.items() if known.get(name) != value]
        self.database.executemany("DELETE FROM fields WHERE number=? AND name=?", gone)
        self.database.executemany("INSERT OR REPLACE INTO fields (number, name, value) VALUES (?,?,?)", new)

    def bring_up_to_date(self) -> None:
        """The fields of documents that an earlier version has kept without."""
        if self.query("PRAGMA user_version")[0][0] >= VERSION:
            return
        with self.transaction():
            for kind in SOUGHT:
                for number, body in self.bodies(self.numbers(kind)):
                    self.note_fields(number, sought(kind, body))
            self.database.execute(f"PRAGMA user_version={VERSION}")

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

    def numbers(self, kind: str, condition: str = "1", values: Sequence[str] = (), tail: str = "") -> list[int]:
        """Of the documents of a sought kind that meet a condition over `number` and `fields`, newest first.

        `tail` orders and cuts otherwise.
        """
        text = f"SELECT number FROM documents WHERE kind=? AND owner='' AND ({condition}) "  # noqa: S608 - see SOUGHT
        return [number for (number,) in self.query(text + (tail or "ORDER BY number DESC"), kind, *values)]

    def bodies(self, numbers: Sequence[int]) -> Iterator[tuple[int, Document]]:
        """Documents in the order of their numbers here, a few in memory at a time; what is gone by now is left out."""
        for first in range(0, len(numbers), BODIES_AT_ONCE):
            part = numbers[first : first + BODIES_AT_ONCE]
            marks = ",".join("?" * len(part))
            text = f"SELECT number, body FROM documents WHERE number IN ({marks})"  # noqa: S608 - question marks
            found = dict(self.query(text, *part))
            for number in part:
                if number in found:
                    yield number, json.loads(found[number])

    def following(self, kind: str, owner: str, number: int) -> Iterator[tuple[int, Document]]:
        """Documents of an owner that were first put after that of a number, a few in memory at a time."""
        text = "SELECT number, body FROM documents WHERE kind=? AND owner=? AND number>? ORDER BY number LIMIT ?"
        while rows := self.query(text, kind, owner, number, BODIES_AT_ONCE):
            for number, body in rows:
                yield number, json.loads(body)

    def having(self, kind: str, field: str, value: str) -> list[Document]:
        """The documents whose sought field (in lower case) has this value, oldest first."""
        condition = "number IN (SELECT number FROM fields WHERE name=? AND value=?)"
        numbers = self.numbers(kind, condition, (field, value), "ORDER BY number")
        return [document for _, document in self.bodies(numbers)]

    def tally(self, kind: str, field: str, condition: str = "1", values: Sequence[str] = ()) -> dict[str, int]:
        """How many of the documents that meet a condition have which value of a sought field, oldest value first."""
        text = (
            "SELECT value, COUNT(*) FROM documents JOIN fields USING (number) "  # noqa: S608 - see SOUGHT
            f"WHERE kind=? AND owner='' AND name=? AND ({condition}) GROUP BY value ORDER BY MIN(number)"
        )
        return dict(self.query(text, kind, field, *values))

    def query(self, text: str, *values: str | int) -> list[tuple[Any, ...]]:
        with self.lock:
            return self.database.execute(text, values).fetchall()

    def clear(self) -> None:
        """Forget everything but the identity (certificates, secret)."""
        with self.transaction():
            self.database.execute("DELETE FROM documents")
            self.database.execute("DELETE FROM fields")
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


def sought(kind: str, body: Document) -> dict[str, str]:
    """The sought fields of a document by their names in lower case, entries of a mapping as `tags/name`."""
    pairs: dict[str, Any] = {}
    for field in SOUGHT[kind]:
        value = body.get(field)
        if isinstance(value, dict):
            pairs |= {f"{field.lower()}/{key}": item for key, item in value.items()}
        else:
            pairs[field.lower()] = value
    filled = {name: value for name, value in pairs.items() if value is not None}
    return {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in filled.items()}


def safe_name(name: str) -> str:
    """`name` as a file name. Raises ValueError where it could lead elsewhere."""
    if not name or name.startswith(".") or any(sign in name for sign in "/\\\0") or len(name.encode()) > NAME_BYTES:
        raise ValueError(f"'{name}' cannot be a folder's name")
    return name
