"""What was found valid is not checked again, and nothing is taken for valid that was not found to be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runner import compose_cache, schema_check, valid_parts
from runner.resources import packaged
from runner.schema_check import check_part
from tests.conftest import Cli

SCHEMAS = packaged("schemas")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the test's own."""
    place = tmp_path / "kept"
    monkeypatch.setenv(compose_cache.SWITCH, str(place))
    return place


def test_a_second_command_needs_no_jsonschema(bare: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("validate", "code.module=null", "code.command=[ls]")
    assert cli(bare, *words).code == 0
    monkeypatch.delattr(schema_check, "validator")  # the one place that applies jsonschema

    assert cli(bare, *words).code == 0


def test_a_value_that_differs_is_checked(bare: Path, cli: Cli) -> None:
    words = ("validate", "code.module=null", "code.command=[ls]")
    assert cli(bare, *words, "limits.max_minutes=5").code == 0

    again = cli(bare, *words, "limits.max_minutes=0")

    assert again.code == 2
    assert "limits.max_minutes" in again.err


def test_what_is_wrong_is_told_each_time(bare: Path, cli: Cli) -> None:
    words = ("validate", "code.module=null", "code.command=[ls]", "limits.max_minutes=-1")
    first, second = cli(bare, *words), cli(bare, *words)

    assert (first.code, first.err) == (2, second.err)


def test_another_schema_knows_nothing_of_it(bare: Path, cli: Cli) -> None:
    words = ("validate", "code.module=null", "code.command=[ls]", "limits.max_minutes=5")
    assert cli(bare, *words).code == 0
    schema = json.loads((SCHEMAS / "job.schema.json").read_text())
    schema["properties"]["limits"]["properties"]["max_minutes"] = {"const": 7}
    (bare / "schemas").mkdir()
    (bare / "schemas" / "job.schema.json").write_text(json.dumps(schema))
    for remembered in (schema_check.load, schema_check.dialect, schema_check.validator):
        remembered.cache_clear()  # as in a command of its own

    assert cli(bare, *words).code == 2


def test_what_json_cannot_hold_is_told_though_its_text_is_known() -> None:
    _, found = check_part("tags", {"a": object()}, SCHEMAS, valid=True)

    assert len(found) == 1


def test_of_many_the_newest_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(valid_parts, "MOST_PARTS", 3)
    for number in range(5):
        parts = valid_parts.load(SCHEMAS)
        parts.add("seed", str(number))
        parts.save()

    found = valid_parts.load(SCHEMAS)

    assert [found.has("seed", str(number)) for number in range(5)] == [False, False, True, True, True]
    assert not found.has("name", "4")


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"nonsense\n\n"])
def test_a_damaged_file_is_as_none(folder: Path, content: bytes) -> None:
    parts = valid_parts.load(SCHEMAS)
    assert parts.path is not None
    folder.mkdir()
    parts.path.write_bytes(content)

    again = valid_parts.load(SCHEMAS)
    again.add("seed", "1")
    again.save()

    assert valid_parts.load(SCHEMAS).has("seed", "1")


def test_switched_off_nothing_is_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(compose_cache.SWITCH, "off")
    parts = valid_parts.load(SCHEMAS)
    parts.add("seed", "1")
    parts.save()

    assert not parts.has("seed", "1")
    assert not folder.exists()
