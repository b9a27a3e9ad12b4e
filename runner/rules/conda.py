"""Conda files: what makes a build slow, surprising or impossible, with the line in the file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from runner.errors import Place
from runner.finding import Finding, error, show, warning
from runner.paths import is_file
from runner.resources import packaged
from runner.rules.read import on_azure, part

# Python versions without security fixes in November 2026, with the month of the end (python/devguide,
# include/release-cycle.json; 3.10's is its planned one).
ENDED = {
    "2.7": "2020-01",
    "3.5": "2020-09",
    "3.6": "2021-12",
    "3.7": "2023-06",
    "3.8": "2024-10",
    "3.9": "2025-10",
    "3.10": "2026-10",
}
LOGGING = ("azureml-core", "azureml-defaults", "azureml-mlflow", "azureml-sdk")

# `python=3.11`, `python ==3.11.4`, `python 3.11.*`: a version, not the bound of a range.
ONE_VERSION = re.compile(r"[^\s=<>!~]+(?:\s+|\s*==?\s*)(\d+\.\d+)")
UNPINNED = re.compile(r"(?!.*\.(?:whl|zip|tar\.gz)$)[A-Za-z0-9._-]+(\[[^]]*\])?")

Line = tuple[str, int]


def lint(values: Mapping[str, Any], project: Path) -> Iterator[Finding]:
    env = part(values, "env")
    name = env.get("conda_file")
    if not name or not on_azure(values) or env.get("kind") not in ("auto", "conda", "dockerfile"):
        return
    path = next((p for p in (project / name, packaged("configs").parent / name) if is_file(p)), None)
    if path is None:
        return
    for finding, line in lint_file(path):
        place = Place(name, line, 1)
        yield Finding(("env", "conda_file"), finding.message, finding.hint, finding.severity, place=place)


def requirements_of(path: Path) -> list[str] | None:
    """Every conda and pip requirement of the file, None where it is no conda file."""
    listed = read(path)
    return None if isinstance(listed, str) else [text for text, _ in (*listed[0], *(listed[1] or ()))]


def lint_file(path: Path) -> Iterator[tuple[Finding, int]]:
    listed = read(path)
    if isinstance(listed, str):
        yield error("env.conda_file", listed, "write it as `conda env export` does"), 1
        return
    conda, pip = listed
    yield from lint_python(conda)
    if pip is not None and not any(bare(text) == "pip" for text, _ in conda):
        line = pip[0][1] if pip else 1
        yield warning("env.conda_file", "packages for pip, but pip itself is not listed", "add - pip"), line
    names = {bare(text) for text, _ in (*conda, *(pip or ()))}
    if not names.intersection(LOGGING) and not any(text.startswith("-") for text, _ in pip or ()):
        message = "neither azureml-defaults nor azureml-mlflow is listed: metrics cannot be logged to the run"
        yield warning("env.conda_file", message, "add one of them"), 1
    for text, line in pip or ():
        if UNPINNED.fullmatch(text):
            yield warning("env.conda_file", f"{show(text)} is not pinned", f"write {text}==VERSION"), line


def lint_python(conda: list[Line]) -> Iterator[tuple[Finding, int]]:
    found = next(((text, line) for text, line in conda if bare(text) == "python"), None)
    if found is None:
        yield warning("env.conda_file", "no python: azureml-core adds its own default", "add - python=3.11"), 1
        return
    text, line = found
    version = newest_version(text)
    if version is None:
        yield warning("env.conda_file", f"{show(text)} is not pinned", "write python=3.11"), line
    elif version in ENDED:
        message = f"Python {version} has had no security fixes since {ENDED[version]}"
        yield warning("env.conda_file", message, "write python=3.11"), line


def newest_version(text: str) -> str | None:
    """The newest minor version that a requirement of Python allows, None where it has no upper bound."""
    one = ONE_VERSION.match(text)
    if one is not None:
        return one[1]
    upper = re.search(r"<(=?)\s*3\.(\d+)(\.\d+)?", text)
    if upper is None or ">" not in text:
        return None
    return f"3.{int(upper[2]) - (not upper[1] and not upper[3])}"


@lru_cache(maxsize=64)
def read(path: Path) -> tuple[list[Line], list[Line] | None] | str:
    """(conda requirements, pip requirements or None), each with its line; or what is wrong with the file."""
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError):
        return "not valid YAML"
    if not isinstance(root, yaml.MappingNode):
        return "no mapping with dependencies"
    entries = {str(key.value): node for key, node in root.value}
    listed = entries.get("dependencies")
    if not isinstance(listed, yaml.SequenceNode):
        return "no list of dependencies"
    conda: list[Line] = []
    pip: list[Line] | None = None
    for node in listed.value:
        if isinstance(node, yaml.MappingNode):
            inner = {str(key.value): value for key, value in node.value}.get("pip")
            pip = [*(pip or []), *lines_of(inner)] if isinstance(inner, yaml.SequenceNode) else pip
        elif isinstance(node, yaml.ScalarNode):
            conda.append((node.value.strip(), node.start_mark.line + 1))
    return conda, pip


def lines_of(node: yaml.SequenceNode) -> list[Line]:
    return [(str(item.value).strip(), item.start_mark.line + 1) for item in node.value]


def bare(requirement: str) -> str:
    found = re.match(r"(?:[\w./-]+::)?([A-Za-z0-9._-]+)", requirement)
    return found[1].lower().replace("_", "-") if found else ""
