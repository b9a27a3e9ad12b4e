"""What plans would cost on Azure, from dated prices: an estimate with its source, or plainly that no price is known.

Pure but for reading the table of prices. Covers the nodes while the runs take them and the idle tail after the last
run of each cluster; not storage, traffic, image builds or the minutes in which a node starts.
"""

from __future__ import annotations

import csv
import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from runner.errors import ConfigError, Place, Problem
from runner.finding import show
from runner.spec import Job, Plan
from runner.vm_sizes import vm_sizes

PRICES = Path("configs") / "prices.csv"
COLUMNS = ("size", "usd_per_hour", "priority", "region", "date", "source")
NEEDED = ("size", "usd_per_hour", "date")
PRIORITIES = ("dedicated", "lowpriority")
DEFAULT_IDLE_SECONDS = 1800  # azureml-core, AmlCompute.provisioning_configuration
LOWER = "raise it, or lower limits.max_minutes, distribution.nodes or the number of runs"
HOW_TO_PRICE = f"give a price in {PRICES.as_posix()}: {','.join(COLUMNS)}"


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per hour and node, as of `date` (ISO 8601), and who says so."""

    size: str
    usd_per_hour: float
    priority: str
    region: str
    date: str
    source: str


Prices = Mapping[tuple[str, str], Sequence[Price]]


def load_prices(project: Path) -> Prices:
    """Prices by (size in lower case, priority): the project's configs/prices.csv, else what amlrun knows.

    A size and priority that the project's table has is taken from there alone. Raises ConfigError: every wrong line.
    """
    known: dict[tuple[str, str], list[Price]] = {}
    for size in vm_sizes().values():
        if size.usd_per_hour is not None:
            price = Price(
                size.name, size.usd_per_hour, "dedicated", size.price_region, size.price_date, size.price_source
            )
            known.setdefault((size.name.lower(), "dedicated"), []).append(price)
    own: dict[tuple[str, str], list[Price]] = {}
    for price in read_prices(project / PRICES, PRICES.as_posix()) if (project / PRICES).is_file() else ():
        own.setdefault((price.size.lower(), price.priority), []).append(price)
    return {**known, **own}


def priced(plans: Sequence[Plan], project: Path) -> list[Plan]:
    """The same plans, each with its `cost`; the table of prices is read only where something is paid."""
    prices = {} if all(plan.target == "local" for plan in plans) else load_prices(project)
    return [dataclasses.replace(plan, cost=estimate(plan, prices)) for plan in plans]


def estimate(plan: Plan, prices: Prices) -> dict[str, Any]:
    """Cost of one plan alone, in US dollars; {} here, where nothing is paid.

    `usd_per_hour` is of all nodes, `bound_usd` of the longest duration that the plan allows, `idle_usd` of the tail
    after it; each is None where it cannot be known, and `unknown` says why.
    """
    if plan.target == "local":
        return {}
    compute, nodes = plan.config.get("compute") or {}, plan.layout.nodes
    price, unknown = find_price(compute, prices)
    minutes, hourly = plan.limits.get("max_minutes"), price.usd_per_hour if price else None
    idle = compute.get("idle_seconds")
    return {
        "nodes": nodes,
        "max_minutes": minutes,
        "usd_per_hour": dollars(hourly, nodes),
        "bound_usd": dollars(hourly, nodes, minutes and minutes / 60),
        "idle_seconds": DEFAULT_IDLE_SECONDS if idle is None else idle,
        "idle_usd": dollars(hourly, tail_hours([plan])),
        "always_usd_per_hour": dollars(hourly, compute.get("min_nodes") or 0),
        "price": asdict(price) if price else None,
        "unknown": unknown or ("" if minutes else "limits.max_minutes is not set, so there is no upper bound"),
    }


def total(plans: Sequence[Plan]) -> dict[str, Any]:
    """Cost of all plans together; {} where none costs anything. The idle tail counts once for each cluster."""
    paid = [plan for plan in plans if plan.cost]
    if not paid:
        return {}
    clusters: dict[str, list[Plan]] = {}
    for plan in paid:
        clusters.setdefault(cluster_of(plan), []).append(plan)
    tails = [dollars(hourly_of(group[0]), tail_hours(group)) for group in clusters.values()]
    bounds = [plan.cost["bound_usd"] for plan in paid]
    idle = None if None in tails else round(sum(tail for tail in tails if tail), 4)
    runs = None if None in bounds else round(sum(bounds), 4)
    return {
        "runs": len(paid),
        "runs_usd": runs,
        "idle_usd": idle,
        "total_usd": None if runs is None or idle is None else round(runs + idle, 4),
        "unknown": list(dict.fromkeys(plan.cost["unknown"] for plan in paid if plan.cost["unknown"])),
    }


def over_limit(plans: Sequence[Plan], max_cost: float | None, jobs: Sequence[Job] = ()) -> list[Problem]:
    """Why plans must not be sent: they may cost more than the lowest limit, or that cannot be known.

    Limits are `max_cost` (an option) and each plan's `limits.max_cost`; `jobs`, in the order of the plans, say where
    that was set.
    """
    limits = [(float(p.limits["max_cost"]), i) for i, p in enumerate(plans) if p.limits.get("max_cost") is not None]
    limits += [] if max_cost is None else [(max_cost, -1)]
    sums = total(plans)
    if not limits or not sums:
        return []
    limit, index = min(limits)
    place, path = Place.of_override(f"--max-cost={limit:g}"), ""
    if index >= 0:
        path = "limits.max_cost"
        place = jobs[index].config.origin("limits", "max_cost").value if jobs else Place("configs/config.yaml", 1, 1)
    if sums["total_usd"] is None:
        hints = dict.fromkeys(what_to_do(reason) for reason in sums["unknown"])
        message = f"{usd(limit)} cannot be held: {', '.join(sums['unknown'])}"
        return [Problem(place, path, message, ", and ".join(hints))]
    if sums["total_usd"] <= limit:
        return []
    return [Problem(place, path, f"{total_text(plans)}, above {usd(limit)}, by {priced_by(plans)}", LOWER)]


def plan_rows(plan: Plan) -> list[tuple[str, str]]:
    """The lines about cost in a plan's text; none where nothing is paid."""
    cost = plan.cost
    if not cost:
        return []
    if cost["price"] is None:
        return [("cost", f"{cost['unknown']}; {what_to_do(cost['unknown'])}")]
    price, nodes = cost["price"], f"{cost['nodes']} node{'s' * (cost['nodes'] != 1)}"
    rate = f"{price['usd_per_hour']:g} USD/h x {nodes}"
    tail = f"then up to {usd(cost['idle_usd'])} idle ({cost['idle_seconds']} s)"
    if cost["bound_usd"] is None:
        rows = [("cost", f"{usd(cost['usd_per_hour'])} per hour ({rate}), {tail}; {cost['unknown']}")]
    else:
        rows = [("cost", f"at most {usd(cost['bound_usd'])} ({rate} x {cost['max_minutes']} min), {tail}")]
    rows.append(("price", price_text(price)))
    if cost["always_usd_per_hour"]:
        rows.append(("always paid", f"{usd(cost['always_usd_per_hour'])} per hour for compute.min_nodes"))
    return rows


def total_text(plans: Sequence[Plan]) -> str:
    """One line for all plans; '' where nothing is paid."""
    sums = total(plans)
    if not sums:
        return ""
    runs = f"{sums['runs']} run{'s' * (sums['runs'] != 1)}"
    if sums["total_usd"] is None:
        return f"cost of {runs} not bounded: {', '.join(sums['unknown'])}"
    return f"cost of {runs} at most {usd(sums['total_usd'])} ({usd(sums['idle_usd'])} of it idle)"


def find_price(compute: Mapping[str, Any], prices: Prices) -> tuple[Price | None, str]:
    """The price of a node, that of compute.location where the table has it; else why there is none."""
    name, priority = compute.get("vm_size"), compute.get("priority") or "dedicated"
    if not name:
        return None, "compute.vm_size is not set"
    found = prices.get((str(name).lower(), priority), ())
    if not found:
        return None, f"no price known for {name}" + (" at low priority" if priority == "lowpriority" else "")
    here = [price for price in found if price.region and price.region == compute.get("location")]
    return (here or list(found))[0], ""


def tail_hours(plans: Sequence[Plan]) -> float:
    """Node hours that one cluster idles after the last of its runs: nodes that scale down, all at once at worst."""
    compute = plans[0].config.get("compute") or {}
    nodes = max(plan.layout.nodes for plan in plans)
    at_once = min([len(plans), *(n for plan in plans if (n := max_concurrent(plan)) is not None)])
    busy = min(at_once * nodes, max(compute.get("max_nodes") or at_once * nodes, nodes))
    seconds = compute.get("idle_seconds")
    idle = DEFAULT_IDLE_SECONDS if seconds is None else seconds
    return float(max(busy - (compute.get("min_nodes") or 0), 0) * idle / 3600)


def max_concurrent(plan: Plan) -> int | None:
    found = (plan.config.get("sweep") or {}).get("max_concurrent")
    return int(found) if found is not None else None


def cluster_of(plan: Plan) -> str:
    return str((plan.config.get("compute") or {}).get("name"))


def hourly_of(plan: Plan) -> float | None:
    price = plan.cost["price"]
    return float(price["usd_per_hour"]) if price else None


def dollars(*factors: float | None) -> float | None:
    """Their product, None where one of them is."""
    product = 1.0
    for factor in factors:
        if factor is None:
            return None
        product *= factor
    return round(product, 4)


def usd(value: float) -> str:
    return f"{value:.2f} USD"


def price_text(price: Mapping[str, Any]) -> str:
    where = f" in {price['region']}" if price["region"] else ""
    priority = " at low priority" if price["priority"] == "lowpriority" else ""
    return f"{price['size']}{priority}{where}: {price['usd_per_hour']:g} USD/h on {price['date']} ({price['source']})"


def priced_by(plans: Sequence[Plan]) -> str:
    return ", ".join(dict.fromkeys(price_text(plan.cost["price"]) for plan in plans if plan.cost))


def what_to_do(reason: str) -> str:
    if reason.startswith("no price"):
        return HOW_TO_PRICE
    return f"set {reason.split()[0]}"


def read_prices(path: Path, name: str) -> list[Price]:
    """A table of prices; raises ConfigError that names every wrong line, and the file as `name`."""
    problems: list[Problem] = []
    found: list[Price] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            header = tuple(rows.fieldnames or ())
            problems += wrong_header(header, name)
            for row in rows if not problems else ():
                wrong = wrong_cells(row)
                problems += [Problem(Place(name, rows.line_num, 1), key, *words) for key, words in wrong.items()]
                if not wrong:
                    found.append(to_price(row, name))
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        problems.append(Problem(Place(name, 1, 1), "", f"not a CSV table: {error}", HOW_TO_PRICE))
    if problems:
        raise ConfigError(problems)
    return found


def wrong_header(header: Sequence[str], name: str) -> list[Problem]:
    missing = [column for column in NEEDED if column not in header]
    unknown = [column for column in header if column not in COLUMNS]
    said = [f"no column '{column}'" for column in missing] + [f"unknown column '{column}'" for column in unknown]
    return [Problem(Place(name, 1, 1), "", what, f"columns: {', '.join(COLUMNS)}") for what in said]


def wrong_cells(row: Mapping[str | None, Any]) -> dict[str, tuple[str, str]]:
    """What is wrong and what to do, by column."""
    if None in row:
        return {"": ("more cells than columns", "quote cells that hold a comma")}
    wrong: dict[str, tuple[str, str]] = {}
    if not row["size"]:
        wrong["size"] = ("empty", "name a VM size")
    if not re.fullmatch(r"\d+(\.\d+)?|\.\d+", row["usd_per_hour"] or "") or float(row["usd_per_hour"]) <= 0:
        wrong["usd_per_hour"] = (f"{show(row['usd_per_hour'])} is no price", "write US dollars per hour, like 3.67")
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", row["date"] or ""):
        wrong["date"] = (f"{show(row['date'])} is no date", "write the day of the price, like 2026-11-09")
    if (row.get("priority") or "dedicated") not in PRIORITIES:
        wrong["priority"] = (f"{show(row['priority'])} is not one of them", f"use {' or '.join(PRIORITIES)}")
    return wrong


def to_price(row: Mapping[str, str | None], name: str) -> Price:
    return Price(
        size=str(row["size"]).strip(),
        usd_per_hour=float(row["usd_per_hour"] or 0),
        priority=row.get("priority") or "dedicated",
        region=row.get("region") or "",
        date=str(row["date"]),
        source=row.get("source") or name,
    )
