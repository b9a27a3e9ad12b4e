"""State that survives, and the identity of a store."""

from __future__ import annotations

import base64
import json
import stat
import threading
from pathlib import Path

import pytest

from runner.emulator import identity
from runner.emulator.identity import Identity, encode, load_identity
from runner.emulator.store import Store, safe_name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_documents_survive_a_restart_in_order(folder: Path) -> None:
    store = Store(folder)
    for key in ("b", "a", "c"):
        store.put("kind", "owner", key, {"key": key})
    store.put("kind", "owner", "b", {"key": "b", "again": True})
    store.put("kind", "other", "x", {"key": "x"})
    store.close()
    again = Store(folder)
    assert [item["key"] for item in again.all("kind", "owner")] == ["b", "a", "c"]
    assert again.get("kind", "owner", "b") == {"key": "b", "again": True}
    assert [item["key"] for item in again.all("kind")] == ["b", "a", "c", "x"]
    assert (again.count("kind"), again.count("kind", "other"), again.count("none")) == (4, 1, 0)
    assert again.delete("kind", "owner", "a")
    assert not again.delete("kind", "owner", "a")
    assert again.get("kind", "owner", "a") is None
    again.close()


def test_a_transaction_is_all_or_nothing(folder: Path) -> None:
    store = Store(folder)

    def fails() -> None:
        with store.transaction():
            store.put("k", "", "1", {})
            with store.transaction():
                store.put("k", "", "2", {})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    assert store.count("k") == 0
    store.close()


def test_many_threads_count_right(folder: Path) -> None:
    store = Store(folder)
    store.put("n", "", "n", {"n": 0})

    def add() -> None:
        for _ in range(50):
            with store.transaction():
                found = store.get("n", "", "n")
                assert found is not None
                store.put("n", "", "n", {"n": found["n"] + 1})

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.get("n", "", "n") == {"n": 200}
    store.close()


def test_clear_keeps_who_we_are(folder: Path) -> None:
    store = Store(folder)
    known = load_identity(folder)
    store.put("k", "", "1", {})
    store.new_file().write_text("x")
    store.run_folder("r1")
    store.clear()
    assert store.count("k") == 0
    assert not store.blobs.exists()
    assert not store.runs.exists()
    assert load_identity(folder) == known
    store.close()


def test_only_the_owner_may_look(folder: Path) -> None:
    Store(folder).close()
    load_identity(folder)
    assert (mode(folder), mode(folder / "secret")) == (0o700, 0o600)


@pytest.mark.parametrize("name", ["", ".", "..", ".x", "a/b", "a\\b", "a\0"])
def test_names_that_are_no_folder(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be a folder's name"):
        safe_name(name)


def test_a_store_has_a_secret_of_its_own(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    first = load_identity(one)
    assert load_identity(one) == first
    assert load_identity(two).secret != first.secret
    assert first.path_secret != first.control_secret
    assert first.is_path_secret(first.path_secret)
    assert not first.is_path_secret("x")


def test_tokens_are_jwts_that_the_sdk_can_read() -> None:
    me = Identity(b"k", Path())
    token = me.token({"tid": "t", "aud": "a"})
    parts = token.split(".")
    assert len(parts) == 3
    claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=="))
    assert (claims["tid"], claims["exp"] - claims["iat"]) == ("t", 3600)
    assert me.claims(token) == claims


def test_a_changed_token_is_none() -> None:
    me = Identity(b"k", Path())
    head, _, signature = me.token({"tid": "t"}).rpartition(".")
    other = encode(json.dumps({"exp": 9e9, "tid": "admin"}).encode())
    assert me.claims(f"{head.partition('.')[0]}.{other}.{signature}") is None
    assert me.claims(head) is None
    assert me.claims("") is None


def test_certificates(folder: Path) -> None:
    pytest.importorskip("cryptography", reason="the emulator's extra is not installed")
    import ssl

    folder.mkdir()
    server = identity.certificates(folder)
    before = server.read_bytes()
    assert identity.certificates(folder).read_bytes() == before
    assert (mode(server), mode(folder / "ca.key")) == (0o600, 0o600)
    context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    assert [dict(part[0] for part in ca["subject"])["commonName"] for ca in context.get_ca_certs()] == [
        "amlrun emulator"
    ]
    bundle = (folder / "bundle.pem").read_bytes()
    assert (folder / "ca.pem").read_bytes() in bundle
    certificates = identity.PEM.findall(bundle)
    assert len(certificates) == len(set(certificates)) > 50
