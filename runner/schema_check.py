"""JSON Schema over a part of a configuration; every violation becomes a Finding in plain words.

jsonschema is imported inside: it costs 0.2 s and `--help` needs none of it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from runner.errors import ConfigError, Place, Problem
from runner.finding import Finding, meant, one_of, show
from runner.finding import Path as Keys
from runner.resources import packaged

MISSING = "???"
DEEPEST = 40
GENERATED = "written by 'amlrun schema' for editors; validation does not read it"


def unknown_top(values: Mapping[str, Any], schemas: Path) -> list[Finding]:
    """Top-level keys that do not exist."""
    known = load("job", schemas)["properties"]
    return [unknown_key(key, known) for key in values if key not in known]


def absent_top(values: Mapping[str, Any], schemas: Path) -> list[Finding]:
    """Top-level keys that must be there and are not."""
    return [absent((key,)) for key in load("job", schemas)["required"] if key not in values]


def check_part(key: str, value: Any, schemas: Path, *, valid: bool = False) -> tuple[Any, list[Finding]]:
    """One top-level key against the job's schema: the value without what is wrong in it, and what is wrong.

    `valid`: that nothing is wrong is known.
    """
    found: list[Finding] = []
    clean = sanitize(value, (key,), found)
    if clean is MISSING or valid:
        return clean, found
    gone = {finding.path for finding in found}
    for error in validator(key, schemas).iter_errors(clean):
        found += [f for f in describe(error, key, schemas) if f.path not in gone]
    found = list(dict.fromkeys(found))
    return prune(clean, {finding.path[1:] for finding in found}), found


@lru_cache(maxsize=256)
def validator(key: str, schemas: Path) -> Any:
    cls, registry = dialect(schemas)
    own = load("job", schemas)["properties"][key].get("$ref", "").partition("#")[0]
    if own:
        registry = registry.get_or_retrieve(own).registry.crawl()
    return cls({"$ref": f"job.schema.json#/properties/{key}"}, registry=registry)


@lru_cache(maxsize=16)
def dialect(schemas: Path) -> tuple[Any, Any]:
    """JSON Schema with our notion of numbers and patterns, and where it finds what a schema refers to.

    What a registry learns while it validates is forgotten with that: it is given the schemas it will need before.
    """
    from jsonschema import Draft202012Validator, validators
    from referencing import Registry
    from referencing.jsonschema import DRAFT202012

    def retrieve(uri: str) -> Any:
        return DRAFT202012.create_resource(load(uri.removesuffix(".schema.json"), schemas))

    types = Draft202012Validator.TYPE_CHECKER.redefine_many({"integer": is_integer, "number": is_number})
    extend: Any = validators.extend  # untyped in jsonschema's stubs
    cls = extend(Draft202012Validator, {"pattern": match_pattern}, type_checker=types)
    registry: Registry[Any] = Registry(retrieve=retrieve)  # type: ignore[call-arg]
    return cls, registry.get_or_retrieve("job.schema.json").registry.crawl()


@lru_cache(maxsize=64)
def load(name: str, schemas: Path) -> Any:
    """A schema by name: the project's, unless it was generated from the packaged one; else the packaged one."""
    own = schemas / f"{name}.schema.json"
    path = own if own.is_file() else packaged("schemas") / own.name
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if path == own and isinstance(found, dict) and found.get("$comment") == GENERATED:
            found = json.loads((packaged("schemas") / own.name).read_text(encoding="utf-8"))
        return found
    except ValueError as error:
        raise ConfigError(
            [Problem(Place(str(path)), "", f"not a JSON file: {error}", "repair or remove it")]
        ) from error


def is_integer(_checker: Any, value: Any) -> bool:
    """1.0 is no integer here: the value travels as it was written."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(_checker: Any, value: Any) -> bool:
    """Infinite and NaN are no numbers in JSON, and no digest of them would be portable."""
    return is_integer(_checker, value) or (isinstance(value, float) and math.isfinite(value))


def match_pattern(_validator: Any, pattern: str, value: Any, _schema: Any) -> Iterator[Any]:
    """As jsonschema does it, except that `$` does not match before a last line break."""
    from jsonschema import ValidationError

    if isinstance(value, str) and (value.endswith("\n") or not re.search(pattern, value)):
        yield ValidationError("does not match")


def sanitize(value: Any, path: Keys, found: list[Finding]) -> Any:
    """Only what JSON can hold, as plain dicts and lists; MISSING where there is nothing usable."""
    if value == MISSING:
        found.append(Finding(path, "no value", f"set it: {'.'.join(path)}=..."))
        return MISSING
    if len(path) > DEEPEST:
        found.append(Finding(path[:DEEPEST], f"nested more than {DEEPEST} deep", "reduce the nesting"))
        return MISSING
    if isinstance(value, Mapping):
        kept = {str(key): sanitize(item, (*path, str(key)), found) for key, item in value.items()}
        return {key: item for key, item in kept.items() if item is not MISSING}
    if isinstance(value, (list, tuple)):
        items = [sanitize(item, (*path, str(index)), found) for index, item in enumerate(value)]
        return [item for item in items if item is not MISSING]
    return sanitize_scalar(value, path, found)


def sanitize_scalar(value: Any, path: Keys, found: list[Finding]) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        found.append(Finding(path, f"{show(value)} is not a finite number", "give a finite number, or null"))
    elif value is None or isinstance(value, (str, bool, int, float)):
        return value
    else:
        message = f"a value of type {type(value).__name__} cannot be used"
        found.append(Finding(path, message, "write it as text or a number"))
    return MISSING


def prune(value: Any, wrong: set[Keys], path: Keys = ()) -> Any:
    """The value without the wrong parts, so that rules see only what is well formed."""
    if path in wrong:
        return MISSING
    if isinstance(value, dict):
        kept = {key: prune(item, wrong, (*path, key)) for key, item in value.items()}
        return {key: item for key, item in kept.items() if item is not MISSING}
    if isinstance(value, list):
        items = [prune(item, wrong, (*path, str(index))) for index, item in enumerate(value)]
        return [item for item in items if item is not MISSING]
    return value


def unknown_key(key: str, known: Mapping[str, Any]) -> Finding:
    if key == "experiment":
        hint = "add the line '# @package _global_' to the experiment's file, above its first key"
    elif key == "defaults":
        hint = "a defaults list has its effect at the top of a file only"
    else:
        hint = meant(key, known) or f"keys: {', '.join(known)}"
    return Finding((key,), "unknown key", hint, at_key=True)


def absent(path: Keys) -> Finding:
    return Finding(path, "missing", "add it")


def describe(error: Any, key: str, schemas: Path) -> list[Finding]:
    path: Keys = (key, *(str(part) for part in error.absolute_path))
    if "propertyNames" in error.absolute_schema_path:
        return misplaced(error, path, schemas)
    return WORDS.get(str(error.validator), otherwise)(error, path, schemas)


def misplaced(error: Any, path: Keys, schemas: Path) -> list[Finding]:
    """A key that its mapping does not take: of another kind, or not a usable name."""
    name = str(error.instance)
    here = (*path, name)
    if error.validator != "enum":
        hint = error.schema.get("patternErrorMessage") or f"at most {error.schema.get('maxLength')} characters"
        return [Finding(here, f"{show(name)} cannot be used as a name", f"use {hint}", at_key=True)]
    if name not in partial(subschema(path, schemas)).get("properties", {}):
        return []  # reported as an unknown key
    kinds = kinds_of(path, schemas)
    owners = [kind for kind, names in kinds.items() if name in names]
    current = next((kind for kind, names in kinds.items() if names == error.validator_value), "")
    message = f"a key of kind {one_of(owners)}, not of '{current}'" if owners else f"not a key of kind '{current}'"
    return [Finding(here, message, f"remove it, or choose another {path[-1]}", at_key=True)]


def unknown_keys(error: Any, path: Keys, schemas: Path) -> list[Finding]:
    known = list(error.schema.get("properties", {}))
    kind = error.instance.get("kind")
    names = kinds_of(path, schemas).get(kind, known) if isinstance(kind, str) else known
    found = []
    for name in error.instance:
        if name not in known:
            hint = meant(name, names) or meant(name, known) or f"keys: {', '.join(names)}"
            found.append(Finding((*path, name), "unknown key", hint, at_key=True))
    return found


def wrong_type(error: Any, path: Keys, _schemas: Path) -> list[Finding]:
    wanted = words_for(error.schema)
    hint = ""
    if "string" in as_list(error.validator_value) and isinstance(error.instance, (bool, int, float)):
        hint = f"quote it: '{show(error.instance)}'"
    elif isinstance(error.instance, str) and looks_numeric(error.instance, as_list(error.validator_value)):
        hint = "remove the quotes"
    return [Finding(path, f"{show(error.instance)} is not {wanted}", hint)]


def none_of(error: Any, path: Keys, schemas: Path) -> list[Finding]:
    """Where the value has the type of one branch, what is wrong is what that branch says."""
    branches: dict[Any, list[Any]] = {}
    for inner in error.context:
        branches.setdefault(inner.relative_schema_path[0], []).append(inner)
    for inners in branches.values():
        if not any(i.validator in ("type", "const", "enum") and not i.relative_path for i in inners):
            return [found for i in inners for found in describe(i, path[0], schemas)]
    options = [words_for(branch) for branch in error.validator_value]
    value = show(error.instance)
    return [Finding(path, f"{value} is neither {' nor '.join(options)}" if len(options) > 1 else f"{value} is wrong")]


def not_listed(error: Any, path: Keys, _schemas: Path) -> list[Finding]:
    allowed = error.validator_value if error.validator == "enum" else [error.validator_value]
    hint = meant(error.instance, allowed) if isinstance(error.instance, str) else ""
    return [Finding(path, f"{show(error.instance)} is not {one_of(allowed)}", hint)]


def no_match(error: Any, path: Keys, _schemas: Path) -> list[Finding]:
    wanted = error.schema.get("patternErrorMessage") or f"what matches {error.validator_value}"
    return [Finding(path, f"{show(error.instance)} does not fit", f"use {wanted}")]


def lacks(error: Any, path: Keys, _schemas: Path) -> list[Finding]:
    return [absent((*path, name)) for name in error.validator_value if name not in error.instance]


def sized(template: str) -> Callable[[Any, Keys, Path], list[Finding]]:
    """A message with the value and the limit filled in."""

    def found(error: Any, path: Keys, _schemas: Path) -> list[Finding]:
        value = error.instance
        size = len(value) if isinstance(value, (str, list, dict)) else 0
        return [Finding(path, template.format(value=show(value), limit=error.validator_value, size=size))]

    return found


def otherwise(error: Any, path: Keys, _schemas: Path) -> list[Finding]:
    return [Finding(path, f"{show(error.instance)} is not allowed here")]


WORDS: dict[str, Callable[[Any, Keys, Path], list[Finding]]] = {
    "additionalProperties": unknown_keys,
    "unevaluatedProperties": unknown_keys,
    "anyOf": none_of,
    "oneOf": none_of,
    "const": not_listed,
    "enum": not_listed,
    "exclusiveMaximum": sized("{value} is not below {limit}"),
    "exclusiveMinimum": sized("{value} is not above {limit}"),
    "maxItems": sized("{size} items, and at most {limit} are possible"),
    "maxLength": sized("{size} characters, and at most {limit} are possible"),
    "maxProperties": sized("{size} entries, and at most {limit} are possible"),
    "maximum": sized("{value} is above {limit}, the highest possible"),
    "minItems": sized("{size} items, and at least {limit} must be there"),
    "minLength": sized("empty"),
    "minProperties": sized("{size} entries, and at least {limit} must be there"),
    "minimum": sized("{value} is below {limit}, the lowest possible"),
    "multipleOf": sized("{value} is not a multiple of {limit}"),
    "pattern": no_match,
    "required": lacks,
    "type": wrong_type,
    "uniqueItems": sized("holds the same item twice"),
}
TYPES = {
    "integer": "an integer",
    "number": "a number",
    "string": "text",
    "boolean": "true or false",
    "object": "a mapping",
    "array": "a list",
    "null": "null",
}


def words_for(schema: Mapping[str, Any]) -> str:
    """What a value must be: 'an integer or null', 'an integer from 1', ''auto''."""
    if "const" in schema:
        return show(schema["const"])
    if "enum" in schema:
        return one_of(schema["enum"])
    types = as_list(schema.get("type", "value"))
    names = [TYPES.get(name, name) for name in types if name != "integer" or "number" not in types]
    words = ", ".join(names[:-1]) + (" or " if names[1:] else "") + names[-1]
    return f"{words} from {schema['minimum']}" if "minimum" in schema and "maximum" not in schema else words


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def looks_numeric(text: str, types: list[Any]) -> bool:
    wanted = {"integer": int, "number": float}
    for name, read in wanted.items():
        if name in types:
            try:
                read(text)
            except ValueError:
                continue
            return True
    return text.lower() in ("true", "false") and "boolean" in types


def subschema(path: Keys, schemas: Path) -> Mapping[str, Any]:
    """The schema of the mapping at `path`, as far as it can be followed by properties."""
    node: Any = {"properties": load("job", schemas)["properties"]}
    for name in path:
        node = partial(node).get("properties", {}).get(name, {})
        node = node.get("else", node) if isinstance(node, dict) else {}
        reference = node.get("$ref", "")
        if reference.endswith(".schema.json"):
            node = load(reference.removesuffix(".schema.json"), schemas)
    found: Mapping[str, Any] = node
    return found


def partial(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Where the properties of a schema are: in itself or in its own `$defs`."""
    name = str(schema.get("$ref", "")).removeprefix("#/$defs/")
    found: Mapping[str, Any] = schema.get("$defs", {}).get(name, schema)
    return found


def kinds_of(path: Keys, schemas: Path) -> dict[str, list[str]]:
    """Kind to the keys it takes, from the `if`/`then` rows of the mapping's schema."""
    rows = subschema(path, schemas).get("allOf", [])
    found: dict[str, list[str]] = {}
    for row in rows:
        kind = row.get("if", {}).get("properties", {}).get("kind", {}).get("const")
        names = row.get("then", {}).get("propertyNames", {}).get("enum")
        if kind is not None and names is not None:
            found[kind] = names
    return found
