"""docs/diagnose.md shows the tables as the code has them. On a failure the wanted table is in the message."""

from __future__ import annotations

from runner.diagnose import CAUSES, CONSEQUENCES, SIGNALS
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "diagnose.md").read_text()


def rows(*lines: tuple[str, ...]) -> str:
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


def test_the_table_of_causes() -> None:
    table = rows(*((f"`{row.kind}`", row.name.removesuffix(": {line}"), row.advice) for row in CAUSES))
    assert table in PAGE, f"docs/diagnose.md should hold:\n{table}"


def test_the_table_of_signals() -> None:
    table = rows(*((f"`{meaning.kind}`", meaning.name, meaning.advice) for meaning in SIGNALS.values()))
    assert table in PAGE, f"docs/diagnose.md should hold:\n{table}"


def test_the_consequences() -> None:
    table = "\n".join(f"- {row.name}" for row in CONSEQUENCES)
    assert table in PAGE, f"docs/diagnose.md should hold:\n{table}"
