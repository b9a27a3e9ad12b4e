"""Runs without processes: phases on a virtual clock, nodes, ends, what they say, and many of them."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from runner.emulator import artifacts, records
from runner.emulator.blobs import file_of
from runner.emulator.messages import ServiceError
from runner.emulator.scripted import LOG, TAG, ScriptedEngine, script_from
from tests.emulator.bodies import EXPERIMENT, SUBMIT, control
from tests.emulator.conftest import WS, Client, configuration
from tests.watching import wait_for

SCRIPT = {"preparing": 1, "starting": 2, "running": 10, "finalizing": 1}
MPI = {"communicator": "IntelMpi", "nodeCount": 2, "mpi": {"processCountPerNode": 1}}


class Stage:
    """A cluster of four nodes, and one of low priority; the clock stands still until it is told."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.engine = ScriptedEngine(client.service, speed=0)
        self.engine.default = script_from(SCRIPT)
        client.service.engine = self.engine
        client.cluster("gpu", 4)
        client.cluster("spot", 1, vmPriority="lowpriority")
        client.snapshot({"train.py": b""})

    def submit(self, run_id: str, script: Any = None, **more: Any) -> None:
        tags = {TAG: json.dumps(script)} if script is not None else {}
        body = {"Configuration": configuration(**more), "SnapshotId": "s1", "Tags": tags}
        self.client.ask("POST", SUBMIT, body, runId=run_id)

    def advance(self, seconds: float | None = None) -> Any:
        return self.client.ask("POST", control(self.client, "advance"), {"seconds": seconds})

    def status(self, run_id: str) -> str:
        return str(self.client.run(run_id)["status"])

    def statuses(self) -> Counter[str]:
        return Counter(run["status"] for run in self.client.service.store.all("run"))


@pytest.fixture
def stage(client: Client) -> Iterator[Stage]:
    found = Stage(client)
    yield found
    found.engine.close()


def test_a_run_goes_through_its_phases_as_the_clock_goes_on(stage: Stage) -> None:
    stage.submit("r1")
    seen = []
    for seconds in (0, 0.5, 0.5, 1, 1, 9.5, 0.5, 1):
        stage.advance(seconds)
        seen.append(stage.status("r1"))
    assert seen == [*["Preparing"] * 2, *["Queued"] * 2, *["Running"] * 2, "Finalizing", "Completed"]
    assert stage.advance() == {"clock": 14.0, "done": 0, "going": 0}


def test_runs_wait_for_nodes_in_order(stage: Stage) -> None:
    for number in range(3):
        stage.submit(f"r{number}", **MPI)
    stage.submit("small")
    stage.advance(4)
    assert [stage.status(name) for name in ("r0", "r1", "r2", "small")] == ["Running", "Running", "Queued", "Queued"]
    assert stage.engine.nodes_in_use("gpu") == 4
    stage.advance(12)  # the first two have ended, and given their nodes to both that waited
    assert [stage.status(name) for name in ("r0", "r2", "small")] == ["Completed", "Running", "Running"]
    assert stage.engine.holder("gpu", 2) == ("small", 0)
    stage.advance()
    assert stage.statuses() == {"Completed": 4}


def test_a_cluster_that_grows_gives_nodes_to_those_that_wait(stage: Stage) -> None:
    stage.client.cluster("tiny", 1)
    for name in ("r0", "r1"):
        stage.submit(name, target="tiny")
    stage.advance(4)
    assert stage.status("r1") == "Queued"
    scale = {"properties": {"properties": {"scaleSettings": {"minNodeCount": 0, "maxNodeCount": 2}}}}
    stage.client.ask("PATCH", f"{WS}/computes/tiny", scale)
    stage.advance(2)
    assert stage.status("r1") == "Running"


def test_what_a_script_says_and_logs(stage: Stage) -> None:
    own = {**SCRIPT, "lines": ["one", "two", "three"], "metrics": [{"loss": 2.0}, {"loss": 1.0, "epoch": 2}]}
    stage.submit("r1", {**own, "final": "Failed"})
    stage.advance(3 + 6)
    logs = {item["path"]: item for item in artifacts.listed(stage.client.service, "dcid.r1")}
    path = file_of(stage.client.service, "artifacts", logs[LOG]["blob"])
    assert path is not None
    assert path.read_text() == "one\ntwo\n"
    stage.advance()
    found = stage.client.ask("POST", f"/metric/v2.0{WS}/runs/r1/full", {"metricName": "loss"})["value"]
    assert [row["data"]["loss"] for row in found] == [2.0, 1.0]
    run = stage.client.run("r1")
    assert (run["status"], "exited with status code 1" in run["error"]["error"]["message"]) == ("Failed", True)


@pytest.mark.parametrize("seconds", [0, 1, 4])
def test_cancel_in_any_phase(seconds: float, stage: Stage) -> None:
    stage.submit("r1")
    stage.advance(seconds)
    uri = f"/execution/v1.0{WS}/experiments/exp/runId/r1/cancel"
    stage.client.ask("POST", uri)
    wait_for(lambda: stage.status("r1") == "Canceled", 5)  # although the clock stands still
    assert stage.engine.nodes_in_use("gpu") == 0
    assert stage.advance()["going"] == 0
    assert stage.status("r1") == "Canceled"


def test_preemption_on_low_priority_and_on_dedicated(stage: Stage) -> None:
    stage.submit("low", target="spot")
    stage.submit("high")
    path = control(stage.client, "preempt")
    stage.client.refused("POST", path, {"run": "low"}, 409)
    stage.advance(8)
    for run in ("low", "high"):
        stage.client.ask("POST", path, {"run": run})
    assert (stage.status("low"), stage.status("high")) == ("Queued", "Failed")
    stage.advance(11)  # the end that was planned before is void
    assert stage.status("low") == "Running"
    stage.advance()
    assert (stage.status("low"), stage.status("high")) == ("Completed", "Failed")


def test_the_clock_goes_by_itself(stage: Stage) -> None:
    stage.client.ask("POST", control(stage.client, "script"), {"speed": 10_000, "script": {"lines": ["x"]}})
    stage.submit("r1")
    wait_for(lambda: stage.status("r1") == "Completed", 10)


def test_what_had_not_ended_begins_anew_after_a_restart(stage: Stage) -> None:
    stage.submit("r1")
    stage.advance(4)
    stage.engine.close()
    again = ScriptedEngine(stage.client.service, speed=0)
    again.resume()
    again.advance(math.inf)
    again.close()
    assert stage.status("r1") == "Completed"


def test_stopping_ends_all(stage: Stage) -> None:
    stage.submit("r1")
    stage.submit("r2")
    stage.advance(4)
    stage.engine.stop()
    assert stage.statuses() == {"Canceled": 2}
    stage.submit("r3")
    stage.advance()
    assert stage.status("r3") == "Completed"


def test_many_runs(stage: Stage) -> None:
    stage.client.cluster("wide", 100)
    started = records.now()
    for number in range(300):
        stage.submit(f"r{number}", target="wide")
    assert stage.advance(4)["going"] == 300
    assert stage.statuses() == {"Running": 100, "Queued": 200}
    stage.advance()
    assert stage.statuses() == {"Completed": 300}
    query = {"filter": "", "orderby": "RunId asc", "top": 500}
    found = stage.client.ask("POST", f"{EXPERIMENT}/runs:query", query)["value"]
    assert len({run["runId"] for run in found}) == 300
    assert min(run["startTimeUtc"] for run in found) > started


def test_of_a_long_script_one_step_is_planned_at_a_time(stage: Stage) -> None:
    lines, metrics = [f"line {number}" for number in range(50)], [{"loss": float(number)} for number in range(50)]
    for number in range(4):
        stage.submit(f"r{number}", {**SCRIPT, "lines": lines, "metrics": metrics, "running": 51})
    stage.advance(3 + 25.5)
    assert len(stage.engine.clock.plans) == 4
    log = stage.client.service.store.run_folder("r1") / "logs" / LOG
    assert log.read_text().splitlines() == lines[:25]
    assert stage.client.service.store.count("row", "r1/loss") == 25
    stage.advance()
    assert (log.read_text().splitlines(), stage.status("r1")) == (lines, "Completed")


def test_what_was_planned_for_a_canceled_run_is_forgotten_and_moves_no_clock(stage: Stage) -> None:
    stage.submit("ahead", {**SCRIPT, "preparing": 1e6})
    for number in range(200):
        stage.submit(f"r{number}", {**SCRIPT, "preparing": 1e9})
    assert stage.advance(1)["going"] == 201
    for number in range(200):
        stage.engine.cancel(f"r{number}")
    assert stage.advance(1)["going"] == 1
    assert len(stage.engine.clock.plans) < 60
    assert stage.advance()["clock"] == 1e6 + 13


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ([], "the script is not an object"),
        ({"run": 1}, "unknown field 'run'; did you mean 'running'?"),
        ({"running": -1}, "running is '-1'"),
        ({"running": float("nan")}, "running is 'nan'"),
        ({"final": "Running"}, "final is 'Running'; one of Canceled, Completed, Failed"),
        ({"metrics": [{"loss": "x"}]}, "a value that is no number"),
    ],
)
def test_what_is_no_script(script: Any, words: str, stage: Stage) -> None:
    with pytest.raises(ServiceError) as refused:
        script_from(script)
    assert words in refused.value.message
    stage.submit("r1", script)  # its tag is nobody's but the user's: it is played as all others
    stage.advance()
    assert stage.status("r1") == "Completed"


def test_a_real_emulator_has_no_clock(client: Client) -> None:
    assert "start it with '--execution scripted'" in client.refused("POST", control(client, "advance"), {})
