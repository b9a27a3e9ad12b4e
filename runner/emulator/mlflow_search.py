"""Which runs `mlflow.search_runs` finds: MLflow's filters and orders over runs as they are shown. Pure."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from runner.emulator.checking import count, rows, shortened, text
from runner.emulator.messages import bad_request

MOST = 50_000
VIEWS: Mapping[str, Callable[[str], bool]] = {
    "ACTIVE_ONLY": lambda stage: stage == "active",
    "DELETED_ONLY": lambda stage: stage == "deleted",
    "ALL": lambda stage: True,
}
COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "like": lambda value, wanted: like(value, wanted, 0),
    "ilike": lambda value, wanted: like(value, wanted, re.IGNORECASE),
}
NAME = r"(?:(?P<group>[a-z]+)\.)?(?P<name>[\w.-]+|`[^`]+`|\"[^\"]+\")"
WANTED = r"(?P<wanted>'[^']*'|\"[^\"]*\"|-?[\d.]+(?:e[+-]?\d+)?)"
CLAUSE = re.compile(rf"\s*{NAME}\s*(?P<sign>!=|>=|<=|=|>|<|i?like\b)\s*{WANTED}\s*", re.IGNORECASE)
ORDER = re.compile(rf"\s*{NAME}(?:\s+(?P<way>asc|desc))?\s*", re.IGNORECASE)
GROUPS = {
    **dict.fromkeys(("metric", "metrics"), "metrics"),
    **dict.fromkeys(("param", "params", "parameter", "parameters"), "params"),
    **dict.fromkeys(("tag", "tags"), "tags"),
    **dict.fromkeys(("attribute", "attributes", "attr", "run", ""), "info"),
}


def chosen(runs: list[dict[str, Any]], body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the body of a search asks for. Raises ServiceError (400) for a filter or order that cannot be read."""
    view = VIEWS.get(str(body.get("run_view_type") or "ACTIVE_ONLY"))
    if view is None:
        raise bad_request(f"run_view_type '{shortened(body['run_view_type'])}' is unknown; one of {', '.join(VIEWS)}")
    tests = clauses(text(body.get("filter"), "filter") or "")
    found = [run for run in runs if view(run["info"]["lifecycle_stage"]) and all(test(run) for test in tests)]
    for order in reversed(rows(body.get("order_by"), "order_by")):
        found = ordered(found, str(order))
    return found[: count(body.get("max_results"), "max_results", MOST)]


def clauses(written: str) -> list[Callable[[dict[str, Any]], bool]]:
    tests: list[Callable[[dict[str, Any]], bool]] = []
    place = 0
    while written.strip() and place < len(written):
        match = CLAUSE.match(written, place)
        joint = re.match(r"and\s", written[match.end() :], re.IGNORECASE) if match else None
        if match is None or (joint is None and match.end() < len(written)):
            raise bad_request(f"filter '{shortened(written)}' cannot be read; comparisons joined by 'and'")
        tests.append(test_of(match))
        place = match.end() + (joint.end() if joint else 0)
    return tests


def test_of(match: re.Match[str]) -> Callable[[dict[str, Any]], bool]:
    group, name = place_of(match)
    written, compare = match["wanted"], COMPARISONS[match["sign"].lower()]
    wanted = written[1:-1] if written[0] in "'\"" else as_number(written)

    def holds(run: dict[str, Any]) -> bool:
        value = value_of(run, group, name)
        comparable = isinstance(value, str) == isinstance(wanted, str)
        return value is not None and comparable and compare(value, wanted)

    return holds


def as_number(written: str) -> float:
    try:
        return float(written)
    except ValueError:
        raise bad_request(f"'{shortened(written)}' in a filter is no number") from None


def ordered(runs: list[dict[str, Any]], order: str) -> list[dict[str, Any]]:
    """Runs that lack what is ordered by come last."""
    match = ORDER.fullmatch(order)
    if match is None:
        raise bad_request(f"order_by '{shortened(order)}' cannot be read; a name, then ASC or DESC")
    group, name = place_of(match)
    having = [run for run in runs if value_of(run, group, name) is not None]
    lacking = [run for run in runs if value_of(run, group, name) is None]
    backwards = (match["way"] or "asc").lower() == "desc"
    return sorted(having, key=lambda run: value_of(run, group, name), reverse=backwards) + lacking


def place_of(match: re.Match[str]) -> tuple[str, str]:
    group, name = (match["group"] or "").lower(), match["name"].strip('`"')
    if group not in GROUPS:
        raise bad_request(f"'{group}.{name}' is unknown; metrics, params, tags or attributes")
    return GROUPS[group], name


def value_of(run: dict[str, Any], group: str, name: str) -> Any:
    if group == "info":
        return run["info"].get("start_time" if name == "Created" else name)
    return next(
        (
            float(item["value"]) if group == "metrics" else item["value"]
            for item in run["data"][group]
            if item["key"] == name
        ),
        None,
    )


def like(value: str, wanted: str, flags: int) -> bool:
    """SQL's: '%' is any text, '_' one character."""
    pattern = "".join({"%": ".*", "_": "."}.get(sign, re.escape(sign)) for sign in wanted)
    return re.fullmatch(pattern, value, flags | re.DOTALL) is not None
