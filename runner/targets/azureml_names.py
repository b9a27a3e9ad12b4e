"""Which workspace a configuration means. Apart from what reaches it: every plan for Azure asks, few connect."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runner.emulator import instance
from runner.errors import TargetError

NAMES = ("subscription_id", "resource_group", "name")


def names_of(project: Path, settings: Mapping[str, Any]) -> dict[str, str]:
    """The three names, written out or from a config.json."""
    given = {name: str(settings[name]) for name in NAMES if settings.get(name)}
    if len(given) == len(NAMES):
        return given
    where = project / str(settings["config"]) if settings.get("config") else instance.find_config(project)
    if where is None:
        raise TargetError(
            f"no config.json from '{project}' upward; download it from the workspace's page in the Azure portal, "
            f"or set workspace.{', workspace.'.join(NAMES)}"
        )
    path = where / "config.json" if where.is_dir() else where
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        names = [str(content[key]) for key in ("subscription_id", "resource_group", "workspace_name")]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TargetError(f"'{path}' is no config.json of a workspace ({error}); download it again") from None
    return dict(zip(NAMES, names, strict=True))
