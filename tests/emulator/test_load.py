"""A small version of `tests.emulator.load`: no error, nothing lost, nothing kept in memory."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("cryptography", reason="the emulator's extra is not installed")

from tests.emulator.load import Load, measure


@pytest.mark.slow
def test_many_clients_at_once(tmp_path: Path) -> None:
    figures = measure(tmp_path, Load(runs=100, clients=8, megabytes=60, seconds=8))
    assert figures.errors == []
    assert (figures.completed, figures.megabytes) == (100, 60)
    assert figures.growth_mb < 5
