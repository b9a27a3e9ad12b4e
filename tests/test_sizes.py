"""Sizes and names that the style asks for. An exception carries its reason here."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.check

SOURCES = sorted(path for folder in ("runner", "train") for path in (ROOT / folder).rglob("*.py"))
MAX_FILE, MAX_FUNCTION = 400, 60
# Files with a limit of their own.
TIGHTER = {"runner/pipeline.py": 100, "train/__main__.py": 60, "train/loop.py": 250}
BANNED_NAMES = {"utils", "helpers", "common", "manager", "base", "misc"}
EXCEPTIONS = (
    *("Exception", "Error", "Enum", "Protocol", "Dataset", "Sampler", "Module", "Action", "str"),
    *("HTTPServer", "HTTPRequestHandler"),  # how the standard library serves HTTP
)


def functions(path: Path) -> list[tuple[str, int]]:
    tree = ast.parse(path.read_text())
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [(node.name, (node.end_lineno or 0) - node.lineno + 1) for node in ast.walk(tree) if isinstance(node, kinds)]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_file_and_its_functions_are_small(path: Path) -> None:
    name = str(path.relative_to(ROOT))
    assert len(path.read_text().splitlines()) <= TIGHTER.get(name, MAX_FILE)
    assert [(function, lines) for function, lines in functions(path) if lines > MAX_FUNCTION] == []


def test_functions_are_short_on_the_whole() -> None:
    lengths = sorted(lines for path in SOURCES for _, lines in functions(path))
    assert lengths[len(lengths) // 2] <= 10
    assert lengths[int(len(lengths) * 0.9)] <= 30


def test_no_module_is_named_for_nothing() -> None:
    assert [path for path in SOURCES if path.stem in BANNED_NAMES] == []


def test_there_is_as_much_test_as_source() -> None:
    lines = {
        folder: sum(len(path.read_text().splitlines()) for path in (ROOT / folder).rglob("*.py"))
        for folder in ("runner", "train", "tests")
    }
    assert lines["tests"] >= lines["runner"] + lines["train"]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_inheritance_but_of_exceptions_enums_protocols_and_what_a_library_requires(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ClassDef):
            bases = [ast.unparse(item).split("[")[0].split(".")[-1] for item in node.bases]
            assert all(item.endswith(EXCEPTIONS) for item in bases), f"{path}:{node.lineno}: {node.name}({bases})"
