"""Run queries' filters: every form that the SDK writes, and refusals."""

from __future__ import annotations

import pytest

from runner.emulator.filters import matcher
from runner.emulator.messages import ServiceError

RUN = {
    "runId": "exp_1",
    "status": "Running",
    "parentRunId": None,
    "createdUtc": "2026-01-02T00:00:00Z",
    "tags": {"sweep": "s1", "odd": 'say "hi"', "quote": "it's"},
    "properties": {"k": "v"},
}


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        (None, True),
        ("", True),
        ('((Tags/sweep eq "s1") and (ParentRunId eq null))', True),
        ('((Tags/sweep eq "s2") and (ParentRunId eq null))', False),
        ("(Tags/sweep ne null or Tags/sweep eq null)", True),
        ('(Properties/k eq "v")', True),
        ('(Properties/none eq "v")', False),
        ("RunId eq a or RunId eq exp_1 or RunId eq b", True),
        ("RunId eq a or RunId eq b", False),
        ('((Tags/sweep eq "s1") and (Status eq Queued))', False),
        ("runid eq 'exp_1' and status ne Queued", True),
        ("Tags/quote eq 'it''s'", True),
        ("Tags/odd eq 'say \"hi\"'", True),
        ("not (Status eq Running)", False),
        ("not Status eq Queued and RunId eq exp_1", True),
        ("CreatedUtc ge 2026-01-01 and CreatedUtc lt 2026-01-03", True),
        ("CreatedUtc gt 2026-01-03", False),
        ("StartTimeUtc gt 2026-01-03", False),
        ("CreatedUtc le 2026-01-01", False),
        ('Tags/sweep eq "null"', False),
        ("Unknown eq null", True),
        ("Status eq Queued or Status eq Running and RunId eq nobody", False),
    ],
)
def test_filter(text: str | None, passes: bool) -> None:
    assert matcher(text)(RUN) is passes


@pytest.mark.parametrize(
    "text", ["Status", "Status eq", "Status is Running", "(Status eq Running", "a eq b c", 'a eq "b']
)
def test_a_filter_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(ServiceError, match="cannot be read") as refusal:
        matcher(text)
    assert refusal.value.status == 400
