"""Compute: what Azure refuses after minutes, or never says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from runner.finding import Finding, error, meant, show, warning
from runner.rules.read import on_azure, part
from runner.vm_sizes import find_size, vm_sizes

RESERVED = ("amlcompute", "local", "containerinstance")  # azureml-core, core/compute/compute.py
SAFE_LENGTH = 16  # older documentation and error texts of the service give 16


def reserved_name(values: Mapping[str, Any], _project: Path) -> Iterator[Finding]:
    name = part(values, "compute").get("name")
    if on_azure(values) and str(name).lower() in RESERVED:
        yield error("compute.name", f"{show(name)} is reserved by Azure", "choose another name")


def long_name(values: Mapping[str, Any], _project: Path) -> Iterator[Finding]:
    name = part(values, "compute").get("name") or ""
    if on_azure(values) and len(name) > SAFE_LENGTH:
        message = f"{show(name)} has {len(name)} characters; some regions have refused more than {SAFE_LENGTH}"
        yield warning("compute.name", message, "choose a shorter name")


def what_creating_needs(values: Mapping[str, Any], _project: Path) -> Iterator[Finding]:
    compute = part(values, "compute")
    if not on_azure(values) or compute.get("create") is not True:
        return
    for key in ("vm_size", "max_nodes"):
        if key in compute and compute[key] is None:
            yield error(f"compute.{key}", "no value, and the cluster may have to be made", "set it, or create: false")


def node_counts(values: Mapping[str, Any], _project: Path) -> Iterator[Finding]:
    compute = part(values, "compute")
    least, most = compute.get("min_nodes") or 0, compute.get("max_nodes")
    if most is not None and least > most:
        yield error("compute.min_nodes", f"{least} is more than compute.max_nodes, {most}", "lower it")
    elif least:
        yield warning("compute.min_nodes", f"{least} nodes are paid for all the time", "set 0 to scale to nothing")


def known_size(values: Mapping[str, Any], _project: Path) -> Iterator[Finding]:
    name = part(values, "compute").get("vm_size")
    if not on_azure(values) or not name:
        return
    size = find_size(name)
    if size is None:
        current = [size.name for size in vm_sizes().values() if not size.retired]
        yield warning("compute.vm_size", f"no size {show(name)} is known", meant(name, current) or "check its spelling")
    elif size.retired:
        instead = "Standard_NC4as_T4_v3" if size.gpus else "Standard_DS3_v2"
        yield error("compute.vm_size", f"{size.name} was retired on {size.retired_on}", f"use {instead} or another")


def network(values: Mapping[str, Any], _project: Path) -> Iterator[Finding]:
    compute = part(values, "compute")
    if compute.get("node_public_ip") is False and "vnet" in compute and compute["vnet"] is None:
        yield error("compute.node_public_ip", "false needs a virtual network", "set compute.vnet")


def login(values: Mapping[str, Any], _project: Path) -> Iterator[Finding]:
    ssh = part(part(values, "compute"), "ssh")
    if ssh.get("user") and not ssh.get("public_key") and not ssh.get("password_secret"):
        yield error("compute.ssh", "a user with neither key nor password", "set public_key or password_secret")
    identity = part(part(values, "compute"), "identity")
    if identity.get("kind") == "system_assigned" and identity.get("ids"):
        yield error("compute.identity.ids", "a system-assigned identity has no ids", "remove them")
