"""A metric that grows while it is looked at: drawn as one that was there at once, and kept within bounds."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from runner.emulator import curves
from runner.emulator.metrics import moment

VALUES = st.sampled_from([0.5, 2, -1.0, None, "NaN", "x", True, "aml://artifactId/ExperimentRun/dcid.r/a.png"])
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "createdUtc": st.sampled_from([f"2026-01-01T00:00:00{part}Z" for part in ("", ".5", ".25", ".125")]),
            "step": st.sampled_from([None, 0, 1, 2, True, 2**60]),
            "data": st.dictionaries(st.sampled_from("ab"), VALUES, max_size=2),
        }
    ),
    max_size=12,
)
# The one without a step is made before the others have come to three steps, and arrives after.
LATE = [
    {"createdUtc": f"2026-01-01T00:00:00{part}Z", "step": step, "data": {"a": 0.5}}
    for part, step in ((".125", 0), (".125", 2), (".125", 1), ("", None))
]


@settings(max_examples=200, deadline=None, database=None)
@example(LATE, [])
@given(ROWS, st.lists(st.integers(0, 12), max_size=3))
def test_drawn_in_parts_as_at_once(rows: list[dict[str, Any]], cuts: list[int]) -> None:
    series, at = curves.Series("dcid.r"), 0
    for cut in [*sorted(cuts), len(rows)]:
        series.add(rows[at:cut])
        series.drawn()
        at = max(at, cut)
    found = series.drawn()
    assert found == curves.drawing(rows, "dcid.r")
    ordered = curves.drawing(sorted(rows, key=moment), "dcid.r")
    assert (found.get("lines"), found.get("images")) == (ordered.get("lines"), ordered.get("images"))


@pytest.mark.parametrize("by_step", [False, True])
def test_however_long_it_gets_it_is_kept_within_bounds_and_evenly(by_step: bool) -> None:
    series, rows = curves.Series("c"), 60_000
    for number in range(rows):
        value = 1e6 if number == 1234 else float(number % 10)
        series.add([{"data": {"v": value, "w": 0.0}, **({"step": 2 * number} if by_step else {})}])
        assert len(series.settled) + len(series.fresh) <= 2 * curves.KEPT_ROWS + 2
    found = series.drawn()
    scale, line = (2, found["lines"]["v"]) if by_step else (1, found["lines"]["v"])
    assert (found["rows"], found["x"], len(found["lines"])) == (rows, "step" if by_step else "row", 2)
    assert (1234 * scale if by_step else 1235, 1e6) in line
    places = [place for place, _ in line]
    assert len(places) <= curves.MOST_POINTS + 2
    assert places[0] in (0, 1)
    assert places[-1] >= (rows - 1) * scale
    assert max(right - left for left, right in pairwise(places)) <= 2 * scale * 3 * rows / curves.MOST_POINTS
