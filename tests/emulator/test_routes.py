"""Matching, refusals, and that nothing is answered by chance."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from runner.emulator import routes
from runner.emulator.messages import Request, ServiceError
from runner.emulator.service import TENANT
from tests.emulator.conftest import HISTORY, WS, Client

OPEN = ("/", "/metadata/endpoints", "/discovery", "/discovery/workspaces{ws}")
# Addresses that hold a secret or a signature of their own, and the sign-in that checks one.
SECRETS = ("/msi/{secret}", "/_emulator/{secret}", "/page/{secret}", "/azureml-", "/adfs/")


def test_every_row_is_its_own() -> None:
    rows = [(route.method, re.sub(r"\{\w+", "{", route.template)) for route in routes.ROUTES]
    assert len(rows) == len(set(rows)) > 100


def test_every_row_finds_itself() -> None:
    for route in routes.ROUTES:
        path = re.sub(r"\{(\w+)(:rest)?\}", "x", route.template.replace("{ws}", routes.WORKSPACE))
        found, _ = routes.find(route.method, path)
        assert found.answer is route.answer, (route.method, route.template, found.template)


def test_paths_are_case_insensitive_and_names_keep_their_case() -> None:
    route, parameters = routes.find("GET", f"{WS.replace('resourceGroups', 'RESOURCEGROUPS')}/Computes/My-GPU/")
    assert route.template.endswith("/computes/{compute}")
    assert parameters["compute"] == "My-GPU"


def test_names_are_decoded() -> None:
    path = f"/artifact/v2.0{WS}/artifacts/contentinfo/ExperimentRun/dcid.r/outputs/a%20b%C3%A9.txt"
    assert routes.find("GET", path)[1]["path"] == "outputs/a bé.txt"


@pytest.mark.parametrize(("method", "path"), [("GET", "/nothing/here"), ("DELETE", f"{HISTORY}/experiments/e")])
def test_an_unknown_route_is_501_and_named(method: str, path: str, client: Client) -> None:
    assert client.refused(method, path, expect=501) == f"the emulator does not answer {method} {path}"


def test_only_what_must_be_is_open() -> None:
    closed = [route for route in routes.ROUTES if not route.open]
    opened = [route.template for route in routes.ROUTES if route.open]
    assert len(closed) > 90
    for template in opened:
        assert template in OPEN or template.startswith(SECRETS)


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer a.b.c", "Basic eA==", "Bearer ..", "Bearer é"])
def test_without_a_token_of_ours_nothing_is_told(authorization: str, client: Client) -> None:
    request = Request("GET", WS, {}, {"authorization": authorization})
    assert routes.dispatch(client.service, request).status == 401


def test_an_expired_token_is_none(client: Client) -> None:
    token = client.service.identity.token({"tid": "t"}, seconds=-1)
    request = Request("GET", WS, {}, {"authorization": f"Bearer {token}"})
    assert routes.dispatch(client.service, request).status == 401


def test_another_emulators_token_is_none(client: Client) -> None:
    other = replace(client.service.identity, secret=b"other").token({"tid": "t"})
    request = Request("GET", WS, {}, {"authorization": f"Bearer {other}"})
    assert routes.dispatch(client.service, request).status == 401


def test_another_workspace_is_not_found(client: Client) -> None:
    words = client.refused("GET", WS.replace("workspaces/emulator", "workspaces/other"), expect=404)
    assert "workspace 'other'" in words
    client.refused("GET", f"/rp/workspaces{WS}/computes/none", expect=404)


def test_a_body_that_is_no_json(client: Client) -> None:
    response = client.raw("POST", f"/metric/v2.0{WS}/runs/x/list", b"{")
    assert response.status == 404  # the run is looked for first
    client.ask("POST", f"{HISTORY}/experiments/e")
    assert client.raw("POST", f"{HISTORY}/experiments/e/runs:query", b"{").status == 400
    assert client.raw("POST", f"{HISTORY}/experiments/e/runs:query", b"[]").status == 400


def test_requests_are_remembered_without_secrets(client: Client) -> None:
    secret = client.service.identity.path_secret
    client.ask("POST", f"/msi/{secret}/token")
    control = client.service.identity.control_secret
    seen = client.ask("GET", f"/_emulator/{control}/requests")["requests"]
    assert [(row["method"], row["path"], row["status"]) for row in seen] == [("POST", "/msi/***/token", 200)]


@pytest.mark.parametrize("what", ["status", "requests"])
def test_the_control_plane_needs_its_own_secret(what: str, client: Client) -> None:
    for secret in ("x", client.service.identity.path_secret):
        client.refused("GET", f"/_emulator/{secret}/{what}", expect=404)


def test_tokens(client: Client) -> None:
    secret = client.service.identity.path_secret
    answer = client.ask("GET", f"/msi/{secret}/token", resource="https://a")
    claims = client.service.identity.claims(answer["access_token"])
    assert claims is not None
    assert (claims["aud"], claims["tid"]) == ("https://a", TENANT)
    client.refused("POST", "/msi/guess/token", expect=404)


def test_a_service_principals_secret_is_checked(client: Client) -> None:
    path, secret = "/adfs/t/token", client.service.identity.path_secret
    assert client.ask("GET", "/adfs/t/.well-known/openid-configuration")["token_endpoint"].endswith(path)
    form = "grant_type=client_credentials&client_id=me&scope=https://a/.default&client_secret="
    assert client.raw("POST", path, (form + secret).encode()).status == 200
    assert client.raw("POST", path, (form + "guess").encode()).status == 401
    assert client.raw("POST", path, b"grant_type=password").status == 400


def test_both_clouds_are_listed_and_point_here(client: Client) -> None:
    clouds = client.ask("GET", "/metadata/endpoints")
    assert [cloud["name"] for cloud in clouds] == ["AzureCloud", "EmulatorCloud"]
    assert clouds[0] == {**clouds[1], "name": "AzureCloud"}
    assert clouds[0]["resourceManager"] == client.service.origin
    found = client.ask("GET", "/discovery")
    assert found.pop("studio").startswith(client.service.origin)  # for people: a page of its own
    assert set(found.values()) == {client.service.origin}


def test_the_workspace(client: Client) -> None:
    document = client.ask("GET", WS)
    assert document["id"] == WS
    assert document["properties"]["discoveryUrl"] == "https://127.0.0.1:1/discovery"
    assert document["properties"]["workspaceId"] == client.service.workspace()["id"]
    subscription = WS.partition("/resourceGroups")[0]
    listed = client.ask("GET", f"{subscription}/providers/Microsoft.MachineLearningServices/workspaces")
    assert [item["name"] for item in listed["value"]] == ["emulator"]
    assert client.ask("GET", "/subscriptions")["value"][0]["state"] == "Enabled"
    assert client.ask("GET", subscription)["subscriptionId"] == subscription.rpartition("/")[2]
    assert client.ask("GET", "/tenants")["value"][0]["tenantId"] == TENANT


def test_other_names_are_adopted(client: Client) -> None:
    other = "/subscriptions/S/resourceGroups/G/providers/Microsoft.MachineLearningServices/workspaces/W"
    client.refused("GET", other, expect=404)
    body = {"subscription": "S", "group": "G", "name": "W"}
    for _ in range(2):
        client.ask("POST", f"/_emulator/{client.service.identity.control_secret}/adopt", body)
    assert client.ask("GET", other)["id"] == other
    assert len(client.service.workspace()["names"]) == 2


def test_reset_makes_another_workspace(client: Client) -> None:
    client.cluster()
    before = client.service.workspace()["id"]
    control = client.service.identity.control_secret
    assert client.ask("POST", f"/_emulator/{control}/reset", {})["workspaceId"] != before
    assert client.ask("GET", f"/_emulator/{control}/status")["compute"] == {}


def test_a_refusal_says_where_it_comes_from() -> None:
    with pytest.raises(ServiceError):
        routes.find("PATCH", "/")
