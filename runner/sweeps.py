"""A sweep that was sent: runs that were submitted together, and the name they have together."""

from __future__ import annotations

import secrets
import string
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from runner.spec import Plan, jsonable

# The tag by which a run knows its sweep.
TAG = "amlrun_sweep"
ALPHABET = string.digits + string.ascii_lowercase


@dataclass(frozen=True, slots=True)
class Sweep:
    """`runs` are ids in the order of the points, `swept` the override keys in which points differ.

    `overrides` are the command line's. `metric` and `goal` say which point is best (None: decided when asked).
    `options` are `{"stop_on_failure", "max_cost", "max_concurrent"}`, `sweep` the values of the `sweep` group.
    `replaced` maps a run that was repeated to the one that stands in its place.
    """

    id: str
    name: str
    created: str
    runs: tuple[str, ...]
    overrides: tuple[str, ...] = ()
    swept: tuple[str, ...] = ()
    metric: str | None = None
    goal: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    sweep: Mapping[str, Any] | None = None
    replaced: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        done: dict[str, Any] = jsonable(asdict(self))
        return done

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Sweep:
        """What a later version adds is left out."""
        values = {each.name: data[each.name] for each in fields(cls) if each.name in data}
        lists = {name: tuple(values.get(name) or ()) for name in ("runs", "overrides", "swept")}
        return cls(**{**values, **lists})


def together(
    plans: Sequence[Plan], overrides: Sequence[str], options: Mapping[str, Any], *, growing: bool = False
) -> tuple[Sweep | None, list[Plan]]:
    """The sweep that the plans are, and the plans with its tag; None for one plan alone, unless more will come."""
    if len(plans) < 2 and not growing:
        return None, list(plans)
    first, group = plans[0], plans[0].config.get("sweep") or None
    asked = group or {}
    sweep = Sweep(
        id=f"{first.id.rsplit('-', 2)[0]}-sweep-{''.join(secrets.choice(ALPHABET) for _ in range(8))}",
        name=first.name,
        created=first.created,
        runs=tuple(plan.id for plan in plans),
        overrides=tuple(overrides),
        swept=differing(plans),
        metric=asked.get("metric"),
        goal=asked.get("goal"),
        options={"stop_on_failure": False, "max_cost": None, "max_concurrent": asked.get("max_concurrent"), **options},
        sweep=group,
    )
    return sweep, [tagged(plan, {**plan.tags, TAG: sweep.id}) for plan in plans]


def asked_of(first: Plan) -> Mapping[str, Any]:
    """The `sweep` group."""
    return first.config.get("sweep") or {}


def grows(plans: Sequence[Plan]) -> bool:
    """Whether their sweep draws points from results: of it only the first plan is known."""
    return asked_of(plans[0]).get("sampler") == "bayesian"


def whole(plans: Sequence[Plan]) -> list[Plan]:
    """As many as will run: a plan whose sweep draws the others from results stands for all of them."""
    return [plan for plan in plans for _ in range(int(asked_of(plan)["max_total"]) if grows([plan]) else 1)]


def is_held(sweep: Sweep, first: Plan) -> bool:
    """Whether something has to see to it that not all run at once, or that none begins after a failure.

    Here that is the queue of this machine; a service runs whatever it has.
    """
    at_once = sweep.options.get("max_concurrent")
    few = at_once is not None and at_once < len(sweep.runs)
    return first.target != "local" and (few or bool(sweep.options.get("stop_on_failure")))


def differing(plans: Sequence[Plan]) -> tuple[str, ...]:
    """The override keys that are not the same in all plans, in the order of the command line."""
    points = [pairs(plan.overrides) for plan in plans]
    known = dict.fromkeys(key for point in points for key in point)
    return tuple(key for key in known if len({point.get(key) for point in points}) > 1)


def pairs(overrides: Sequence[str]) -> dict[str, str]:
    """Overrides as key and value: `+a.b=1` sets 'a.b'."""
    return {key.lstrip("+~"): value for key, _, value in (text.partition("=") for text in overrides)}


def point(sweep: Sweep, plan: Plan) -> dict[str, str]:
    """What sets the plan apart from the others of its sweep."""
    own = pairs(plan.overrides)
    return {key: own[key] for key in sweep.swept if key in own}


def without_sweep(plan: Plan) -> Plan:
    """The plan as a run of its own."""
    return tagged(plan, {name: value for name, value in plan.tags.items() if name != TAG})


def tagged(plan: Plan, tags: Mapping[str, str]) -> Plan:
    """With these tags, also in what the target is to be sent."""
    request = {**plan.request, "tags": dict(tags)} if "tags" in plan.request else plan.request
    return replace(plan, tags=tags, request=request)


def repeated(sweep: Sweep, instead: Mapping[str, str]) -> Sweep:
    """With other runs in the places of some: `instead` maps the old to the new."""
    runs = tuple(instead.get(run_id, run_id) for run_id in sweep.runs)
    return replace(sweep, runs=runs, replaced={**sweep.replaced, **instead})
