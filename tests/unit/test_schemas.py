"""The schemas themselves: closed, described, resolvable offline; history's formats match the nouns."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from runner.resources import packaged
from runner.spec import Failure, GitState, Layout, Plan, Run, SnapshotRef, State

FOLDER = packaged("schemas")
NAMES = sorted(path.name.removesuffix(".schema.json") for path in FOLDER.glob("*.schema.json"))
YAML = sorted(packaged("configs").rglob("*.yaml"))
GROUPS = ("compute", "env", "distribution", "workspace", "sweep")


def read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.schema.json").read_text(encoding="utf-8"))
    return found


def mappings(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every subschema that lists properties, except the conditions of `if`."""
    if isinstance(node, dict):
        if isinstance(node.get("properties"), dict):
            yield path, node
        for key, item in node.items():
            if key not in ("if", "then", "else", "not"):
                yield from mappings(item, f"{path}/{key}")
    elif isinstance(node, list):
        for index, item in enumerate(node):
            yield from mappings(item, f"{path}/{index}")


@pytest.mark.parametrize("name", NAMES)
def test_is_a_valid_schema_with_its_name_as_id(name: str) -> None:
    schema = read(name)
    Draft202012Validator.check_schema(schema)
    assert schema["$id"] == f"{name}.schema.json"
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["description"]


@pytest.mark.parametrize("name", NAMES)
def test_every_property_has_a_description(name: str) -> None:
    for path, schema in mappings(read(name)):
        for key, value in schema["properties"].items():
            assert isinstance(value, dict), f"{name}{path}/{key}"
            assert value.get("description"), f"{name}{path}/{key} has no description"


@pytest.mark.parametrize("name", [*GROUPS, "job", "experiment", "plan", "run"])
def test_every_mapping_is_closed(name: str) -> None:
    for path, schema in mappings(read(name)):
        assert schema.get("additionalProperties") is False, f"{name}{path} is open"


@pytest.mark.parametrize("name", NAMES)
def test_conditions_on_kind_require_it(name: str) -> None:
    """Without `required` an `if` also holds where the key is absent."""
    text = json.dumps(read(name))
    assert text.count('"if": {"properties": {"kind"') == text.count('"required": ["kind"]}, "then"')


@pytest.mark.parametrize("name", GROUPS)
def test_every_key_belongs_to_a_kind(name: str) -> None:
    schema = read(name)
    keys = set(schema["$defs"]["partial"]["properties"])
    taken = [set(row["then"]["propertyNames"]["enum"]) for row in schema.get("allOf", [])]
    if taken:
        assert set().union(*taken) == keys
        kinds = [row["if"]["properties"]["kind"]["const"] for row in schema["allOf"]]
        assert kinds == schema["$defs"]["partial"]["properties"]["kind"]["enum"]


def test_the_job_names_a_schema_for_every_group() -> None:
    text = json.dumps(read("job"))
    folders = {path.name for path in packaged("configs").iterdir() if path.is_dir()} - {"experiment"}
    assert {name for name in folders if f'"{name}.schema.json"' in text} == folders
    assert set(read("experiment")["properties"]) == {*read("job")["properties"], "defaults", "hydra"}


@pytest.mark.parametrize("path", YAML, ids=lambda path: path.stem)
def test_files_fit_the_schema_that_their_first_line_names(path: Path) -> None:
    """As an editor checks them; `???` is what the reader still has to give."""
    text = path.read_text(encoding="utf-8")
    named = next(line for line in text.splitlines() if "$schema=" in line).partition("$schema=")[2]
    schema = json.loads((path.parent / named).read_text(encoding="utf-8"))
    registry: Any = Registry(retrieve=lambda uri: DRAFT202012.create_resource(read(uri.removesuffix(".schema.json"))))
    values = yaml.safe_load(text)
    given = {key: value for key, value in values.items() if value != "???"}
    errors = Draft202012Validator(schema, registry=registry).iter_errors(given)
    assert [error.message for error in errors if error.validator != "required" or "???" not in text] == []


def a_plan() -> Plan:
    return Plan(
        id="digits-0a1b2c3d-abcdefgh",
        name="digits",
        target="local",
        created="2026-11-24T10:00:00+00:00",
        project="/project",
        overrides=("seed=1",),
        frozen=(),
        choices={"model": "small_cnn"},
        config={"seed": 1},
        digests={"config": "0a", "training": "0b"},
        layout=Layout("pytorch", 1, 2, "gloo"),
        python="python",
        script="amlrun_entry.py",
        arguments=("--amlrun", "e30"),
        command=(),
        shell="",
        environment={"A": "b"},
        secrets=("KEY",),
        inputs={"photos": {"path": "photos"}},
        limits={"max_minutes": None},
        tags={},
        resolved={"env": "this interpreter"},
        snapshot=SnapshotRef("0c", 3, 100),
        git=GitState(),
        not_checked=("x",),
    )


def test_a_plan_has_the_form_of_its_schema() -> None:
    data = a_plan().as_json()
    Draft202012Validator(read("plan")).validate(data)
    assert set(data) == set(read("plan")["properties"]) == set(read("plan")["required"])
    assert not Draft202012Validator(read("plan")).is_valid({**data, "more": 1})


@pytest.mark.parametrize("failure", [None, Failure("out of memory", 1, 1, "Traceback", "rank_1.log", "use less")])
def test_a_run_has_the_form_of_its_schema(failure: Failure | None) -> None:
    run = Run("id", "local://id", "digits", "local", State.FAILED, "2026-11-24T10:00:00+00:00", failure=failure)
    data = run.as_json()
    Draft202012Validator(read("run")).validate(data)
    assert set(data) == set(read("run")["properties"]) == set(read("run")["required"])
    assert set(read("run")["properties"]["state"]["enum"]) == {state.value for state in State}
