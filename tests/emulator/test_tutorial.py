"""The tutorial's script of plain azureml-core calls, section by section, against an emulator that serves."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.emulator.conftest import Serving

TUTORIAL = Path(__file__).parent / "tutorial" / "tutorial.py"
SECTIONS = next(
    [name.id for name in node.value.elts if isinstance(name, ast.Name)]
    for node in ast.parse(TUTORIAL.read_text()).body
    if isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple) and ast.unparse(node.targets[0]) == "SECTIONS"
)


@pytest.mark.slow
@pytest.mark.parametrize("section", SECTIONS)
def test_section_passes(section: str, serving: Serving, tmp_path: Path) -> None:
    done = serving.shell(f"{serving.python} {TUTORIAL} {section}", tmp_path)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert f"{section}: passed" in done.stdout


def test_the_script_does_not_know_what_it_talks_to() -> None:
    assert len(SECTIONS) >= 15
    words = "".join(path.read_text() for path in TUTORIAL.parent.rglob("*.py")).lower()
    assert "amlrun" not in words
    assert "emulator" not in words
