"""Where runs go: a row per kind of target, imported on use."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import cast

from runner.errors import TargetError
from runner.spec import Plan, Target

TARGETS: Mapping[str, str] = {
    "local": "runner.targets.local:Local",
    "azureml": "runner.targets.azureml:AzureML",
    "azureml_v2": "runner.targets.azureml_v2:AzureMLv2",
}


def load_target(kind: str, project: Path | None = None) -> Target:
    """The target of this kind. `project` is where its runs are kept; what only concerns plans does without.

    Raises TargetError if there is no such kind.
    """
    if kind not in TARGETS:
        import difflib

        similar = difflib.get_close_matches(kind, TARGETS, 1)
        hint = f"did you mean '{similar[0]}'?" if similar else f"there are: {', '.join(TARGETS)}"
        raise TargetError(f"no target '{kind}'; {hint}")
    module, _, name = TARGETS[kind].partition(":")
    kind_class = getattr(importlib.import_module(module), name)
    return cast("Target", kind_class() if project is None else kind_class(project))


def addressed(plan: Plan, project: Path) -> Plan:
    """The plan with the workspace that it goes to, and its target's own view of it."""
    named = replace(plan, workspace=workspace_name(plan, project))
    return replace(named, request=load_target(plan.target, project).request(named))


def workspace_name(plan: Plan, project: Path) -> str:
    """As the configuration or its config.json says; '' where that is not there (a plan can be made without)."""
    if plan.target == "local":
        return ""
    from runner.targets.azureml_names import names_of

    with contextlib.suppress(TargetError):
        return names_of(project, plan.config["workspace"])["name"]
    return ""
