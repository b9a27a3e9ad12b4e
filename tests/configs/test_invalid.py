"""Every folder of invalid/ is a case: files laid over a copy of the project, overrides, and the exact text expected.

`expected.txt` has a line per problem, with its severity in front. After a change on purpose:
`AMLRUN_REWRITE=1 pytest tests/configs/test_invalid.py`, then read the difference.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from runner.compose import compose
from runner.errors import ConfigError, Problem
from runner.spec import Config
from runner.validate import validate

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = Path(__file__).with_name("invalid")
CASES = sorted(path.name for path in FOLDER.iterdir() if path.is_dir())
OWN_FILES = {"overrides.txt", "expected.txt"}
# A case with YAML of its own takes 0.2 s to compose, one with overrides only next to nothing: of the former, those that
# stand for their kind run in the fast suite.
TYPICAL = ("four-mistakes", "package-line-missing", "choice-misspelt")
QUICK = [name for name in CASES if name in TYPICAL or not list((FOLDER / name).rglob("*.yaml"))]


@pytest.fixture(scope="module")
def composed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Config]:
    """Cases whose files cannot meet others' share a project: opening one takes longer than checking a case."""
    project = copy_project(tmp_path_factory.mktemp("shared"))
    names = [name for name in QUICK if can_share(FOLDER / name)]
    for name in names:
        lay_over(FOLDER / name, project)
    return dict(zip(names, compose(project, [overrides_of(name) for name in names]), strict=True))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in CASES]
)
def test_problems_are_told_as_expected(name: str, composed: dict[str, Config], tmp_path: Path) -> None:
    config = composed.get(name)
    if config is None:
        project = copy_project(tmp_path)
        lay_over(FOLDER / name, project)
        [config] = compose(project, [overrides_of(name)])
    found = "".join(f"{problem.severity}: {problem}\n" for problem in problems_of(config))
    found = found.replace(str(config.project), "PROJECT")
    expected = FOLDER / name / "expected.txt"
    if os.environ.get("AMLRUN_REWRITE"):
        expected.write_text(found, encoding="utf-8")
    assert found == expected.read_text(encoding="utf-8")
    assert found, "a case must have a problem"


def test_every_tracked_case_was_seen() -> None:
    listed = subprocess.run(["git", "ls-files", "."], cwd=FOLDER, capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")  # an unpacked archive: nothing is tracked that could be missing
    assert {line.split("/")[0] for line in listed.stdout.splitlines()} <= set(CASES)


def test_every_case_is_whole() -> None:
    assert len(CASES) >= 80
    for name in CASES:
        given = {path.name for path in (FOLDER / name).iterdir()}
        assert "expected.txt" in given, f"{name} has no expected.txt"
        assert len(given) > 1, f"{name} has neither files nor overrides.txt"


def copy_project(folder: Path) -> Path:
    shutil.copytree(REPOSITORY / "configs", folder / "project" / "configs")
    return folder / "project"


def lay_over(case: Path, project: Path) -> None:
    shutil.copytree(case, project, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*OWN_FILES))


def can_share(case: Path) -> bool:
    """Whether all its files are named after the case, and none is a new option of a group but `experiment`."""
    files = [path.relative_to(case) for path in case.rglob("*") if path.is_file() and path.name not in OWN_FILES]
    folders = ("configs/experiment", ".")
    return all(path.stem == case.name and path.parent.as_posix() in folders for path in files)


def overrides_of(name: str) -> list[str]:
    listed = FOLDER / name / "overrides.txt"
    return listed.read_text(encoding="utf-8").splitlines() if listed.exists() else []


def problems_of(config: Config) -> list[Problem]:
    try:
        return validate([config])[1]
    except ConfigError as error:
        return list(error.problems)
