"""Metrics, models, secrets and labels: what goes in comes out, in its order, and is found by what is asked for."""

from __future__ import annotations

import json
import math
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runner.emulator.metrics import moment
from tests.emulator.bodies import ENVIRONMENTS, HERE, METRICS, REGISTRY, SECRETS, environment, furnish
from tests.emulator.conftest import Client

CHECKED = settings(max_examples=30, deadline=None, database=None, suppress_health_check=list(HealthCheck))
NUMBERS = count()


@pytest.fixture(scope="module")
def furnished(shared: Client) -> Client:
    furnish(shared)
    return shared


def log(client: Client, name: str, rows: list[dict[str, Any]], **more: Any) -> None:
    columns = {key: "double" for row in rows for key in row["data"]}
    metric = {"name": name, "columns": columns, "value": rows, **more}
    assert client.ask("POST", f"{METRICS}/batch", {"values": [metric], "reportErrors": True}) == {"errors": []}


def row(number: int, when: str = "2026-01-01T00:00:00Z", **data: Any) -> dict[str, Any]:
    return {"metricId": f"m{number}", "createdUtc": when, "data": data}


def read(client: Client, name: str) -> Any:
    return client.ask("POST", f"{METRICS}/full", {"metricName": name})


VALUES = st.floats(allow_nan=False) | st.integers(-(2**63), 2**63) | st.text(max_size=5) | st.none() | st.booleans()


@CHECKED
@given(st.lists(st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3), max_size=8), st.data())
def test_rows_come_back_in_the_order_of_their_making(furnished: Client, made: list[dict[str, Any]], data: Any) -> None:
    """Batches overtake each other, and a batch that is sent again after a lost answer counts once."""
    name = f"table{next(NUMBERS)}"
    rows = [
        row(number, f"2026-01-01T00:00:00.{number:06}".rstrip("0").rstrip(".") + "Z", **values)
        for number, values in enumerate(made)
    ]
    log(furnished, name, [])
    for number in data.draw(st.permutations(range(len(rows)))):
        log(furnished, name, [rows[number]])
    if rows:
        log(furnished, name, data.draw(st.lists(st.sampled_from(rows))))
    full = read(furnished, name)
    assert [(item["metricId"], item["data"]) for item in full["value"]] == [
        (item["metricId"], item["data"]) for item in rows
    ]
    assert set(full["columns"]) == {key for values in made for key in values}


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00.000001Z"),
        ("2026-01-01T00:00:00.9Z", "2026-01-01T00:00:00.91Z"),
        ("2026-01-01T00:00:00.0999999Z", "2026-01-01T00:00:00.1Z"),
        ("2026-01-01T00:00:59.999Z", "2026-01-01T00:01:00Z"),
        ("2025-12-31T23:59:59.9999999Z", "2026-01-01T00:00:00"),
    ],
)
def test_moments(earlier: str, later: str) -> None:
    assert moment({"createdUtc": earlier}) < moment({"createdUtc": later})


@pytest.mark.parametrize("same", ["2026-01-01T00:00:00.9Z", "2026-01-01T00:00:00.900Z", "2026-01-01T00:00:00.9000000"])
def test_zeros_at_the_end_say_nothing(same: str) -> None:
    assert moment({"createdUtc": same}) == moment({"createdUtc": "2026-01-01T00:00:00.90Z"})


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_comes_back_as_it_went(value: float, furnished: Client) -> None:
    """The SDK writes and reads NaN and Infinity as Python does."""
    name = f"odd{next(NUMBERS)}"
    log(furnished, name, [row(1, loss=value)])
    (back,) = read(furnished, name)["value"]
    assert json.dumps(back["data"]["loss"]) == json.dumps(value)


def test_a_metric_gains_columns_and_keeps_its_kind(furnished: Client) -> None:
    log(furnished, "grows", [row(1, a=1)], properties={"uxMetricType": "azureml.v1.table"})
    log(furnished, "grows", [row(2, b=2)])
    full = read(furnished, "grows")
    assert (full["columns"], full["properties"]) == (
        {"a": "double", "b": "double"},
        {"uxMetricType": "azureml.v1.table"},
    )


def test_of_metrics_that_come_together_all_are_kept_or_none(furnished: Client) -> None:
    values = [{"name": "first", "value": [row(1, a=1)]}, {"name": "second", "value": [{"data": {}}]}]
    furnished.refused("POST", f"{METRICS}/batch", {"values": values})
    names = [item["metricKey"]["name"] for item in furnished.ask("POST", f"{METRICS}/list", {})["value"]]
    assert not {"first", "second"} & set(names)


def test_metrics_belong_to_a_run(furnished: Client) -> None:
    log(furnished, "mine", [row(1, a=1)])
    assert furnished.ask("POST", f"{METRICS.replace('r1', 'r2')}/list", {})["value"] == []


def register(client: Client, name: str, **more: Any) -> Any:
    asset = client.ask("POST", f"{REGISTRY}/assets", {"name": name, "artifacts": [{"prefix": f"{HERE}/outputs"}]})
    return client.ask("POST", f"{REGISTRY}/models", {"name": name, "url": f"aml://asset/{asset['id']}", **more})


MODELS: list[dict[str, Any]] = [
    {"name": "cats", "runId": "r1", "framework": "PyTorch", "kvTags": {"a": "1"}, "properties": {"p": "x"}},
    {"name": "cats", "runId": "r2", "framework": "PyTorch", "kvTags": {"a": "2", "b": ""}},
    {"name": "dogs", "runId": "r1", "framework": None, "kvTags": {"a": "1", "b": "2"}, "properties": {"p": "y"}},
]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"name": "cats"}, ["cats:2", "cats:1"]),
        ({"name": "cat"}, []),
        ({"runId": "r1"}, ["dogs:1", "cats:1"]),
        ({"RUNID": "r1", "name": "dogs"}, ["dogs:1"]),
        ({"framework": "PyTorch", "count": "1"}, ["cats:2"]),
        ({"name": "cats", "version": "1"}, ["cats:1"]),
        ({"tags": "a"}, ["dogs:1", "cats:2", "cats:1"]),
        ({"tags": "a=1"}, ["dogs:1", "cats:1"]),
        ({"tags": "a=1,b"}, ["dogs:1"]),
        ({"tags": "b="}, ["cats:2"]),
        ({"tag": "a=2"}, ["cats:2"]),
        ({"properties": "p=y"}, ["dogs:1"]),
        ({"properties": "p", "tags": "a=1", "name": "cats"}, ["cats:1"]),
        ({"name": "cats", "count": ""}, ["cats:2", "cats:1"]),
    ],
)
def test_models_are_found(query: dict[str, str], found: list[str], registered: Client) -> None:
    answer = registered.ask("GET", f"{REGISTRY}/models", None, 200, **query)
    assert [model["id"] for model in answer["value"] if model["name"] != "birds"] == found


@pytest.fixture(scope="module")
def registered(furnished: Client) -> Client:
    for model in MODELS:
        register(furnished, **model)
    return furnished


@pytest.mark.parametrize("wrong", ["0", "-1", "x", "1.5", "9" * 5000])
def test_how_many_models(wrong: str, registered: Client) -> None:
    assert "count is" in registered.refused("GET", f"{REGISTRY}/models", None, 400, count=wrong)


def test_a_version_is_never_given_twice_to_what_is_there(furnished: Client) -> None:
    for _ in range(3):
        register(furnished, "versions")
    furnished.ask("DELETE", f"{REGISTRY}/models/versions:1")
    assert register(furnished, "versions")["id"] == "versions:4"
    furnished.refused("GET", f"{REGISTRY}/models/versions:1", expect=404)


@pytest.mark.parametrize(
    ("step", "changed"),
    [
        ({"op": "add", "path": "/kvTags/new", "value": 5}, {"kvTags": {"a": "b", "new": "5"}}),
        ({"op": "replace", "path": "kvTags/a", "value": "c"}, {"kvTags": {"a": "c"}}),
        ({"op": "add", "path": "/kvTags/x/y", "value": "z"}, {"kvTags": {"a": "b", "x/y": "z"}}),
        ({"op": "remove", "path": "/kvTags/a"}, {"kvTags": {}}),
        ({"op": "remove", "path": "/kvTags/none"}, {"kvTags": {"a": "b"}}),
        ({"op": "replace", "path": "/description", "value": "d"}, {"description": "d"}),
        ({"op": "remove", "path": "/description"}, {"description": None}),
        ({"op": "add", "path": "/properties/p", "value": "q"}, {"properties": {"p": "q"}}),
        # As the SDK sends them: `Model.update`, `.add_tags`, `.remove_tags`, `.add_properties`, and what else it has.
        ({"op": "replace", "path": "/kvTags", "value": {"c": "d"}}, {"kvTags": {"c": "d"}}),
        ({"op": "add", "path": "/properties", "value": {"p": "q"}}, {"properties": {"p": "q"}}),
        (
            {"op": "add", "path": "/datasets", "value": [{"name": "n", "id": "i"}]},
            {"datasets": [{"name": "n", "id": "i"}]},
        ),
        (
            {"op": "replace", "path": "/sampleInputData", "value": "aml://dataset/i"},
            {"sampleInputData": "aml://dataset/i"},
        ),
        ({"op": "replace", "path": "/resourceRequirements", "value": {"cpu": 1}}, {"resourceRequirements": {"cpu": 1}}),
    ],
)
def test_steps_of_a_patch(step: dict[str, Any], changed: dict[str, Any], furnished: Client) -> None:
    model = register(furnished, f"patched{next(NUMBERS)}", kvTags={"a": "b"}, description="first")
    after = furnished.ask("PATCH", f"{REGISTRY}/models/{model['id']}", [step])
    assert {key: after[key] for key in changed} == changed
    same = {key for key in model if after[key] == model[key]}
    assert set(model) - same <= {*changed, "modifiedTime"}


def test_a_patch_whose_last_step_is_wrong_changes_nothing(furnished: Client) -> None:
    model = register(furnished, "whole", kvTags={"a": "b"})
    steps = [{"op": "remove", "path": "/kvTags/a"}, {"op": "replace", "path": "/name", "value": "other"}]
    assert "it changes description, kvTags, properties" in furnished.refused(
        "PATCH", f"{REGISTRY}/models/whole:1", steps
    )
    assert furnished.ask("GET", f"{REGISTRY}/models/whole:1") == model


def test_secrets(furnished: Client) -> None:
    first = {"name": "twice", "value": "1"}
    furnished.ask("PUT", SECRETS, first)
    before = furnished.ask("GET", f"{SECRETS}/twice")
    furnished.ask("PUT", SECRETS, {"name": "twice", "value": ""})
    after = furnished.ask("GET", f"{SECRETS}/twice")
    assert (before["value"], after["value"]) == ("1", "")
    assert before["createdTime"] == after["createdTime"] <= before["modifiedTime"] < after["modifiedTime"]
    assert all(set(item) == {"name"} for item in furnished.ask("GET", SECRETS)["value"]), "a list tells no secret"


def test_of_secrets_that_come_together_all_are_kept_or_none(furnished: Client) -> None:
    secrets = [{"name": "good", "value": "1"}, {"name": "bad"}]
    furnished.refused("PUT", f"{SECRETS}:putbatch", {"secrets": secrets})
    assert furnished.ask("POST", f"{SECRETS}:getbatch", {"secrets": secrets}) == {
        "secrets": [],
        "notFoundSecrets": ["good", "bad"],
    }


def test_a_label_moves_and_latest_moves_by_itself(furnished: Client) -> None:
    def version(label: str) -> str:
        return str(furnished.ask("GET", f"{ENVIRONMENTS}/labeled/labels/{label}")["version"])

    for number in (1, 2, 3):
        furnished.ask("PUT", f"{ENVIRONMENTS}/labeled", {**environment(), "docker": {"baseImage": f"a/b:{number}"}})
        assert version("latest") == str(number)
    for number in (3, 1, 2):
        furnished.ask("PUT", f"{ENVIRONMENTS}/labeled/versions/{number}/metadata", {"Labels": ["Blue", "latest"]})
        assert (version("blue"), version("BLUE"), version("Latest")) == (str(number), str(number), "3")
