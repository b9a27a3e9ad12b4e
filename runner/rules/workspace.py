"""The workspace: found the same way each time, and no surprise login."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from runner.finding import Finding, error, show, warning
from runner.paths import is_file
from runner.rules.read import on_azure, part

NAMES = ("subscription_id", "resource_group", "name")
IN_FILE = ("subscription_id", "resource_group", "workspace_name")
PLACES = (".azureml/config.json", "aml_config/config.json", "config.json")  # in the order of Workspace.from_config


def config_file(values: Mapping[str, Any], project: Path) -> Iterator[Finding]:
    workspace = part(values, "workspace")
    name = workspace.get("config")
    if not name or not on_azure(values) or workspace.get("kind") != "azureml":
        return
    path = project / name
    found = next((path / place for place in PLACES if is_file(path / place)), path)
    if not is_file(found):
        yield error(
            "workspace.config", f"no config.json at {show(name)}", "download it from the workspace's portal page"
        )
        return
    try:
        content = json.loads(found.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        yield error("workspace.config", f"{show(name)} is not valid JSON", "download it again")
        return
    missing = [key for key in IN_FILE if not isinstance(content, dict) or not content.get(key)]
    if missing and not (isinstance(content, dict) and content.get("Scope")):
        yield error("workspace.config", f"{show(name)} lacks {', '.join(missing)}", "download it again")


def names(values: Mapping[str, Any], _project: Path) -> Iterator[Finding]:
    workspace = part(values, "workspace")
    if not on_azure(values) or workspace.get("kind") != "azureml":
        return
    given = [key for key in NAMES if workspace.get(key) is not None]
    if given and workspace.get("config"):
        message = "the names are given too, and config.json would be ignored"
        yield warning("workspace.config", message, "keep one of the two")
    elif given and len(given) < len(NAMES):
        for key in NAMES:
            if key in workspace and key not in given:
                yield error(
                    f"workspace.{key}", f"no value, but {given[0]} is given", "give all three, or a config.json"
                )


def login(values: Mapping[str, Any], _project: Path) -> Iterator[Finding]:
    auth = part(part(values, "workspace"), "auth")
    if not on_azure(values):
        return
    needs = {"service_principal": ("tenant_id", "client_id", "secret"), "token": ("secret",)}
    for key in needs.get(str(auth.get("kind")), ()):
        if auth.get(key) is None:
            yield error(f"workspace.auth.{key}", f"no value, and {show(auth['kind'])} needs it", "set it")
    if auth.get("kind") == "interactive":
        yield warning("workspace.auth.kind", "'interactive' waits for a browser, which hangs in CI", "use cli")
