"""AmlCompute clusters: create, read, change, delete, nodes, sizes and quotas. Nodes cost nothing and appear at once."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any, Protocol, runtime_checkable

from runner.emulator.checking import needed, only_known, section, shortened, text, text_pairs, whole_number
from runner.emulator.messages import Request, Response, Route, ServiceError, bad_request, not_found, now
from runner.emulator.service import LOCATION, Service
from runner.emulator.sizes import Size, sizes

COMPUTE = "{ws}/computes/{compute}"
# azure-docs, resource-name-rules.md
NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{1,30}[A-Za-z0-9]")
PRIORITIES = {"dedicated": "Dedicated", "lowpriority": "LowPriority"}
BODY_FIELDS = ("location", "tags", "properties", "identity", "sku")
OUTER_FIELDS = ("computeType", "description", "properties", "computeLocation", "resourceId", "disableLocalAuth")
FIELDS = (
    "vmSize",
    "vmPriority",
    "scaleSettings",
    "userAccountCredentials",
    "subnet",
    "remoteLoginPortPublicAccess",
    "enableNodePublicIp",
    "osType",
    "isolatedNetwork",
)
IDENTITY_FIELDS = ("type", "userAssignedIdentities", "principalId", "tenantId")
IDENTITIES = frozenset({"systemassigned", "userassigned", "none"})
SCALE_FIELDS = ("minNodeCount", "maxNodeCount", "nodeIdleTimeBeforeScaleDown")
# azureml/core/compute/amlcompute.py, AmlComputeNodeStateCounts
NODE_STATES = ("idle", "running", "preparing", "leaving", "unusable", "preempted")
DEFAULT_IDLE = "PT1800S"
NODES_PER_CLUSTER = 100
CORES_QUOTA = 1000
DEDICATED, LOW_PRIORITY = "Total Cluster Dedicated Regional vCPUs", "Total Cluster LowPriority Regional vCPUs"


@runtime_checkable
class Holding(Protocol):
    """An engine that knows which run is on a node (and which of the run's nodes it is), and which it is driven off."""

    def holder(self, compute: str, number: int) -> tuple[str, int] | None: ...

    def evicted(self, run_id: str) -> Collection[int]: ...


def create(service: Service, request: Request) -> Response:
    """PUT: a new cluster, or another scale for one that exists. The size and priority of a cluster never change."""
    body = only_known(request.object(), BODY_FIELDS, "the body")
    outer = only_known(body.get("properties") or {}, OUTER_FIELDS, "properties")
    if str(outer.get("computeType", "")).lower() != "amlcompute":
        raise bad_request(
            f"computeType '{outer.get('computeType')}' is not supported; the emulator has AmlCompute only"
        )
    name = request.parameters["compute"]
    if not NAME.fullmatch(name):
        raise bad_request(f"compute name '{name}' is invalid; 3-32 letters, digits and '-', a letter first")
    asked = only_known(outer.get("properties") or {}, FIELDS, "properties.properties")
    wanted = {
        "name": name,
        "size": checked_size(asked.get("vmSize")).name,
        "priority": checked_priority(asked.get("vmPriority")),
        "scale": checked_scale(asked.get("scaleSettings")),
        "subnet": checked_subnet(asked.get("subnet")),
        "credentials": without_secrets(asked.get("userAccountCredentials")),
        "remote_login": text(asked.get("remoteLoginPortPublicAccess"), "remoteLoginPortPublicAccess") or "NotSpecified",
        "identity": checked_identity(body.get("identity")),
        "tags": None if body.get("tags") is None else text_pairs(body["tags"], "tags"),
        "location": text(body.get("location"), "location") or LOCATION,
        "description": text(outer.get("description"), "description"),
    }
    return saved(service, request, wanted)


def saved(service: Service, request: Request, wanted: dict[str, Any]) -> Response:
    with service.store.transaction():
        found = service.store.get("compute", "", wanted["name"].lower())
        if found is not None:
            for field in ("size", "priority"):
                if found[field] != wanted[field]:
                    raise bad_request(f"the {field} of compute '{found['name']}' cannot change; delete it first")
        created = found["created"] if found else now()
        wanted = {**wanted, "created": created, "modified": now()}
        service.store.put("compute", "", wanted["name"].lower(), wanted)
    operation = f"{service.origin}/operations/done"
    return Response(document(service, request, wanted), 200 if found else 201, {"Azure-AsyncOperation": operation})


def checked_size(name: Any) -> Size:
    if not name:
        raise bad_request("vmSize is missing")
    size = sizes().get(str(name).lower())
    if size is None:
        close = difflib.get_close_matches(str(name).lower(), list(sizes()), n=1)
        hint = f"; did you mean '{sizes()[close[0]].name}'?" if close else ""
        raise bad_request(f"VM size '{name}' does not exist{hint}", "InvalidPropertyValue")
    if size.retired_on:
        raise bad_request(
            f"VM size '{name}' was retired ({size.retired_on}); e.g. 'Standard_NC4as_T4_v3' has a GPU",
            "InvalidPropertyValue",
        )
    return size


def checked_priority(name: Any) -> str:
    found = PRIORITIES.get(str(name or "dedicated").lower())
    if found is None:
        raise bad_request(f"vmPriority '{name}' is unknown; 'dedicated' or 'lowpriority'", "InvalidPropertyValue")
    return found


def checked_scale(value: Any) -> dict[str, Any]:
    scale = only_known(value or {}, SCALE_FIELDS, "scaleSettings")
    most = whole_number(scale.get("maxNodeCount"), "maxNodeCount", 0)
    least = whole_number(scale.get("minNodeCount") or 0, "minNodeCount", 0)
    if least > most or most > NODES_PER_CLUSTER:
        raise bad_request(f"minNodeCount {least} and maxNodeCount {most}: 0 <= min <= max <= {NODES_PER_CLUSTER}")
    idle = scale.get("nodeIdleTimeBeforeScaleDown") or DEFAULT_IDLE
    if not re.fullmatch(r"P(?=.)(\d+D)?(T(?=.)(\d+H)?(\d+M)?(\d+(\.\d+)?S)?)?", str(idle)):
        raise bad_request(f"nodeIdleTimeBeforeScaleDown '{idle}' is no duration", "InvalidPropertyValue")
    return {"minNodeCount": least, "maxNodeCount": most, "nodeIdleTimeBeforeScaleDown": idle}


def checked_subnet(value: Any) -> dict[str, str] | None:
    if value is None:
        return None
    subnet = only_known(section(value, "subnet"), ("id",), "subnet")
    return {"id": needed(subnet.get("id"), "the id of subnet")}


def checked_identity(value: Any) -> dict[str, Any] | None:
    """Of the system, of users, or both; of users each by its ARM id."""
    if value is None:
        return None
    identity = only_known(section(value, "identity"), IDENTITY_FIELDS, "identity")
    kinds = {word.strip().lower() for word in needed(identity.get("type"), "the type of identity").split(",")}
    users = section(identity.get("userAssignedIdentities"), "userAssignedIdentities")
    if not kinds <= IDENTITIES or len(kinds) > len(IDENTITIES - {"none"}):
        raise bad_request(f"the type of identity is '{shortened(identity['type'])}'; SystemAssigned or UserAssigned")
    if ("userassigned" in kinds) != bool(users):
        raise bad_request("userAssignedIdentities goes with an identity of type UserAssigned, and that with it")
    return identity


def without_secrets(credentials: Any) -> dict[str, Any]:
    """Azure never gives a password or key back, and the store does not keep one."""
    given = section(credentials, "userAccountCredentials")
    return {"adminUserName": given.get("adminUserName"), "adminUserPassword": None, "adminUserSshPublicKey": None}


def document(service: Service, request: Request, cluster: dict[str, Any]) -> dict[str, Any]:
    """A cluster as Azure shows it. `subnet` must be there, `identity` must not be null: the SDK trips over both."""
    there = nodes_of(service, cluster)
    counted = Counter(node["nodeState"] for node in there)
    details = {
        "vmSize": cluster["size"],
        "vmPriority": cluster["priority"],
        "scaleSettings": cluster["scale"],
        "subnet": cluster["subnet"],
        "userAccountCredentials": cluster["credentials"],
        "remoteLoginPortPublicAccess": cluster["remote_login"],
        "osType": "Linux",
        "enableNodePublicIp": True,
        "currentNodeCount": len(there),
        "targetNodeCount": len(there),
        "nodeStateCounts": {f"{state}NodeCount": counted[state] for state in NODE_STATES},
        "allocationState": "Steady",
        "allocationStateTransitionTime": cluster["modified"],
        "errors": None,
    }
    outer = {
        "computeType": "AmlCompute",
        "computeLocation": cluster["location"],
        "description": cluster["description"],
        "resourceId": None,
        "provisioningState": "Succeeded",
        "provisioningErrors": None,
        "isAttachedCompute": False,
        "disableLocalAuth": False,
        "createdOn": cluster["created"],
        "modifiedOn": cluster["modified"],
        "properties": details,
    }
    shown = {
        "id": f"{service.scope(request.parameters)}/computes/{cluster['name']}",
        "name": cluster["name"],
        "type": "Microsoft.MachineLearningServices/workspaces/computes",
        "location": cluster["location"],
        "tags": cluster["tags"],
        "properties": outer,
    }
    return {**shown, "identity": cluster["identity"]} if cluster["identity"] else shown


def require(service: Service, name: str) -> dict[str, Any]:
    found = service.store.get("compute", "", name.lower())
    if found is None:
        raise not_found(f"compute '{name}' does not exist in this workspace", "ComputeNotFound")
    return found


def get(service: Service, request: Request) -> dict[str, Any]:
    return document(service, request, require(service, request.parameters["compute"]))


def list_all(service: Service, request: Request) -> dict[str, Any]:
    return {"value": [document(service, request, cluster) for cluster in service.store.all("compute")]}


def change(service: Service, request: Request) -> Response:
    """PATCH: the scale of a cluster."""
    cluster = require(service, request.parameters["compute"])
    body = only_known(request.object(), BODY_FIELDS, "the body")
    outer = only_known(body.get("properties") or {}, OUTER_FIELDS, "properties")
    asked = only_known(outer.get("properties") or {}, ("scaleSettings",), "properties.properties")
    return saved(service, request, {**cluster, "scale": checked_scale(asked.get("scaleSettings"))})


def delete(service: Service, request: Request) -> Response:
    cluster = require(service, request.parameters["compute"])
    if service.engine.nodes_in_use(cluster["name"]):
        raise ServiceError(409, "Conflict", f"runs are using compute '{cluster['name']}'; cancel them first")
    service.store.delete("compute", "", cluster["name"].lower())
    return Response({}, 202, {"Azure-AsyncOperation": f"{service.origin}/operations/done"})


def nodes(service: Service, request: Request) -> dict[str, Any]:
    """Without `nextLink`: null would be followed as an address."""
    return {"nodes": nodes_of(service, require(service, request.parameters["compute"]))}


def nodes_of(service: Service, cluster: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each node, whether it has a run, and which. One that a run is just being driven off is `preempted`."""
    name, engine = cluster["name"], service.engine
    busy = engine.nodes_in_use(name)
    found = []
    for number in range(max(busy, cluster["scale"]["minNodeCount"])):
        run_id, own = (engine.holder(name, number) if isinstance(engine, Holding) else None) or (None, 0)
        evicted = isinstance(engine, Holding) and run_id is not None and own in engine.evicted(run_id)
        found.append(
            {
                "nodeId": f"{name}-{number}",
                "port": 0,
                "publicIpAddress": "127.0.0.1",
                "privateIpAddress": "127.0.0.1",
                "nodeState": "preempted" if evicted else "running" if run_id or number < busy else "idle",
                "runId": run_id,
            }
        )
    return found


def operation(service: Service, request: Request) -> dict[str, Any]:
    return {"status": "Succeeded"}


def size_list(service: Service, request: Request) -> dict[str, Any]:
    current = [size for size in sizes().values() if not size.retired_on]
    return {
        "amlCompute": [
            {
                "name": size.name,
                "family": f"standard{size.family}Family",
                "vCPUs": size.vcpus,
                "gpus": int(size.gpus),
                "memoryGB": size.memory_gib,
                "lowPriorityCapable": True,
                "premiumIO": False,
                "osVhdSizeMB": 1_047_552,
                "maxResourceVolumeMB": 100_000,
                "supportedComputeTypes": ["AmlCompute", "ComputeInstance"],
            }
            for size in current
        ]
    }


def usages(service: Service, request: Request) -> dict[str, Any]:
    """Cores in use and allowed, in all, of low priority, and of each family: a round number, as nothing limits them."""
    used: Counter[str] = Counter()
    for cluster in service.store.all("compute"):
        size = sizes()[cluster["size"].lower()]
        cores = size.vcpus * max(service.engine.nodes_in_use(cluster["name"]), cluster["scale"]["minNodeCount"])
        low = cluster["priority"] == "LowPriority"
        used.update(dict.fromkeys([LOW_PRIORITY] if low else [DEDICATED, family_usage(size.family)], cores))
    families = sorted({family_usage(size.family) for size in sizes().values() if not size.retired_on})
    rows = [usage(request.parameters, name, used[name]) for name in (DEDICATED, LOW_PRIORITY, *families)]
    return {"value": rows}  # without nextLink, as for nodes


def family_usage(family: str) -> str:
    return f"Standard {family} Family Cluster Dedicated vCPUs"


def usage(parameters: Mapping[str, str], name: str, used: int) -> dict[str, Any]:
    scope = f"/subscriptions/{parameters['subscription']}/providers/Microsoft.MachineLearningServices"
    return {
        "id": f"{scope}/locations/{parameters['location']}/usages/{name.replace(' ', '')}",
        "type": "Microsoft.MachineLearningServices/usages",
        "unit": "Count",
        "currentValue": used,
        "limit": CORES_QUOTA,
        "name": {"value": name, "localizedValue": name},
    }


LOCATIONS = "/subscriptions/{subscription}/providers/Microsoft.MachineLearningServices/locations/{location}"
ROUTES = (
    Route("PUT", COMPUTE, create, "`ComputeTarget.create`"),
    Route("PATCH", COMPUTE, change, "`AmlCompute.update`"),
    Route("GET", COMPUTE, get, "`AmlCompute.wait_for_completion`, `.get_status`"),
    Route("DELETE", COMPUTE, delete, "`AmlCompute.delete`"),
    Route("GET", "{ws}/computes", list_all, "`ws.compute_targets`"),
    Route("POST", COMPUTE + "/listNodes", nodes, "`AmlCompute.list_nodes`"),
    Route("GET", "/rp/workspaces" + COMPUTE, get, "`ComputeTarget(ws, name)`"),
    Route("GET", "/rp/workspaces{ws}/computes", list_all, "`ws.compute_targets`"),
    Route("PUT", "/rp/workspaces" + COMPUTE, create, "`ComputeTarget.create`"),
    Route("PATCH", "/rp/workspaces" + COMPUTE, change, "`AmlCompute.update`"),
    Route("DELETE", "/rp/workspaces" + COMPUTE, delete, "`AmlCompute.delete`"),
    Route("POST", "/rp/workspaces" + COMPUTE + "/listNodes", nodes, "`AmlCompute.list_nodes`"),
    Route("GET", "/operations/{operation}", operation, "`AmlCompute.wait_for_completion`"),
    Route("GET", LOCATIONS + "/vmSizes", size_list, "`AmlCompute.supported_vmsizes`"),
    Route("GET", LOCATIONS + "/usages", usages, "`AmlCompute.list_usages`"),
)
