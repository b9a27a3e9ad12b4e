"""A sweep whose policy stops runs, on the service: what falls behind is canceled there."""

from __future__ import annotations

import json

import pytest

from tests.azureml.shell import Shell, needs_sdk
from tests.conftest import write

pytestmark = [pytest.mark.slow, needs_sdk, pytest.mark.timeout(300)]

# Logs as a script on Azure does; the slow ones would go on for ever.
LOGS = """
import sys, time
from azureml.core import Run
run, speed = Run.get_context(allow_offline=False), float(sys.argv[sys.argv.index("--speed") + 1])
for step in range(1, 4):
    run.log("acc", speed * step)
    run.flush()
open("outputs/metrics.jsonl", "w").write("".join('{"acc": %s}\\n' % (speed * step) for step in range(1, 4)))
if speed < 0.5:
    time.sleep(600)  # longer than the test may take: the policy has to cancel it
"""
SWEEP = """sampler: random
metric: acc
goal: maximize
max_total: 4
max_concurrent: 2
params:
  code.arguments.speed: interval(0.1, 1.0)
policy: {kind: bandit, slack_factor: 0.15, delay_evaluation: 3}
"""


def test_what_falls_behind_is_canceled_on_the_service(shell: Shell) -> None:
    write(shell.folder, {"configs/sweep/mine.yaml": SWEEP})
    head = "# @package _global_\n"
    write(shell.folder, {"configs/experiment/e.yaml": f"{head}name: e\ncode: {{arguments: {{speed: 1}}}}\n"})
    done = shell.run(LOGS, "experiment=e", "sweep=mine")
    assert done.code == 0, done.err
    rows = json.loads(done.out)["runs"]
    assert {row["id"] for row in rows if row["stopped"]} == {row["id"] for row in rows if row["state"] == "canceled"}
    assert sorted(row["state"] for row in rows) == ["canceled", "canceled", "completed", "completed"]
    remote = json.loads(shell("list", "--remote", "--json", "workspace=emulator").out)["runs"]
    assert {run["id"]: run["state"] for run in remote} == {row["id"]: row["state"] for row in rows}
