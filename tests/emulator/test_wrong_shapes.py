"""Whatever stands at any place of a body, a query or a path: an answer or a refusal with a reason, never a crash."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from runner.emulator.messages import Response
from runner.emulator.routes import ROUTES, WORKSPACE
from runner.emulator.scripted import ScriptedEngine
from tests.emulator.bodies import BODIES, CONTROLS, EXPERIMENT, control, environment, furnish, places, with_other
from tests.emulator.conftest import HISTORY, WS, Client, configuration

pytestmark = pytest.mark.slow

NUMBERS = count()
DEEP: Any = {}
for _ in range(200):
    DEEP = {"a": DEEP}
WRONG = (None, 5, -1, True, 0.5, [1], {"a": 1}, DEEP, "", "\ud800", "a\0b", "../x", "9" * 5000, "(" * 3000, "http://[")
# What asks for everything that the others have left behind.
READING = (
    ("GET", f"{HISTORY}/experiments"),
    ("POST", f"{HISTORY}/runs:query"),
    ("GET", f"{WS}/computes"),
    ("GET", f"/modelmanagement/v1.0{WS}/models"),
    ("GET", f"/environment/v1.0{WS}/environments"),
)


@pytest.fixture(scope="module")
def furnished(shared: Client) -> Client:
    furnish(shared)
    return shared


def sent(client: Client, method: str, address: str, body: Any) -> Response:
    path, _, query = address.format(n=next(NUMBERS)).partition("?")
    return client.raw(method, path, json.dumps(body).encode(), dict(parse_qsl(query)))


def reason(response: Response) -> str:
    """Why it was refused, in Azure's shape; nothing if it was not."""
    if response.status < 300:
        return ""
    assert 400 <= response.status < 500, response.body
    error = response.body["error"]
    assert error["code"], response.body
    assert error["details"] == []
    assert len(error["message"]) < 12_000
    return str(error["message"])


@pytest.mark.parametrize("name", BODIES)
def test_wrong_shapes_in_a_body(name: str, furnished: Client) -> None:
    method, address, body = BODIES[name](furnished)
    assert reason(sent(furnished, method, address, body)) == ""
    for place in places(body):
        for wrong in WRONG:
            response = sent(furnished, method, address, with_other(body, place, wrong))
            said = reason(response)
            response.content()
            assert response.status in (200, 201) or said, (place, wrong)
    assert reason(sent(furnished, method, address, 5)), "a body that is a number must be refused"
    for reading in READING:
        assert reason(sent(furnished, *reading, {})) == ""
    assert reason(sent(furnished, "GET", control(furnished, "status"), {})) == ""


@pytest.fixture
def controlled(client: Client) -> Iterator[Client]:
    """One with a virtual clock, whose faults end with every request that is made here."""
    furnish(client)
    engine = ScriptedEngine(client.service, speed=0)
    client.service.engine = engine
    client.submit("r3", configuration(environment=environment()))
    yield client
    engine.close()


@pytest.mark.parametrize("name", CONTROLS)
def test_wrong_shapes_in_a_body_of_the_control_plane(name: str, controlled: Client) -> None:
    address, faults = control(controlled, name), controlled.service.faults
    controlled.ask("POST", control(controlled, "advance"), {"seconds": 11})  # r3 runs
    assert reason(sent(controlled, "POST", address, CONTROLS[name])) == ""
    for place in places(CONTROLS[name]):
        for wrong in WRONG:
            faults.clear()
            response = sent(controlled, "POST", address, with_other(CONTROLS[name], place, wrong))
            assert response.status == 200 or reason(response), (place, wrong)
            response.content()
    faults.clear()
    assert name == "adopt" or "unknown field 'surprise'" in reason(
        sent(controlled, "POST", address, {**CONTROLS[name], "surprise": 1})
    )
    for reading in ("status", "faults", "requests"):
        assert reason(sent(controlled, "GET", control(controlled, reading), {})) == ""
    assert controlled.run("r3")["runId"] == "r3"


# The others take any name, or look at nothing but what they need.
CLOSED = set(BODIES) - {"tags by name", "tags by value", "model patch", "metric", "secrets asked", "adoption"}


@pytest.mark.parametrize("name", sorted(CLOSED))
def test_a_field_that_nobody_knows_is_named(name: str, furnished: Client) -> None:
    method, address, body = BODIES[name](furnished)
    assert "unknown field 'surprise'" in reason(sent(furnished, method, address, {**body, "surprise": 1}))


@pytest.mark.parametrize("body", [b"{", b"\xff\xfe", b"[" * 100_000, b'{"a": 1}x', b"'a'", b"{a: 1}", b"NaN,"])
@pytest.mark.parametrize("name", ["run", "submission", "metrics", "compute", "environment", "secret", "snapshot"])
def test_a_body_that_is_no_json(name: str, body: bytes, furnished: Client) -> None:
    method, address, _ = BODIES[name](furnished)
    path, _, query = address.format(n=next(NUMBERS)).partition("?")
    response = furnished.raw(method, path, body, dict(parse_qsl(query)))
    assert (response.status, response.body["error"]["code"]) == (400, "InvalidRequestBody")


NAMES = (
    "%2e%2e",
    "..%2F..%2Fx",
    "a%00b",
    "%ED%A0%80",
    "%E2%98%83",
    "x" * 3000,
    "%",
    "a%2Fb",
    "'; DROP TABLE documents",
)


@pytest.mark.parametrize("name", NAMES)
def test_wrong_names_in_every_path(name: str, furnished: Client) -> None:
    """With an empty body; what a route makes of such a name, if anything, is found by that name only."""
    for route in ROUTES:
        template = route.template.replace("{ws}", WS if "{secret}" not in route.template else WORKSPACE)
        parts = template.replace(":rest}", "}").split("/")
        path = "/".join(name if part.startswith("{") else part for part in parts)
        response = furnished.raw(route.method, path.replace("azureml-{container}", f"azureml-{name}"))
        assert response.status < 500, (route.method, path)
        response.content()
    assert furnished.run("r1")["runId"] == "r1"


@pytest.mark.parametrize("field", ["top", "filter", "continuationToken"])
@pytest.mark.parametrize(
    "value", ["", "0", "-1", "1.5", "x", "9" * 5000, "(" * 5000, "not " * 5000, "\0", "é", "½", "٣"]
)
def test_wrong_queries(field: str, value: str, furnished: Client) -> None:
    response = furnished.raw("GET", f"{HISTORY}/computes/gpu/runs", b"", {f"${field}": value})
    assert bool(reason(response)) is (value != "")


@pytest.mark.parametrize("run_id", ["..", "a/b", "x" * 256, "é" * 128, "a\0b"])
def test_a_run_that_could_have_no_folder_is_not_made(run_id: str, furnished: Client) -> None:
    method, address, body = BODIES["submission"](furnished)
    response = furnished.raw(method, address.partition("?")[0], json.dumps(body).encode(), {"runId": run_id})
    assert reason(response) == f"run id '{run_id[:100]}{'...' if len(run_id) > 100 else ''}' is invalid"
    assert run_id not in furnished.engine.submitted


def test_the_longest_name_that_a_run_can_have(furnished: Client) -> None:
    method, address, body = BODIES["submission"](furnished)
    furnished.ask(method, address.partition("?")[0], body, runId="x" * 255)
    assert furnished.service.store.run_folder("x" * 255).is_dir()


def test_a_run_whose_id_must_be_quoted_can_be_canceled(furnished: Client) -> None:
    furnished.ask("PATCH", f"{EXPERIMENT}/runs/50%25%3F%23", {})
    uri = urlsplit(furnished.run("50%25%3F%23")["cancelUri"])
    assert (uri.query, uri.fragment) == ("", "")
    furnished.ask("POST", uri.path)
    assert furnished.run("50%25%3F%23")["status"] == "Canceled"
