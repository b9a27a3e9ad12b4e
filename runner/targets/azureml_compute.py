"""The cluster: found, made exactly as asked, or changed where Azure can change it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from runner.errors import TargetError
from runner.targets.azureml_workspace import Service, quiet, say, service_errors

NOT_FOUND = "ComputeTargetNotFound"
IDENTITIES = {"system_assigned": "SystemAssigned", "user_assigned": "UserAssigned"}
DURATION = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:([\d.]+)S)?)?")
PORTS = {"enabled": "Enabled", "disabled": "Disabled", None: "NotSpecified"}


@dataclass(frozen=True, slots=True)
class Setting:
    """Something a YAML says about a cluster: where the SDK keeps it, and what `update` calls it (None: it is fixed)."""

    key: str
    found: Callable[[Any], Any]
    update: str | None = None


def find(service: Service, name: str) -> Any | None:
    """The cluster; None only where the workspace says that it has none of that name. Raises TargetError."""
    from azureml.core.compute import ComputeTarget
    from azureml.exceptions import ComputeTargetException

    with service_errors(f"cannot ask for the cluster '{name}'"), quiet():
        try:
            return ComputeTarget(service.workspace, name)
        except ComputeTargetException as error:
            # The same class tells of 403, 429 and 500.
            if str(error.message).startswith(NOT_FOUND):
                return None
            raise


def ready(service: Service, asked: Mapping[str, Any]) -> Any:
    """The cluster, there to be used. Raises TargetError."""
    cluster = find(service, str(asked["name"]))
    if cluster is None:
        if not asked.get("create"):
            raise missing(service, str(asked["name"]))
        return made(service, asked)
    if asked.get("create"):
        if not is_cluster(cluster):
            raise TargetError(f"'{asked['name']}' is no AmlCompute cluster, but {cluster.type}; name another one")
        reconcile(cluster, asked)
    return cluster


def is_cluster(found: Any) -> bool:
    """A workspace has targets of other kinds under the same names: machines, Kubernetes."""
    return str(getattr(found, "type", "AmlCompute")).lower() == "amlcompute"


def missing(service: Service, name: str) -> TargetError:
    with service_errors("cannot list the clusters"), quiet():
        there = ", ".join(f"'{known}'" for known in service.workspace.compute_targets) or "none"
    return TargetError(f"no cluster '{name}' in workspace '{service.workspace.name}'; there are: {there}")


def made(service: Service, asked: Mapping[str, Any]) -> Any:
    from azureml.core.compute import AmlCompute, ComputeTarget

    name = str(asked["name"])
    say(f"making cluster '{name}': {asked['vm_size']}, {asked.get('min_nodes') or 0} to {asked['max_nodes']} nodes")
    with service_errors(f"the cluster '{name}' cannot be made"), quiet():
        settings = AmlCompute.provisioning_configuration(**provisioning(asked))
        cluster = ComputeTarget.create(service.workspace, name, settings)
        cluster.wait_for_completion(show_output=False, timeout_in_minutes=asked.get("timeout_minutes") or 25)
    if cluster.provisioning_state != "Succeeded":
        raise TargetError(f"the cluster '{name}' was not made: {cluster.provisioning_state} {problems(cluster)}")
    say(f"cluster '{name}' is there")
    return cluster


def provisioning(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `AmlCompute.provisioning_configuration`, word for word what the YAML says."""
    vnet, identity, ssh = (asked.get(key) or {} for key in ("vnet", "identity", "ssh"))
    return {
        "vm_size": asked["vm_size"],
        "vm_priority": asked.get("priority") or "dedicated",
        "min_nodes": asked.get("min_nodes") or 0,
        "max_nodes": asked["max_nodes"],
        "idle_seconds_before_scaledown": asked.get("idle_seconds") or 1800,
        "location": asked.get("location"),
        "description": asked.get("description") or None,
        "tags": dict(asked.get("tags") or {}) or None,
        "vnet_resourcegroup_name": vnet.get("resource_group"),
        "vnet_name": vnet.get("name"),
        "subnet_name": vnet.get("subnet"),
        "identity_type": IDENTITIES.get(str(identity.get("kind"))),
        "identity_id": list(identity["ids"]) if identity.get("ids") else None,
        "admin_username": ssh.get("user"),
        "admin_user_ssh_key": ssh.get("public_key"),
        "remote_login_port_public_access": PORTS[ssh.get("public_port")],
        "enable_node_public_ip": bool(asked.get("node_public_ip", True)),
    }


def idle_seconds(cluster: Any) -> int | None:
    return seconds_of(cluster.scale_settings.idle_seconds_before_scaledown)


def seconds_of(duration: Any) -> int | None:
    """The service writes ISO 8601 ('PT10M'), the SDK hands on a number, that text or a timedelta."""
    if duration is None:
        return None
    if isinstance(duration, str):
        found = DURATION.fullmatch(duration)
        days, hours, minutes, seconds = (float(part or 0) for part in found.groups()) if found else (0.0,) * 4
        return int(((days * 24 + hours) * 60 + minutes) * 60 + seconds)
    return int(getattr(duration, "total_seconds", lambda: duration)())


SETTINGS = (
    Setting("vm_size", lambda cluster: cluster.vm_size),
    Setting("priority", lambda cluster: cluster.vm_priority),
    Setting("min_nodes", lambda cluster: cluster.scale_settings.minimum_node_count, "min_nodes"),
    Setting("max_nodes", lambda cluster: cluster.scale_settings.maximum_node_count, "max_nodes"),
    Setting(
        "idle_seconds",
        idle_seconds,
        "idle_seconds_before_scaledown",
    ),
)


def differences(cluster: Any, asked: Mapping[str, Any]) -> list[tuple[Setting, Any, Any]]:
    """What the YAML says otherwise than the cluster is: (setting, asked, found)."""
    found = [(setting, asked.get(setting.key), setting.found(cluster)) for setting in SETTINGS]
    return [(setting, want, have) for setting, want, have in found if want is not None and not same(want, have)]


def same(asked: Any, found: Any) -> bool:
    return str(asked).lower() == str(found).lower()


def reconcile(cluster: Any, asked: Mapping[str, Any]) -> None:
    """Show every difference; change what can be changed."""
    changes = {}
    for setting, want, have in differences(cluster, asked):
        done = "changing it" if setting.update else "it stays: Azure cannot change it, make a cluster of another name"
        say(f"cluster '{cluster.name}' has {setting.key} {have}, compute.{setting.key} says {want}; {done}")
        if setting.update:
            changes[setting.update] = want
    if changes:
        with service_errors(f"the cluster '{cluster.name}' cannot be changed"), quiet():
            cluster.update(**changes)


def problems(cluster: Any) -> str:
    return "; ".join(str(getattr(item, "message", item)) for item in cluster.provisioning_errors or ())
