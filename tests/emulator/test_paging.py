"""A walk over pages is the whole list, in every order, with every filter, for every page size."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runner.emulator import artifacts
from runner.emulator.experiments import PAGE_SIZE, paged
from runner.emulator.messages import ServiceError
from tests.emulator.bodies import EXPERIMENT
from tests.emulator.conftest import HISTORY, WS, Client, configuration

CHECKED = settings(max_examples=80, deadline=None, database=None, suppress_health_check=list(HealthCheck))
RUNS = 23
TARGETS = ("gpu", "cpu", None)


@pytest.fixture(scope="module")
def filled(shared: Client) -> Client:
    """Runs run0, run1, ... with repeating names, some started, and one that was submitted."""
    shared.ask("POST", EXPERIMENT)
    for number in range(RUNS):
        fields: dict[str, Any] = {"name": f"n{number % 5}", "tags": {"third": str(number % 3)}}
        if number % 4 == 0:
            fields |= {"status": "Running", "startTimeUtc": f"2026-01-01T00:00:{number % 7:02}Z"}
        shared.ask("PATCH", f"{EXPERIMENT}/runs/run{number}", fields)
    shared.cluster()
    shared.snapshot({"train.py": b""})
    shared.submit("submitted", configuration())
    return shared


def pages(client: Client, path: str, body: dict[str, Any]) -> Iterator[list[dict[str, Any]]]:
    """Page after page, as the SDK asks for them."""
    token: str | None = ""
    while token is not None:
        answer = client.ask("POST", path, {**body, "continuationToken": token or None})
        yield answer["value"]
        token = answer["continuationToken"]


@CHECKED
@given(
    st.integers(1, RUNS + 3),
    st.sampled_from([None, "Tags/third eq 1", "Status eq Running", "Name ne 'n1'", "RunId eq nobody"]),
    st.sampled_from(
        [None, "StartTimeUtc desc", "StartTimeUtc", "RunId ASC", "Name desc", "runNumber desc", "ScriptName"]
    ),
)
def test_pages_together_are_the_whole(filled: Client, size: int, asked: str | None, order: str | None) -> None:
    body = {key: value for key, value in (("filter", asked), ("orderby", order)) if value}
    (whole,) = pages(filled, f"{EXPERIMENT}/runs:query", body)
    cut = list(pages(filled, f"{EXPERIMENT}/runs:query", {**body, "top": size}))
    assert [run["runId"] for page in cut for run in page] == [run["runId"] for run in whole]
    assert [len(page) for page in cut[:-1]] == [size] * (len(cut) - 1)
    assert len(cut[-1]) == (len(whole) - size * (len(cut) - 1))
    assert cut[-1] or not whole, "no page is empty but the only one"


@pytest.mark.parametrize(
    ("order", "key"),
    [
        ("RunNumber", lambda run: run["runNumber"]),
        ("RunId", lambda run: run["runId"]),
        ("createdUtc", lambda run: run["createdUtc"]),
        ("StartTimeUtc", lambda run: (run["startTimeUtc"] is None, run["startTimeUtc"] or "")),
        ("ScriptName", lambda run: (run["scriptName"] is None, run["scriptName"] or "")),
    ],
)
def test_orders(order: str, key: Any, filled: Client) -> None:
    for direction, sign in (("", 1), (" asc", 1), (" desc", -1)):
        (found,) = pages(filled, f"{HISTORY}/runs:query", {"orderby": order + direction})
        keys = [key(run) for run in found][::sign]
        assert len(keys) == RUNS + 1
        assert all(left <= right for left, right in pairwise(keys))


def test_without_an_order_the_newest_comes_first(filled: Client) -> None:
    (found,) = pages(filled, f"{HISTORY}/runs:query", {})
    assert [run["runId"] for run in found] == ["submitted", *(f"run{number}" for number in reversed(range(RUNS)))]


@pytest.mark.parametrize("order", ["Nothing", "RunId up", "RunId desc asc", " ", "desc", 5, ["RunId"]])
def test_orders_that_nobody_has(order: Any, filled: Client) -> None:
    filled.refused("POST", f"{HISTORY}/runs:query", {"orderby": order})


def token(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "wrong",
    [
        "!",
        "x",
        "MQ",
        token("-1"),
        token("0"),
        token("1.5"),
        token(" 1"),
        token("1_0"),
        token("9" * 5000),
        token("é"),
        "é",
        5,
        ["MQ=="],
    ],
)
def test_tokens_that_no_page_has_answered(wrong: Any, filled: Client) -> None:
    words = filled.refused("POST", f"{HISTORY}/runs:query", {"continuationToken": wrong})
    assert "continuation" in words


def test_a_token_from_beyond_the_end_is_an_empty_page(filled: Client) -> None:
    """Between two pages runs may have changed so that fewer pass."""
    answer = filled.ask("POST", f"{HISTORY}/runs:query", {"continuationToken": token("1000")})
    assert answer == {"value": [], "continuationToken": None, "nextLink": None}


def test_no_page_is_longer_than_the_services_own() -> None:
    items = [{"n": number} for number in range(PAGE_SIZE + 1)]
    first = paged(items, {"top": PAGE_SIZE + 1})
    assert len(first["value"]) == PAGE_SIZE
    assert paged(items, {"continuationToken": first["continuationToken"]})["value"] == items[PAGE_SIZE:]


@pytest.mark.parametrize("top", [0, -1, True, 1.5, "1.5", "", "x", "9" * 5000, [1]])
def test_sizes_of_a_page(top: Any) -> None:
    if top == "":  # a query has it so where nothing is meant
        assert paged([{}], {"top": top})["value"] == [{}]
        return
    with pytest.raises(ServiceError, match=r"top is '.*'; it must be a whole number of at least 1"):
        paged([{}], {"top": top})


def test_the_same_over_a_query(filled: Client) -> None:
    """`AmlCompute.get_active_runs` pages by the address."""
    path, names = f"{HISTORY}/computes/gpu/runs", []
    for number in range(5):
        filled.submit(f"job{number}", configuration())
    query = {"$top": "2", "$filter": "Status eq NotStarted"}
    while True:
        answer = filled.ask("GET", path, **query)
        names += [run["runId"] for run in answer["value"]]
        if answer["continuationToken"] is None:
            break
        query["$continuationToken"] = answer["continuationToken"]
    assert names == [f"job{number}" for number in reversed(range(5))] + ["submitted"]


def test_runs_of_a_compute_are_those_that_name_it_in_any_case(client: Client) -> None:
    client.ask("POST", EXPERIMENT)
    client.ask("PATCH", f"{EXPERIMENT}/runs/nowhere", {})
    client.ask("PATCH", f"{EXPERIMENT}/runs/there", {"target": "Gpu"})
    found = {name: client.ask("GET", f"{HISTORY}/computes/{name}/runs")["value"] for name in ("gpu", "GPU", "none")}
    assert {name: [run["runId"] for run in runs] for name, runs in found.items()} == {
        **{"gpu": ["there"], "GPU": ["there"]},
        "none": [],
    }


@CHECKED
@given(st.sets(st.text(st.sampled_from("ab/."), min_size=1, max_size=6)), st.text(st.sampled_from("ab/"), max_size=3))
def test_artifacts_below_a_prefix(filled: Client, paths: set[str], prefix: str) -> None:
    container = f"dcid.{len(filled.service.requests)}"
    clean = {path for path in paths if artifact_path(path) == path}
    file = filled.service.store.folder / "file"
    file.write_bytes(b"x")
    for path in clean:
        artifacts.attach(filled.service, container, path, file)
    end = f"/{prefix}" if prefix else ""
    answer = filled.ask("GET", f"/artifact/v2.0{WS}/artifacts/prefix/contentinfo/ExperimentRun/{container}{end}")
    assert sorted(item["path"] for item in answer["value"]) == sorted(path for path in clean if path.startswith(prefix))


def artifact_path(path: str) -> str:
    try:
        return artifacts.checked_path(path)
    except ServiceError:
        return ""
