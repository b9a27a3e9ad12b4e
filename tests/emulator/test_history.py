"""Experiments and runs: documents, changes, queries, events, children, tokens, cancel."""

from __future__ import annotations

from typing import Any

import pytest

from runner.emulator import records
from tests.emulator.conftest import HISTORY, WS, Client, configuration

EXPERIMENT = f"{HISTORY}/experiments/exp"


@pytest.fixture
def experiment(client: Client) -> Any:
    return client.ask("POST", EXPERIMENT)


def interactive(client: Client, run_id: str, **fields: Any) -> Any:
    return client.ask("PATCH", f"{EXPERIMENT}/runs/{run_id}", {"runId": run_id, **fields})


def event(client: Client, run_id: str, name: str, **data: Any) -> None:
    body = {"timestamp": "t", "name": f"Microsoft.MachineLearning.Run.{name}", "data": {"RunId": run_id, **data}}
    client.ask("POST", f"{EXPERIMENT}/runs/{run_id}/events", body)


def submitted(client: Client, run_id: str = "r1") -> None:
    client.cluster()
    client.snapshot({"train.py": b"print()"})
    client.submit(run_id, configuration())


def test_experiments_are_made_once(client: Client) -> None:
    client.refused("GET", EXPERIMENT, expect=404)
    first = client.ask("POST", EXPERIMENT)
    assert client.ask("POST", EXPERIMENT) == client.ask("GET", EXPERIMENT) == first
    assert client.ask("GET", f"{HISTORY}/experimentids/{first['experimentId']}") == first
    client.refused("GET", f"{HISTORY}/experimentids/none", expect=404)
    assert "is invalid" in client.refused("POST", f"{HISTORY}/experiments/-x")


def test_experiments_change_and_are_listed(experiment: Any, client: Client) -> None:
    client.ask("PATCH", EXPERIMENT, {"tags": {"a": "b"}, "description": "d", "archive": True})
    changed = client.ask("GET", EXPERIMENT)
    assert (changed["tags"], changed["description"], changed["archivedTime"] is None) == ({"a": "b"}, "d", False)
    client.ask("PATCH", EXPERIMENT, {"archive": False})
    assert client.ask("GET", f"{HISTORY}/experiments")["value"][0]["archivedTime"] is None
    assert [item["name"] for item in client.ask("POST", f"{HISTORY}/experiments:query", {})["value"]] == ["exp"]


@pytest.mark.parametrize(
    ("view", "found"),
    [({}, "b"), ({"viewType": "ActiveOnly"}, "b"), ({"viewType": "ArchivedOnly"}, "a"), ({"viewType": "All"}, "ab")],
)
def test_an_archived_experiment_is_seen_by_who_asks_for_it(view: dict[str, str], found: str, client: Client) -> None:
    for name in "ab":
        client.ask("POST", f"{HISTORY}/experiments/{name}")
    client.ask("PATCH", f"{HISTORY}/experiments/a", {"archive": True})
    listed = client.ask("POST", f"{HISTORY}/experiments:query", view)["value"]
    assert "".join(item["name"] for item in listed) == found
    assert "one of Default" in client.refused("POST", f"{HISTORY}/experiments:query", {"viewType": "Some"})


def test_runs_are_counted_by_state(experiment: Any, client: Client) -> None:
    for name in ("r1", "r2", "r3"):
        interactive(client, name)
    client.ask("POST", f"/execution/v1.0{WS}/experiments/exp/runId/r1/cancel")
    counted = client.ask("GET", f"{EXPERIMENT}/runcounts")
    assert (counted["canceled"], sum(counted.values())) == (1, 3)


def test_a_patch_makes_an_interactive_run(experiment: Any, client: Client) -> None:
    run = interactive(client, "r1", displayName="mine", tags={"a": 1}, properties={"p": None})
    assert (run["status"], run["runType"], run["displayName"]) == ("NotStarted", records.INTERACTIVE, "mine")
    assert (run["tags"], run["dataContainerId"], run["rootRunId"]) == ({"a": "1"}, "dcid.r1", "r1")
    interactive(client, "r1", tags={"b": "2"})
    assert client.run("r1")["tags"] == {"a": "1", "b": "2"}
    assert "unknown field 'tag'" in client.refused("PATCH", f"{EXPERIMENT}/runs/r1", {"tag": {}})


@pytest.mark.parametrize("run_id", ["..", ".hidden", "a%2Fb", "a%5Cb"])
def test_ids_that_lead_elsewhere(run_id: str, experiment: Any, client: Client) -> None:
    words = client.refused("PATCH", f"{EXPERIMENT}/runs/{run_id}", {})
    assert "is invalid" in words


def test_a_run_is_found_in_its_own_experiment_only(experiment: Any, client: Client) -> None:
    interactive(client, "r1")
    client.ask("POST", f"{HISTORY}/experiments/other")
    client.refused("GET", f"{HISTORY}/experiments/other/runs/r1", expect=404)
    client.refused("GET", f"{HISTORY}/runs/none", expect=404)
    assert client.ask("GET", f"{HISTORY}/experimentids/{experiment['experimentId']}/runs/r1")["runId"] == "r1"


def test_events_move_an_interactive_run(experiment: Any, client: Client) -> None:
    interactive(client, "r1")
    event(client, "r1", "Start")
    assert client.run("r1")["startTimeUtc"]
    event(client, "r1", "Warning", Message="careful", Source="me")
    event(client, "r1", "Completed")
    ended = client.run("r1")
    assert (ended["status"], ended["warnings"]) == ("Completed", [{"source": "me", "message": "careful"}])
    event(client, "r1", "Failed")
    assert client.run("r1") == ended


def test_a_failure_keeps_its_error(experiment: Any, client: Client) -> None:
    interactive(client, "r1")
    error = {"error": {"code": "UserError", "message": "no data"}}
    event(client, "r1", "Error", ErrorResponse=error)
    event(client, "r1", "Failed")
    details = client.ask("GET", f"{EXPERIMENT}/runs/r1/details")
    assert (details["status"], details["error"]) == ("Failed", error)


def test_several_events_at_once(experiment: Any, client: Client) -> None:
    interactive(client, "r1")
    prefix = "Microsoft.MachineLearning.Run."
    both = [{"timestamp": "t", "name": prefix + name, "data": {"RunId": "r1"}} for name in ("Start", "Canceled")]
    client.ask("POST", f"{EXPERIMENT}/batch/events", {"events": both})
    assert client.run("r1")["status"] == "Canceled"
    client.ask("POST", f"{HISTORY}/experiments/other")
    client.refused("POST", f"{HISTORY}/experiments/other/batch/events", {"events": both}, expect=404)


def test_a_submitted_run_ends_with_its_process_and_not_by_an_event(client: Client) -> None:
    submitted(client)
    event(client, "r1", "Completed")
    assert client.run("r1")["status"] == "NotStarted"


def test_children(experiment: Any, client: Client) -> None:
    interactive(client, "r1")
    client.ask("PATCH", f"{EXPERIMENT}/batch/runs", {"runs": [{"runId": f"c{n}", "parentRunId": "r1"} for n in (1, 2)]})
    children = client.ask("GET", f"{EXPERIMENT}/runs/r1/children")["value"]
    assert [(child["runId"], child["rootRunId"]) for child in children] == [("c1", "r1"), ("c2", "r1")]
    client.refused("PATCH", f"{EXPERIMENT}/runs/c3", {"parentRunId": "none"}, expect=404)


def test_tags_are_removed(experiment: Any, client: Client) -> None:
    interactive(client, "r1", tags={"a": "1", "b": "2", "c": "3"})
    client.ask("DELETE", f"{EXPERIMENT}/runs/r1/tags", ["a"])
    client.ask("DELETE", f"{EXPERIMENT}/runs/r1/tags", {"b": "2"})
    assert client.run("r1")["tags"] == {"c": "3"}


def test_query_filters_orders_and_cuts_pages(experiment: Any, client: Client) -> None:
    for number in range(5):
        interactive(client, f"r{number}", tags={"sweep": "s1" if number % 2 else "s2"})
        event(client, f"r{number}", "Start")
    path = f"{EXPERIMENT}/runs:query"
    found = client.ask("POST", path, {"filter": '(Tags/sweep eq "s1")', "orderby": "StartTimeUtc desc", "top": 500})
    assert [run["runId"] for run in found["value"]] == ["r3", "r1"]
    assert "runDefinition" not in found["value"][0]
    first = client.ask("POST", path, {"orderby": "RunId asc", "top": 3})
    rest = client.ask("POST", path, {"orderby": "RunId asc", "top": 3, "continuationToken": first["continuationToken"]})
    assert [run["runId"] for run in first["value"] + rest["value"]] == [f"r{number}" for number in range(5)]
    assert rest["continuationToken"] is None
    assert len(client.ask("POST", f"{HISTORY}/runs:query", {"filter": "RunId eq r1 or RunId eq r2"})["value"]) == 2
    assert "unknown field 'filters'" in client.refused("POST", path, {"filters": ""})
    client.refused("POST", path, {"continuationToken": "!"})
    client.refused("POST", path, {"filter": "nonsense"})


def test_runs_that_have_not_started_come_first(experiment: Any, client: Client) -> None:
    interactive(client, "old")
    event(client, "old", "Start")
    interactive(client, "new")
    found = client.ask("POST", f"{EXPERIMENT}/runs:query", {"orderby": "StartTimeUtc desc"})
    assert [run["runId"] for run in found["value"]] == ["new", "old"]


def test_runs_of_a_compute(client: Client) -> None:
    submitted(client)
    found = client.ask("GET", f"{HISTORY}/computes/gpu/runs", **{"$filter": "Status eq NotStarted", "$top": "500"})
    assert [run["runId"] for run in found["value"]] == ["r1"]
    assert client.ask("GET", f"{HISTORY}/computes/other/runs")["value"] == []


def test_a_fresh_token_for_a_job(client: Client) -> None:
    submitted(client)
    answer = client.ask("GET", f"{EXPERIMENT}/runs/r1/token")
    claims = client.service.identity.claims(answer["token"])
    assert claims is not None
    assert claims["runid"] == "r1"
    assert answer["expiryTimeUtc"].endswith("Z")


def test_run_data(client: Client) -> None:
    submitted(client)
    assert client.ask("POST", f"{HISTORY}/rundata", {"runId": "r1"})["runMetadata"]["runId"] == "r1"


def test_cancel(client: Client) -> None:
    submitted(client)
    uri = client.run("r1")["cancelUri"].removeprefix(client.service.origin)
    client.ask("POST", uri)
    assert (client.run("r1")["status"], client.engine.canceled) == ("CancelRequested", ["r1"])
    records.set_status(client.service, "r1", "Canceled")
    client.ask("POST", uri)
    assert client.engine.canceled == ["r1"]


def test_cancel_of_an_interactive_run_is_its_end(experiment: Any, client: Client) -> None:
    interactive(client, "r1")
    client.ask("POST", f"/execution/v1.0{WS}/experiments/exp/runId/r1/cancel")
    assert (client.run("r1")["status"], client.engine.canceled) == ("Canceled", [])


def test_an_ended_run_keeps_its_status(experiment: Any, client: Client) -> None:
    interactive(client, "r1")
    records.set_status(client.service, "r1", "Failed")
    interactive(client, "r1", status="Running")
    records.set_status(client.service, "r1", "Completed")
    records.change_run(client.service, "r1", status="Running")
    assert client.run("r1")["status"] == "Failed"
