"""Every status that a run can have, from every other, by every way that leads there: what it shows, and what stays."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from runner.emulator import records
from runner.emulator.messages import ServiceError
from tests.emulator.bodies import EXPERIMENT, HERE, event_body
from tests.emulator.conftest import HISTORY, WS, Client, configuration

EVENTS = {"Start": "Running", "Completed": "Completed", "Failed": "Failed", "Canceled": "Canceled"}
TIME = "2026-01-01T00:00:00Z"


@pytest.fixture(autouse=True, scope="module")
def experiment(shared: Client) -> None:
    shared.ask("POST", EXPERIMENT)
    shared.cluster()
    shared.snapshot({"train.py": b""})


def fresh(client: Client) -> str:
    run_id = f"r{client.service.store.count('run')}"
    client.ask("PATCH", f"{EXPERIMENT}/runs/{run_id}", {})
    return run_id


def event(client: Client, run_id: str, name: str, **data: Any) -> None:
    body = event_body(name, **data)
    client.ask("POST", f"{EXPERIMENT}/runs/{run_id}/events", {**body, "data": {**body["data"], "RunId": run_id}})


def times(run: dict[str, Any]) -> tuple[bool, bool]:
    return run["startTimeUtc"] is not None, run["endTimeUtc"] is not None


@pytest.mark.parametrize("after", records.STATUSES)
@pytest.mark.parametrize("before", ["NotStarted", "Queued", "Running", "CancelRequested", *sorted(records.FINAL)])
def test_a_status_follows_another_unless_that_was_the_end(before: str, after: str, shared: Client) -> None:
    run_id = fresh(shared)
    records.set_status(shared.service, run_id, before)
    middle = shared.run(run_id)
    assert (middle["status"], times(middle)) == (before, (before == "Running", before in records.FINAL))
    records.set_status(shared.service, run_id, after, error={"error": {"code": "x"}})
    run = shared.run(run_id)
    if before in records.FINAL:
        assert run == middle
    else:
        assert (run["status"], run["error"]) == (after, {"error": {"code": "x"}})
        assert times(run) == ("Running" in (before, after), after in records.FINAL)


@pytest.mark.parametrize("status", records.STATUSES)
def test_by_a_patch_it_is_the_same(status: str, shared: Client) -> None:
    """So does `run.child_run` set the status of a child."""
    run_id = fresh(shared)
    run = shared.ask("PATCH", f"{EXPERIMENT}/runs/{run_id}", {"status": status})
    assert (run["status"], times(run)) == (status, (status == "Running", status in records.FINAL))
    again = shared.ask("PATCH", f"{EXPERIMENT}/runs/{run_id}", {"status": "Running"})
    assert again["status"] == (status if status in records.FINAL else "Running")


def test_the_times_of_a_patch_are_the_clients(shared: Client) -> None:
    run_id = fresh(shared)
    body = {"status": "Completed", "startTimeUtc": TIME, "endTimeUtc": TIME}
    run = shared.ask("PATCH", f"{EXPERIMENT}/runs/{run_id}", body)
    assert (run["startTimeUtc"], run["endTimeUtc"]) == (TIME, TIME)


def test_a_run_starts_once(shared: Client) -> None:
    run_id = fresh(shared)
    event(shared, run_id, "Start")
    started = shared.run(run_id)["startTimeUtc"]
    for status in ("Queued", "Running"):
        records.set_status(shared.service, run_id, status)
    assert shared.run(run_id)["startTimeUtc"] == started


@pytest.mark.parametrize(("first", "second"), list(product(EVENTS, EVENTS)))
def test_events(first: str, second: str, shared: Client) -> None:
    run_id = fresh(shared)
    event(shared, run_id, first)
    event(shared, run_id, second)
    expected = EVENTS[first] if EVENTS[first] in records.FINAL else EVENTS[second]
    run = shared.run(run_id)
    assert run["status"] == expected
    assert times(run) == (first == "Start", expected in records.FINAL)


@pytest.mark.parametrize("name", [*EVENTS, "Error", "Warning", "Heartbeat", ""])
def test_an_event_does_not_end_what_a_process_ends(name: str, shared: Client) -> None:
    run_id = f"job-{name}"
    shared.submit(run_id, configuration())
    event(shared, run_id, name, ErrorResponse={"error": {"code": "c"}}, Message="m", Source="s")
    run = shared.run(run_id)
    assert (run["status"], times(run)) == ("NotStarted", (False, False))
    assert (run["error"] is not None, run["warnings"] is not None) == (name == "Error", name == "Warning")


def test_warnings_are_kept_in_their_order(shared: Client) -> None:
    run_id = fresh(shared)
    event(shared, run_id, "Warning", Message="one", Source="me")
    event(shared, run_id, "Warning")
    details = shared.ask("GET", f"{EXPERIMENT}/runs/{run_id}/details")
    assert details["warnings"] == [{"source": "me", "message": "one"}, {"source": "run", "message": ""}]


def test_of_events_that_come_together_all_count_or_none(shared: Client) -> None:
    run_id = fresh(shared)
    start = {"name": "Microsoft.MachineLearning.Run.Start", "data": {"RunId": run_id}}
    unknown = {"name": "Microsoft.MachineLearning.Run.Start", "data": {"RunId": "nobody"}}
    shared.refused("POST", f"{EXPERIMENT}/batch/events", {"events": [start, unknown]}, expect=404)
    assert shared.run(run_id)["status"] == "NotStarted"


def test_of_children_that_come_together_all_are_made_or_none(shared: Client) -> None:
    parent = fresh(shared)
    good, bad = (
        {"runId": f"{parent}-{name}", "parentRunId": above} for name, above in (("a", parent), ("b", "nobody"))
    )
    shared.refused("PATCH", f"{EXPERIMENT}/batch/runs", {"runs": [good, bad]}, expect=404)
    assert shared.ask("GET", f"{EXPERIMENT}/runs/{parent}/children")["value"] == []
    made = shared.ask("PATCH", f"{EXPERIMENT}/batch/runs", {"runs": [good]})["runs"]
    assert made[good["runId"]]["rootRunId"] == parent


def test_children_of_children_have_the_same_root(shared: Client) -> None:
    above = root = fresh(shared)
    for number in range(4):
        run = shared.ask("PATCH", f"{EXPERIMENT}/runs/{root}-{number}", {"parentRunId": above})
        assert (run["parentRunId"], run["rootRunId"]) == (above, root)
        above = run["runId"]


@pytest.mark.parametrize("kind", ["azureml.scriptrun", "Azureml.ScriptRun"])
def test_only_a_submission_makes_a_submitted_run(kind: str, shared: Client) -> None:
    """A run with nothing to run could not be resumed, and the emulator would not start again."""
    words = shared.refused("PATCH", f"{EXPERIMENT}/runs/false-{kind}", {"runType": kind})
    assert words == "a run of type 'azureml.scriptrun' is made by its submission"
    shared.refused("GET", f"{HISTORY}/runs/false-{kind}", expect=404)


@pytest.mark.parametrize("status", records.STATUSES)
def test_cancel_from_every_status(status: str, shared: Client) -> None:
    jobs = [f"cancel-{status}", fresh(shared)]
    shared.submit(jobs[0], configuration())
    for run_id, asked in zip(jobs, ("CancelRequested", "Canceled"), strict=True):
        records.set_status(shared.service, run_id, status)
        shared.ask("POST", f"/execution/v1.0{WS}/experiments/exp/runId/{run_id}/cancel")
        assert shared.run(run_id)["status"] == (status if status in records.FINAL else asked)
    assert (jobs[0] in shared.engine.canceled) is (status not in records.FINAL)
    assert jobs[1] not in shared.engine.canceled


@pytest.mark.parametrize("status", ["running", "Done", "", "NotStarted "])
def test_a_status_that_nobody_has(status: str, shared: Client) -> None:
    words = shared.refused("PATCH", f"{EXPERIMENT}/runs/{fresh(shared)}", {"status": status})
    assert words.startswith(f"status '{status}' is unknown; one of NotStarted, ")


def test_logs_of_a_run_are_in_its_details_and_outputs_are_not(shared: Client) -> None:
    run_id = fresh(shared)
    names = (
        "user_logs/std_log.txt",
        "azureml-logs/70_driver_log.txt",
        "logs/mine.txt",
        "system_logs/x",
        "outputs/m.pt",
    )
    here = HERE.replace("r1", run_id)
    answer = shared.ask(
        "POST", f"/artifact/v2.0{WS}/artifacts/batch/metadata/{here}", {"paths": [{"path": n} for n in names]}
    )
    for content in answer["artifactContentInformation"].values():
        shared.signed("PUT", content["contentUri"], b"x")
    assert set(shared.ask("GET", f"{EXPERIMENT}/runs/{run_id}/details")["logFiles"]) == set(names[:4])


def test_nobody_is_changed_who_is_not_there(shared: Client) -> None:
    for call in (records.change_run, records.set_status):
        with pytest.raises(ServiceError, match="run 'nobody' does not exist"):
            call(shared.service, "nobody", status="Running")
