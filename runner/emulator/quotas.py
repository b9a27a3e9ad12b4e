"""The workspace's own quotas, a share of the region's cores for each VM family. They limit nothing here."""

from __future__ import annotations

from typing import Any

from runner.emulator.checking import needed, only_known, rows, shortened, whole_number
from runner.emulator.compute import CORES_QUOTA, LOCATIONS, family_usage, usage
from runner.emulator.messages import Request, Route, bad_request
from runner.emulator.service import Service
from runner.emulator.sizes import sizes

KIND = "Microsoft.MachineLearningServices/workspaces/quotas"
FIELDS = ("id", "type", "limit", "location", "unit")


def list_all(service: Service, request: Request) -> dict[str, Any]:
    """One row for each family; -1: as much as the region has."""
    limits = {found["family"]: found["limit"] for found in service.store.all("quota")}
    return {"value": [shown(service, request, family, limits.get(family, -1)) for family in families()]}


def families() -> list[str]:
    return sorted({family_usage(size.family) for size in sizes().values() if not size.retired_on})


def shown(service: Service, request: Request, family: str, limit: int) -> dict[str, Any]:
    about = {"id": f"{service.scope()}/quotas/{family}", "type": KIND, "limit": limit}
    return {**usage(request.parameters, family, 0), **about}


def update(service: Service, request: Request) -> dict[str, Any]:
    """All of them or none: each names a family of `list_all` at the end of its id."""
    body = only_known(request.object(), ("value",), "the body")
    asked = [only_known(item, FIELDS, "a quota") for item in rows(body.get("value"), "value")]
    wanted = {family_of(item): limit_of(item) for item in asked}
    with service.store.transaction():
        for family, limit in wanted.items():
            service.store.put("quota", "", family, {"family": family, "limit": limit})
    done = {"type": KIND, "unit": "Count", "status": "Success"}
    return {"value": [{**done, "id": item["id"], "limit": limit_of(item)} for item in asked]}


def family_of(item: dict[str, Any]) -> str:
    name = needed(item.get("id"), "the id of a quota").rpartition("/")[2]
    known = {family.lower(): family for family in families()}
    if name.lower() not in known:
        raise bad_request(f"'{shortened(name)}' is no VM family with a quota", "InvalidPropertyValue")
    return known[name.lower()]


def limit_of(item: dict[str, Any]) -> int:
    """Nothing said: no limit of the workspace's own."""
    limit = -1 if item.get("limit") is None else whole_number(item["limit"], "the limit of a quota", -1)
    if limit > CORES_QUOTA:
        raise bad_request(f"the limit of a quota is {limit}; the region has {CORES_QUOTA}", "InvalidPropertyValue")
    return limit


ROUTES = (
    Route("GET", LOCATIONS + "/quotas", list_all, "`AmlCompute.list_quotas`"),
    Route("POST", LOCATIONS + "/updateQuotas", update, "`AmlCompute.update_quotas`"),
)
