"""The page: one HTML file with its data, its style and its script. It asks nobody for anything.

What runs have written travels as JSON and becomes text nodes, never markup; the policy in its head lets nothing run
but the one script, by its digest.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runner.report import series
from runner.report.gather import Report
from runner.report.record import mapped

WEB = Path(__file__).resolve().parent / "web"
SCRIPTS = (
    "dom.js",
    "numbers.js",
    "state.js",
    "chart.js",
    "curves.js",
    "scatter.js",
    "parallel.js",
    "table.js",
    "page.js",
)
# What keeps the page of a thousand runs under 10 MB: how many points all curves have together, how many metrics have
# curves, and how long a text may be, tried in turn until the record fits.
MAX_POINTS, LEAST_POINTS, MOST_POINTS = 320_000, 24, 400
MAX_CURVES = 12
TEXT_LIMITS = (20_000, 4_000, 1_000, 250, 60)
MAX_RECORD = 5_000_000
MAX_WHOLE = 1 << 53


def document(report: Report, record: Mapping[str, Any]) -> str:
    """The page of a report and its record (`record.as_json`)."""
    style = (WEB / "page.css").read_text(encoding="utf-8")
    script = (
        '"use strict";\n(() => {\n' + "".join((WEB / name).read_text(encoding="utf-8") for name in SCRIPTS) + "})();\n"
    )
    data = f'{{"record": {fitting(record)}, "curves": {as_script(curves(report))}}}'
    policy = f"default-src 'none'; style-src '{digest(style)}'; script-src '{digest(script)}'; base-uri 'none'"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(as_text(record['title']))}</title>\n<style>{style}</style>\n</head>\n<body>\n"
        "<main><noscript>This page is drawn by the script inside it; let it run.</noscript></main>\n"
        f'<script type="application/json" id="data">{data}</script>\n<script>{script}</script>\n</body>\n</html>\n'
    )


def curves(report: Report) -> dict[str, list[Any]]:
    """Of the first metrics: for each run its curve as [places, values], None where there is none.

    A value that is no number is null: a gap.
    """
    runs = max(len(report.entries), 1)
    kept = report.metrics[: max(1, min(MAX_CURVES, MAX_POINTS // (runs * LEAST_POINTS)))]
    most = min(max(MAX_POINTS // (runs * max(len(kept), 1)), LEAST_POINTS), MOST_POINTS)
    found = {}
    for name in kept:
        thin = [series.thinned(report.points(entry, name), most) for entry in report.entries]
        found[name] = [[list(map(rounded, axis)) for axis in zip(*curve, strict=True)] or None for curve in thin]
    return found


def rounded(value: float) -> float | int | None:
    """Five digits are more than a chart shows; places are whole numbers, and stay so."""
    if not math.isfinite(value):
        return None
    return int(value) if value.is_integer() and abs(value) < MAX_WHOLE else float(f"{value:.5g}")


def fitting(record: Mapping[str, Any]) -> str:
    """The record as JSON, its texts as long as the page can bear. A command is there whole or not at all."""
    for limit in TEXT_LIMITS:
        runs = [{**run, "overrides": [], "command": whole(run["command"], limit)} for run in record["runs"]]
        text = as_script(mapped({**record, "runs": runs}, lambda value: cut(value, limit)))  # noqa: B023
        if len(text) <= MAX_RECORD:
            break
    return text


def whole(text: str | None, limit: int) -> str | None:
    return text if text and len(text) <= limit else None


def cut(value: Any, limit: int) -> Any:
    """A long text without its middle: of a traceback, the end says most."""
    if not isinstance(value, str) or len(value) <= limit:
        return value
    return f"{value[: limit // 4]} ...({len(value)} characters)... {value[-limit // 2 :]}"


def as_script(value: Any) -> str:
    """JSON that nothing in it can end the script element of."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def as_text(text: str) -> str:
    """Text that UTF-8 has: bytes of a log that were none are question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")


def digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
