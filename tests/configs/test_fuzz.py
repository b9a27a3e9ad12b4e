"""Whatever stands in YAML or an override: problems at a place that exists, never a traceback.

A sample runs with the fast tests; `make test-slow` runs hundreds of examples, FULL=1 thousands.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runner.compose import compose, expand
from runner.errors import ConfigError, Problem
from runner.spec import digest
from runner.validate import validate
from tests.configs import fuzz_grammar as grammar

MANY = 1500 if os.environ.get("FULL") else 100
SAMPLE = settings(max_examples=5, deadline=None, derandomize=True, database=None)
FULL = settings(max_examples=MANY, deadline=None, database=None, suppress_health_check=list(HealthCheck))
FEW = st.lists(grammar.overrides(), max_size=2)
MORE = st.lists(grammar.overrides(), min_size=1, max_size=4)
# Where a file is put, and the override that chooses it.
PLACES = (
    ("experiment/fuzz.yaml", "experiment=fuzz"),
    ("model/fuzz.yaml", "model=fuzz"),
    ("compute/fuzz.yaml", "compute=fuzz"),
    ("sweep/fuzz.yaml", "sweep=fuzz"),
    ("config.yaml", "seed=1"),
)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz")
    shutil.copytree(grammar.REPOSITORY / "configs", folder / "configs")
    return folder


def check_file(project: Path, place: tuple[str, str], content: bytes, overrides: Sequence[str]) -> None:
    path = project / "configs" / place[0]
    before = path.read_bytes() if path.exists() else None
    path.write_bytes(content)
    try:
        check(project, [place[1], *overrides])
    finally:
        path.unlink() if before is None else path.write_bytes(before)


def check(project: Path, overrides: Sequence[str]) -> None:
    try:
        configs = compose(project, [overrides])
        problems = validate(configs)[1]
        digest(configs[0].values)
        json.dumps(configs[0].values, allow_nan=False)
    except ConfigError as error:
        problems = list(error.problems)
    check_problems(project, problems, overrides)


def check_problems(project: Path, problems: Sequence[Problem], overrides: Sequence[str]) -> None:
    for problem in problems:
        assert problem.message
        assert "Traceback" not in str(problem)
        assert str(problem).isprintable(), problem
        assert not re.search(r"0x[0-9a-f]{6,}|^\w+Error$", problem.message), problem
        where = problem.place
        if where.kind == "override":
            assert where.source in {f"override '{text}'" for text in overrides}, problem
            continue
        content = (project / where.source).read_bytes()
        lines = re.split(rb"\r\n|\r|\n|\xe2\x80\xa8|\xe2\x80\xa9|\xc2\x85", content)
        assert 1 <= (where.line or 1) <= len(lines) + 1, problem
        assert where.column is None or 1 <= where.column <= len(b"".join(lines)) + 1, problem


def check_sweep(project: Path, overrides: Sequence[str]) -> None:
    try:
        points = expand(project, overrides)
    except ConfigError as error:
        check_problems(project, error.problems, overrides)
    else:
        assert points


@SAMPLE
@given(st.sampled_from(PLACES), grammar.text_of_files(), FEW)
def test_a_sample_of_files(project: Path, place: tuple[str, str], content: bytes, overrides: list[str]) -> None:
    check_file(project, place, content, overrides)


@SAMPLE
@given(MORE)
@pytest.mark.slow
def test_a_sample_of_overrides(project: Path, overrides: list[str]) -> None:
    check(project, overrides)
    check_sweep(project, overrides)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@FULL
@given(grammar.made_files(), FEW)
def test_experiment_files(project: Path, content: bytes, overrides: list[str]) -> None:
    check_file(project, PLACES[0], content, overrides)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@FULL
@given(st.sampled_from(PLACES), grammar.text_of_files())
def test_files_of_every_kind(project: Path, place: tuple[str, str], content: bytes) -> None:
    check_file(project, place, content, [])


@pytest.mark.slow
@pytest.mark.timeout(3600)
@FULL
@given(MORE)
def test_overrides(project: Path, overrides: list[str]) -> None:
    check(project, overrides)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@FULL
@given(MORE)
def test_sweeps(project: Path, overrides: list[str]) -> None:
    check_sweep(project, overrides)
