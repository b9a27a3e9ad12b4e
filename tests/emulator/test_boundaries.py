"""Who imports whom around the emulator, and that its page says what the table says."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.emulator.routes import ROUTES, coverage
from tests.conftest import ROOT

EMULATOR = ROOT / "runner" / "emulator"
PAGE = ROOT / "docs" / "emulator.md"
OUTSIDE = "runner.processes"
START, END = "<!-- routes: written by `make docs`; do not edit -->\n", "<!-- end of routes -->\n"


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{name.name}" for name in node.names)


def of_runner(path: Path) -> set[str]:
    return {name for name in imported(path) if name.startswith("runner.") and not name.startswith("runner.emulator")}


@pytest.mark.parametrize("path", sorted(EMULATOR.glob("*.py")), ids=lambda path: path.name)
def test_the_emulator_shares_nothing_with_the_client_but_processes(path: Path) -> None:
    assert {name for name in of_runner(path) if not name.startswith(OUTSIDE)} == set()


def test_from_outside_only_its_start_and_stop_are_used() -> None:
    others = [path for path in (ROOT / "runner").rglob("*.py") if EMULATOR not in path.parents]
    used = {name for path in others for name in imported(path) if name.startswith("runner.emulator")}
    assert used, "amlrun emulator needs it"
    assert {name for name in used if not name.startswith("runner.emulator.instance")} == set()


def test_what_runs_in_jobs_needs_the_standard_library_only() -> None:
    for name in ("rank.py", "script.py"):
        assert of_runner(EMULATOR / name) == set()
        assert not any(item.startswith("runner") for item in imported(EMULATOR / name))


@pytest.mark.check
def test_the_page_lists_the_routes() -> None:
    text = PAGE.read_text()
    table = text.partition(START)[2].partition(END)[0]
    assert table.strip() == coverage().strip(), "docs/emulator.md is not what the routes say; run 'make docs'"


def test_every_route_says_what_asks_for_it() -> None:
    assert all(route.call for route in ROUTES)
    assert coverage().count("\n| ") >= len(ROUTES)
