"""JSON schemas for editors: those that validation uses, completed with what this project has to choose from."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from runner.choices import first_comment, group_options, targets
from runner.resources import packaged
from runner.schema_check import GENERATED, load

Schema = dict[str, Any]


def generate(project: Path) -> dict[str, Schema]:
    """Every schema by name. `experiment` lists groups and options in its defaults list, groups list their targets."""
    options = group_options(project)
    made = {name: copy.deepcopy(load(name, project / "schemas")) for name in names(project)}
    made["experiment"]["properties"]["defaults"]["items"] = defaults_item(options)
    made["experiment"]["$defs"] = {
        **made["experiment"].get("$defs", {}),
        **{choice_name(group): choice(group, found) for group, found in options.items()},
    }
    for group in options:
        for target in target_properties(made.get(group, {})):
            target["examples"] = targets(project, group)
    return {name: {"$comment": GENERATED, **schema} for name, schema in made.items()}


def names(project: Path) -> list[str]:
    folders = (packaged("schemas"), project / "schemas")
    return sorted({path.name.removesuffix(".schema.json") for f in folders for path in f.glob("*.schema.json")})


def defaults_item(options: Mapping[str, Mapping[str, Path]]) -> Schema:
    """One line of a defaults list: a word (`_self_`, `group/option`), or `group: option` with Hydra's prefixes."""
    words = ["_self_", *options.get("experiment", ()), *(f"/{g}/{o}" for g, found in options.items() for o in found)]
    entries = {
        f"{prefix}{group}": {"$ref": f"#/$defs/{choice_name(group)}"}
        for prefix in ("override /", "", "/", "optional ", "optional /")
        for group in options
    }
    placed = {
        rf"^((override|optional) )?/?{re.escape(group)}@.+$": {"$ref": f"#/$defs/{choice_name(group)}"}
        for group in options
    }
    return {
        "if": {"type": "string"},
        "then": {"anyOf": [{"enum": words}, {"pattern": r"@|\$\{|^/?hydra/"}]},
        "else": {
            "type": "object",
            "properties": entries,
            "patternProperties": {**placed, r"^((override|optional) )?/?hydra/": {"type": ["string", "null"]}},
            "additionalProperties": False,
        },
    }


def choice_name(group: str) -> str:
    return f"choice-{group.replace('/', '-')}"


def choice(group: str, options: Mapping[str, Path]) -> Schema:
    listed = {"enum": list(options), "enumDescriptions": [first_comment(file) for file in options.values()]}
    return {
        "description": f"An option of configs/{group}, or several of them.",
        "anyOf": [
            listed,
            {"type": "null"},
            {"type": "string", "pattern": r"\$\{"},
            {"type": "array", "items": {"enum": list(options)}},
        ],
    }


def target_properties(schema: Schema) -> Iterator[Schema]:
    """The `_target_` property of a group's schema, wherever in it that stands."""
    for part in (schema, *schema.get("$defs", {}).values()):
        found = part.get("properties", {}).get("_target_")
        if isinstance(found, dict):
            yield found
