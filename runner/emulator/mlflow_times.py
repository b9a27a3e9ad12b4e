"""Times: MLflow counts milliseconds since 1970, Azure writes them out."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from runner.emulator.messages import bad_request

BEGINNING = datetime(1970, 1, 1, tzinfo=timezone.utc)


def from_milliseconds(count: int) -> str:
    try:
        moment = BEGINNING + timedelta(milliseconds=count)
    except OverflowError:
        raise bad_request(f"time {count} is in no year; milliseconds since 1970") from None
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def milliseconds(written: Any) -> int | None:
    """None where nothing, or no time, is written."""
    try:
        moment = datetime.fromisoformat(str(written)[:26].rstrip("Z"))
    except ValueError:
        return None
    return (moment.replace(tzinfo=timezone.utc) - BEGINNING) // timedelta(milliseconds=1)
