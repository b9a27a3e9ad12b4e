"""Every row of the route table, asked for by the unmodified SDK: what was asked is what the emulator noted."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from runner.emulator.routes import AREAS, find
from tests.emulator.conftest import Serving
from tests.emulator.test_tutorial import TUTORIAL

HERE = Path(__file__).parent / "walk"
# The others of the tutorial's sections ask for nothing more.
SECTIONS = "compute environments cancelling vault principal"
# Both have clients of their own, and tests of their own.
NOT_OF_THE_SDK = ("Control plane", "Page")
Row = tuple[str, str]
ROUTES: tuple[Row, ...] = tuple(
    (route.method, route.template) for area, routes in AREAS if area not in NOT_OF_THE_SDK for route in routes
)
ID, NAMED = "/history/v1.0{ws}/experimentids/{experiment_id}", "/history/v1.0{ws}/runs"
BY_NAME = "no call of SDK v1 asks for it: its client says experiments by their names, also in a job"
ONLY_ARM = "no call of SDK v1 asks for it: what reads goes to /rp, what writes to Azure Resource Manager"
V2 = "SDK v2 asks for it"
SERVICE = "no call of SDK v1 asks for it; the service has it beside the one that is asked for"
# Where nothing can be made to ask: why.
NOT_ASKED: dict[Row, str] = {
    ("GET", "/tenants"): "asked for after a sign-in in a browser, or by the Azure CLI's profile: neither is here",
    ("GET", "/subscriptions/{subscription}"): SERVICE,
    ("GET", "/subscriptions/{subscription}/resourceGroups/{group}/resources"): SERVICE,
    ("GET", "/subscriptions/{subscription}/providers/Microsoft.MachineLearningServices/workspaces"): SERVICE,
    ("GET", "/discovery/workspaces{ws}"): SERVICE,
    ("GET", "{ws}/computes"): ONLY_ARM,
    ("PUT", "/rp/workspaces{ws}/computes/{compute}"): ONLY_ARM,
    ("PATCH", "/rp/workspaces{ws}/computes/{compute}"): ONLY_ARM,
    ("DELETE", "/rp/workspaces{ws}/computes/{compute}"): ONLY_ARM,
    ("POST", "/rp/workspaces{ws}/computes/{compute}/listNodes"): ONLY_ARM,
    ("GET", "{ws}/computes/{compute}"): ONLY_ARM,
    ("PATCH", "/history/v1.0{ws}/experiments/{experiment}"): "SDK v1 changes an experiment by its id",
    ("GET", "/history/v1.0{ws}/experiments"): "SDK v1 lists with experiments:query",
    ("POST", f"{ID}/runs:query"): BY_NAME,
    ("POST", f"{NAMED}:query"): BY_NAME,
    ("PATCH", f"{ID}/batch/runs"): BY_NAME,
    ("DELETE", f"{ID}/runs/{{run}}/tags"): BY_NAME,
    ("GET", f"{ID}/runs/{{run}}/details"): BY_NAME,
    ("GET", f"{ID}/runs/{{run}}/children"): BY_NAME,
    ("POST", f"{ID}/runs/{{run}}/events"): BY_NAME,
    ("POST", f"{ID}/batch/events"): BY_NAME,
    ("GET", f"{ID}/runs/{{run}}/metricsingest/wait"): BY_NAME,
    ("GET", "/metric/v2.0{ws}/runs/{run}/metricsingest/wait"): "SDK v1 waits at the run history's address",
    ("GET", f"{NAMED}/{{run}}/details"): V2,
    ("POST", "/history/v1.0{ws}/rundata"): V2,
    ("GET", "/content/v2.0{ws}/snapshots/{snapshot}/metadata"): SERVICE,
    ("POST", "/artifact/v2.0{ws}/artifacts/batch/contentinfo/{origin}/{container}"): SERVICE,
}


def same_names(row: Row) -> Row:
    """A row whatever its parts are called."""
    return row[0], re.sub(r"\{(?!ws\})[^}]+\}", "{}", row[1])


def reference() -> list[Row]:
    lines = (HERE / "rows.txt").read_text().splitlines()
    found = [line.partition(" ") for line in lines if not line.startswith("#")]
    return [same_names((method, path)) for method, _, path in found]


def test_every_row_of_the_reference_is_a_route() -> None:
    rows = reference()
    assert len(rows) == len(set(rows)) > 100
    assert not set(rows) - {same_names(row) for row in ROUTES}


def test_only_routes_are_excused() -> None:
    assert not set(NOT_ASKED) - set(ROUTES)


@pytest.fixture
def emulator(sdk_python: str, tmp_path: Path) -> Iterator[Serving]:
    """One that nobody else asks."""
    found = Serving(tmp_path / "emulator", sdk_python)
    assert found.amlrun("start", cwd=tmp_path).returncode == 0
    yield found
    assert found.amlrun("stop", cwd=tmp_path).returncode == 0


def has(python: str, module: str) -> bool:
    return subprocess.run([python, "-c", f"import {module}"], capture_output=True).returncode == 0


def run(emulator: Serving, folder: Path, script: Path, *words: str) -> str:
    folder.mkdir()
    done = emulator.shell(f"{emulator.python} {script} {' '.join(words)}", folder)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def answered(emulator: Serving, folder: Path) -> set[Row]:
    """The rows that somebody has asked for with success, since the emulator was started."""
    listed = emulator.amlrun("requests", "--json", cwd=folder)
    assert listed.returncode == 0, listed.stderr
    found = set()
    for seen in json.loads(listed.stdout)["requests"]:
        if 200 <= seen["status"] < 300:
            route, _ = find(seen["method"], quote(seen["path"], safe="/:=*"))
            found.add((route.method, route.template))
    return found


@pytest.mark.slow
def test_the_sdk_is_answered_at_every_row(
    emulator: Serving, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not has(emulator.python, "azureml.mlflow"):
        pytest.skip("needs azureml-mlflow: pip install 'amlrun[mlflow]'")
    run(emulator, tmp_path / "tutorial", TUTORIAL, SECTIONS)
    said = run(emulator, tmp_path / "walk", HERE / "walk.py", "all")
    assert said.count(": passed in ") == 11

    passed = answered(emulator, tmp_path)
    rows, known = reference(), {same_names(row) for row in passed}
    with capsys.disabled():
        print(f"\n{sum(row in known for row in rows)} rows passed of {len(rows)};", end=" ")
        print(
            f"{len(passed & set(ROUTES))} of {len(ROUTES)} routes asked for, {len(NOT_ASKED)} that no SDK v1 asks for"
        )
    assert sorted(set(ROUTES) - passed) == sorted(NOT_ASKED)


@pytest.mark.slow
def test_datasets_that_the_sdk_makes(serving: Serving, tmp_path: Path) -> None:
    if not has(serving.python, "azureml.dataprep"):
        pytest.skip("needs azureml-dataset-runtime: pip install 'amlrun[datasets]'")
    assert "all of it" in run(serving, tmp_path / "here", HERE / "runtime.py")
