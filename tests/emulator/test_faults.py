"""What goes wrong on purpose: by route and count, before or after the effect, and how a client sees it."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runner.emulator import instance
from runner.emulator.control import ROUTES
from runner.emulator.messages import Route
from tests.conftest import Cli
from tests.emulator.bodies import BODIES, EXPERIMENT, SUBMIT, control, furnish, submission_body
from tests.emulator.conftest import HISTORY, WS, Client, Served
from tests.watching import wait_for

EXPERIMENTS = f"{HISTORY}/experiments"
STATUSES = {"500": 500, "502": 502, "503": 503, "429": 429, "expired": 401}
NO_ANSWER = (ConnectionResetError, http.client.RemoteDisconnected)


@pytest.fixture
def faulty(served: Served) -> Iterator[Served]:
    """The one of the module; nothing is left to fail afterwards."""
    yield served
    served.service.faults.clear()
    served.service.store.clear()


def told(served: Served, what: str, body: Any, expect: int = 200) -> Any:
    path = f"/_emulator/{served.service.identity.control_secret}/{what}"
    status, content = served.ask("GET" if body is None else "POST", path, body and json.dumps(body).encode())
    assert status == expect, content
    return json.loads(content)


def fail(served: Served, kind: str, **more: Any) -> Any:
    return told(served, "fail-next", {"kind": kind, "path": "/history/*", **more})


def make(served: Served, name: str) -> int:
    return served.ask("POST", f"{EXPERIMENTS}/{name}")[0]


def names(served: Served) -> list[str]:
    return [item["name"] for item in served.service.store.all("experiment")]


@pytest.mark.parametrize("kind", STATUSES)
def test_a_refusal_in_place_of_the_effect_and_only_as_often_as_asked(kind: str, faulty: Served) -> None:
    fail(faulty, kind, count=2, method="POST")
    assert faulty.ask("GET", EXPERIMENTS)[0] == 200  # of another method
    assert faulty.ask("GET", "/discovery")[0] == 200  # of another path
    assert [make(faulty, "a"), make(faulty, "a")] == [STATUSES[kind]] * 2
    assert names(faulty) == []
    assert make(faulty, "a") == 200
    assert told(faulty, "faults", None)["faults"] == []


def test_429_says_when_to_ask_again(faulty: Served) -> None:
    fail(faulty, "429", seconds=3)
    connection = faulty.connect()
    connection.request("GET", EXPERIMENTS)
    answer = connection.getresponse()
    assert (answer.status, answer.headers["Retry-After"]) == (429, "3")
    connection.close()


@pytest.mark.parametrize(("kind", "made"), [("reset-before", []), ("reset-after", ["a"])])
def test_a_connection_is_reset_before_or_after_the_effect(kind: str, made: list[str], faulty: Served) -> None:
    fail(faulty, kind)
    with pytest.raises(NO_ANSWER):
        make(faulty, "a")
    assert names(faulty) == made
    assert make(faulty, "b") == 200


def test_for_a_while_nobody_can_connect(faulty: Served) -> None:
    fail(faulty, "refused", seconds=0.3)
    with pytest.raises(NO_ANSWER):
        make(faulty, "a")
    with pytest.raises(ConnectionRefusedError):
        make(faulty, "a")
    wait_for(lambda: connects(faulty), 5)
    assert make(faulty, "a") == 200


def connects(served: Served) -> bool:
    try:
        socket.create_connection(("127.0.0.1", served.port), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True


def test_a_body_is_cut_in_half_and_it_was_done(faulty: Served) -> None:
    fail(faulty, "truncated")
    with pytest.raises(http.client.IncompleteRead) as cut:
        make(faulty, "a")
    assert names(faulty) == ["a"]
    assert abs(len(cut.value.partial) - (cut.value.expected or 0)) <= 1


def test_a_part_of_a_file_is_cut_in_half(faulty: Served) -> None:
    path = "/azureml-blobstore/cut"
    query = faulty.service.identity.address_query("/azureml-blobstore", "rw")
    assert faulty.ask("PUT", f"{path}?{query}", b"0123456789")[0] == 201
    fail(faulty, "truncated", path="/azureml-blobstore/*")
    with pytest.raises(http.client.IncompleteRead) as cut:
        faulty.ask("GET", f"{path}?{query}", Range="bytes=2-7")
    assert (cut.value.partial, cut.value.expected) == (b"234", 3)


def test_an_answer_that_comes_late_was_done_late(faulty: Served) -> None:
    fail(faulty, "stall", seconds=0.2)
    assert make(faulty, "a") == 200
    (seen,) = told(faulty, "requests?path=/history/*&last=1", None)["requests"]
    assert (seen["fault"], seen["status"]) == ("stall", 200)
    assert seen["seconds"] >= 0.2


def test_every_request_takes_longer_but_those_of_the_control_plane(faulty: Served) -> None:
    assert told(faulty, "latency", {"least": 0.05, "most": 0.06})["latency"] == [0.05, 0.06]
    assert make(faulty, "a") == 200
    found = told(faulty, "requests", None)["requests"]
    assert found[-1]["seconds"] >= 0.05
    assert found[-2]["seconds"] < 0.05  # that which set it
    assert told(faulty, "clear-faults", {})["latency"] == [0, 0]


def test_what_was_asked_can_be_selected(client: Client) -> None:
    furnish(client)
    client.refused("GET", f"{HISTORY}/runs/none", expect=404)
    query = {"path": "/HISTORY/*", "status": "404", "method": "get"}
    found = client.raw("GET", control(client, "requests"), b"", query).body["requests"]
    assert [(seen["method"], seen["path"], seen["status"]) for seen in found] == [("GET", f"{HISTORY}/runs/none", 404)]
    assert len(client.ask("GET", control(client, "requests"), last="3")["requests"]) == 3
    assert client.refused("GET", control(client, "requests"), what="x") == "the query has an unknown field 'what'"


@pytest.mark.parametrize(
    ("what", "body", "words"),
    [
        ("fail-next", {}, "kind is 'None'; one of 500"),
        ("fail-next", {"kind": "500", "count": 0}, "count is '0'"),
        ("fail-next", {"kind": "500", "method": "LOOK"}, "method is 'LOOK'; one of *, GET"),
        ("fail-next", {"kind": "stall", "seconds": -1}, "seconds is '-1'; it must be a number from 0 to 600"),
        ("latency", {"least": 2, "most": 1}, "most is 1.0, less than least, 2.0"),
        ("latency", {}, "least is 'None'"),
        ("repeat", {"answer": "x"}, "answer is 'x'; one of accept, 409, merge"),
        ("clear-faults", {"all": True}, "unknown field 'all'"),
    ],
)
def test_what_the_control_plane_does_not_take(what: str, body: Any, words: str, client: Client) -> None:
    assert words in client.refused("POST", control(client, what), body)
    assert client.service.faults.shown() == {"faults": [], "latency": [0.0, 0.0], "repeat": "accept"}


@pytest.mark.parametrize(
    ("answer", "status", "tags"), [("accept", 200, {"a": "b"}), ("409", 409, {"a": "b"}), ("merge", 200, {"a": "c"})]
)
def test_a_run_id_that_is_sent_again_starts_nothing(
    answer: str, status: int, tags: dict[str, str], client: Client
) -> None:
    furnish(client)
    client.engine.submitted.clear()
    client.ask("POST", control(client, "repeat"), {"answer": answer})
    body = submission_body()
    client.ask("POST", SUBMIT, body, runId="s")
    client.ask("POST", SUBMIT, {**body, "Tags": {"a": "c"}}, status, runId="s")
    assert client.engine.submitted == ["s"]
    assert client.run("s")["tags"] == tags


def test_a_fault_is_for_the_first_that_matches_and_none_is_lost(client: Client) -> None:
    for kind, path in (("500", f"{WS}/computes*"), ("503", "*"), ("429", "*")):
        client.ask("POST", control(client, "fail-next"), {"kind": kind, "path": path})
    furnish_statuses = [client.raw("GET", path).status for path in (EXPERIMENTS, f"{WS}/computes", EXPERIMENTS)]
    assert furnish_statuses == [503, 500, 429]
    assert client.raw("GET", EXPERIMENTS).status == 200


def test_a_reset_ends_the_faults(client: Client) -> None:
    client.ask("POST", control(client, "fail-next"), {"kind": "500", "count": 9})
    client.ask("POST", control(client, "reset"), {})
    method, path, body = BODIES["experiment"](client)
    client.ask("POST", EXPERIMENT)
    client.ask(method, path, body)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.template.rpartition("/")[2])
def test_who_does_not_know_the_secret_disturbs_nobody(route: Route, client: Client) -> None:
    path = route.template.format(secret=client.service.identity.path_secret)
    assert client.refused(route.method, path, {}, 404) == "there is nothing here"


@pytest.mark.slow
def test_the_command_line_sets_faults_and_shows_what_was_asked(cli: Cli, tmp_path: Path) -> None:
    folder = str(tmp_path / "state")
    instance.start(instance.Settings(Path(folder)))
    try:

        def told_by(*argv: str) -> str:
            done = cli(tmp_path, "emulator", *argv, "--dir", folder)
            assert done.code == 0, done.err
            return done.out

        assert told_by("fail") == "latency 0 to 0 s; a run id that is sent again: accept\n"
        assert told_by("fail", "429", "--path", "*/x", "--count", "2", "--seconds", "3").startswith(
            "429          2 more, any */x, 3 s\n"
        )
        assert told_by("latency", "0.1-0.2").endswith("latency 0.1 to 0.2 s; a run id that is sent again: accept\n")
        assert "sent again: merge" in told_by("repeat", "merge")
        assert told_by("fail", "none") == "latency 0 to 0 s; a run id that is sent again: accept\n"
        seen = json.loads(told_by("requests", "--path", "*/latency", "--json"))["requests"]
        assert [(item["method"], item["status"]) for item in seen] == [("POST", 200)]
        wrong = cli(tmp_path, "emulator", "fail", "x", "--dir", folder)
        assert (wrong.code, "kind is 'x'; one of 500" in wrong.err) == (4, True)
        assert cli(tmp_path, "emulator", "latency", "--dir", folder).err == (
            "amlrun: 'amlrun emulator latency' needs SECONDS or LEAST-MOST\n"
        )
    finally:
        instance.stop(Path(folder))
