"""The store under many threads, damaged, and restarted; the secrets that everything rests on."""

from __future__ import annotations

import base64
import json
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.emulator.identity import Identity, decode, encode, load_identity
from runner.emulator.instance import EmulatorError, Settings, serve
from runner.emulator.messages import Request
from runner.emulator.routes import ROUTES, dispatch
from runner.emulator.store import SCHEMA, Store, StoreError
from tests.emulator.bodies import BODIES, EXPERIMENT, control, furnish
from tests.emulator.conftest import HISTORY, WS, Client, configuration, made

THREADS = 16
ME = Identity(b"k" * 32, Path())


def at_once(work: Callable[[int], None]) -> None:
    errors: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            work(number)
        except BaseException as error:  # noqa: BLE001 - raised again below, where the test can see it
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_transactions_of_many_threads_are_whole(tmp_path: Path) -> None:
    """Half of them fail, and nobody ever sees a part of one."""
    store = Store(tmp_path / "s")
    sums: list[int] = []

    def work(number: int) -> None:
        try:
            with store.transaction():
                store.put("pair", "", f"{number}-a", {"n": number})
                if number % 2:
                    raise ValueError
                store.put("pair", "", f"{number}-b", {"n": -number})
        except ValueError:
            pass
        sums.append(sum(item["n"] for item in store.all("pair")))

    at_once(work)
    assert sums == [0] * THREADS
    assert store.count("pair") == THREADS
    store.close()


def test_every_submission_of_many_at_once_is_one_run(client: Client) -> None:
    """Four ids, each sent by four: each starts once, and numbers are given once."""
    client.cluster()
    client.snapshot({"train.py": b""})
    at_once(lambda number: client.submit(f"r{number % 4}", configuration()))
    assert sorted(client.engine.submitted) == ["r0", "r1", "r2", "r3"]
    assert sorted(run["runNumber"] for run in client.service.store.all("run")) == [1, 2, 3, 4]
    assert client.service.store.count("environment") == 1


def test_versions_of_many_at_once(client: Client) -> None:
    furnish(client)
    path, body = BODIES["model"](client)[1:]
    at_once(lambda _: client.ask("POST", path, body))
    versions = [model["version"] for model in client.service.store.all("model")]
    assert versions == list(range(1, THREADS + 2))


def everything(client: Client) -> dict[str, Any]:
    asked = {
        **{
            f"GET {path}": client.ask("GET", path)
            for path in (f"{EXPERIMENT}/runs/r1", f"{HISTORY}/runs/r2", f"{WS}/computes")
        },
        **{path: client.ask("POST", path, {}) for path in (f"{HISTORY}/runs:query", f"/metric/v2.0{WS}/runs/r1/list")},
    }
    kinds = ("model", "asset", "environment", "secret", "artifact", "blob", "snapshot", "row", "workspace")
    return {**asked, **{kind: client.service.store.all(kind) for kind in kinds}}


def test_a_restart_keeps_everything(client: Client) -> None:
    furnish(client)
    before = everything(client)
    client.service.store.close()
    again = made(Store(client.service.store.folder))
    assert everything(Client(again, client.engine)) == before
    again.store.close()


def test_reset_forgets_everything_but_who_we_are(client: Client) -> None:
    furnish(client)
    before = client.service.workspace()["id"]
    token = client.service.identity.token({})
    answer = client.ask("POST", control(client, "reset"), {})
    assert answer["workspaceId"] != before
    assert {row[0] for row in client.service.store.query("SELECT DISTINCT kind FROM documents")} == {"workspace"}
    assert client.service.identity.claims(token)


def foreign(path: Path) -> None:
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE documents (id INTEGER, text TEXT)")
    database.close()


def cut(path: Path) -> None:
    database = sqlite3.connect(path)
    database.executescript(SCHEMA)
    database.execute("INSERT INTO documents (kind, owner, key, body) VALUES ('k', '', 'x', ?)", ("y" * 50_000,))
    database.commit()
    database.close()
    path.write_bytes(path.read_bytes()[:5000])


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (
            lambda path: path.write_bytes(b"no database, and longer than one page's head " * 10),
            "file is not a database",
        ),
        (foreign, "no such column"),
        (cut, "malformed"),
    ],
)
def test_a_state_that_cannot_be_read(damage: Callable[[Path], None], words: str, tmp_path: Path) -> None:
    damage(tmp_path / "state.sqlite")
    before = (tmp_path / "state.sqlite").read_bytes()
    with pytest.raises(
        StoreError, match=f"^the state in '.*state.sqlite' cannot be read: .*{words}.*; move it away to begin anew$"
    ):
        Store(tmp_path)
    assert (tmp_path / "state.sqlite").read_bytes()[:4096] == before[:4096]


def test_the_emulator_says_so_and_does_not_serve(tmp_path: Path) -> None:
    pytest.importorskip("cryptography", reason="the emulator's extra is not installed")
    foreign(tmp_path / "state.sqlite")
    with pytest.raises(EmulatorError, match="move it away to begin anew"):
        serve(Settings(tmp_path))


def test_an_empty_file_is_a_new_state(tmp_path: Path) -> None:
    (tmp_path / "state.sqlite").touch()
    store = Store(tmp_path)
    assert store.put("k", "", "x", {}) == store.get("k", "", "x")
    store.close()


@pytest.mark.parametrize("left", [b"", b"ab", b"0" * 63])
def test_a_secret_that_a_crash_has_cut_is_made_anew(left: bytes, tmp_path: Path) -> None:
    """Whoever knows that it is empty could sign."""
    (tmp_path / "secret").write_bytes(left)
    assert len(load_identity(tmp_path).secret) == 64
    assert (tmp_path / "secret").read_bytes() == load_identity(tmp_path).secret


@settings(max_examples=150, deadline=None, database=None)
@given(st.integers(0, 10_000), st.sampled_from("Aa0._-é "))
def test_a_token_with_any_other_character_is_none(at: int, other: str) -> None:
    token = ME.token({"tid": "t", "exp": 9_999_999_999})
    at %= len(token)
    changed = token[:at] + other + token[at + 1 :]
    assert (ME.claims(changed) is None) is (changed != token)


def signed(header: dict[str, Any], claims: dict[str, Any], secret: bytes | None) -> str:
    text = ".".join(encode(json.dumps(part).encode()) for part in (header, claims))
    return f"{text}.{encode(Identity(secret, Path()).sign(text)) if secret else ''}"


@pytest.mark.parametrize(
    ("header", "secret"),
    [({"alg": "none"}, None), ({"alg": "HS256"}, b""), ({"alg": "HS256"}, b"K" * 32), ({"alg": "HS256"}, None)],
)
@pytest.mark.parametrize("route", [route for route in ROUTES if not route.open][::6], ids=lambda route: route.template)
def test_forged_tokens_open_nothing(header: dict[str, str], secret: bytes | None, route: Any, client: Client) -> None:
    token = signed(header, {"exp": 9_999_999_999, "tid": "t"}, secret)
    path = route.template.replace("{ws}", WS).replace(":rest}", "}").replace("{", "").replace("}", "")
    answer = dispatch(client.service, Request(route.method, path, {}, {"authorization": f"Bearer {token}"}))
    assert (answer.status, answer.body["error"]["code"]) == (401, "AuthenticationFailed")


@pytest.mark.parametrize(("seconds", "lives"), [(60, True), (1, True), (0, False), (-1, False), (-(10**9), False)])
def test_a_token_lives_until_its_time(seconds: int, lives: bool) -> None:
    assert (ME.claims(ME.token({}, seconds)) is not None) is lives


@pytest.mark.parametrize("form", ["bearer {}", "BEARER {}", "Bearer {}"])
def test_the_scheme_may_be_written_in_any_case(form: str, client: Client) -> None:
    headers = {"authorization": form.format(client.service.identity.token({}))}
    assert dispatch(client.service, Request("GET", WS, {}, headers)).status == 200


@pytest.mark.parametrize("what", ["status", "requests", "adopt", "reset"])
def test_the_control_plane_is_not_there_for_others(what: str, client: Client) -> None:
    """A token does not open it, nor does the secret of the tokens, nor a part of its own."""
    furnish(client)
    identity = client.service.identity
    method = "POST" if what in ("adopt", "reset") else "GET"
    other = replace(identity, secret=b"x" * 32).control_secret
    for secret in (identity.path_secret, identity.control_secret[:-1], identity.control_secret.upper(), other, "%00"):
        assert client.refused(method, f"/_emulator/{secret}/{what}", {}, expect=404) == "there is nothing here"
    assert client.service.store.count("run") == 2
    assert len(client.service.workspace()["names"]) == 1


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_tokens_are_for_who_knows_the_address(method: str, client: Client) -> None:
    identity = client.service.identity
    for secret in (identity.control_secret, identity.path_secret[:-1], identity.path_secret.upper(), "x", "%C3%A9"):
        client.refused(method, f"/msi/{secret}/token", expect=404)
    answer = client.ask(method, f"/msi/{identity.path_secret}/token", None, 200, resource="https://a")
    assert base64.urlsafe_b64decode(answer["access_token"].split(".")[1] + "==") == decode(
        answer["access_token"].split(".")[1]
    )
    assert (identity.claims(answer["access_token"]) or {})["aud"] == answer["resource"] == "https://a"
