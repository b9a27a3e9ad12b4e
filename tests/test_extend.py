"""Every recipe of docs/extend.md, executed as it is written there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import ROOT, Cli, write
from tests.recipes import steps

PAGE = ROOT / "docs" / "extend.md"


@pytest.mark.slow
def test_recipes(cli: Cli, project: Path) -> None:
    ran = 0
    for step in steps(PAGE):
        if step.path:
            write(project, {step.path: step.text})
            continue
        assert step.argv[0] == "amlrun"
        done = cli(project, *step.argv[1:])
        assert done.code == step.code, f"{step.text}\n{done.out}\n{done.err}"
        ran += 1
    assert ran >= 5
