"""Logs reconstructed from public threads: cases/<name>/{source.md, logs, expected.json}. A new case needs no code."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from runner.diagnose import CAUSES, CONSEQUENCES, Diagnosis, examine, read_folder
from runner.diagnose.deciding import MISSING, SUSPECTS
from runner.redact import looks_secret
from tests.conftest import ROOT

FOLDER = Path(__file__).resolve().parent / "cases"
CASES = sorted(path for path in FOLDER.iterdir() if path.is_dir())
EXPECTED = {case.name: json.loads((case / "expected.json").read_text()) for case in CASES}
# Rows that only a process of our own shows: tests/diagnose/test_really_failed.py has them.
REAL = {"refused", "hydra", "diverged", "another_configuration", "program_missing", "script_missing", "not_python"}
REAL |= {"pickling", "too_many_files", "network", "permission"}


def examined(case: Path) -> Diagnosis | None:
    return examine(read_folder(case))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_first_cause_is_found(case: Path) -> None:
    found, expected = examined(case), EXPECTED[case.name]
    if found is None:
        assert expected == {"failed": False}
        return
    failure = found.failure
    actual = {"failed": True, "kind": found.kind, "rank": failure.rank, "world_size": found.world_size}
    actual |= {"cause": failure.cause, "log": failure.log, "consequences": found.consequences}
    assert actual | ({"notes": list(found.notes)} if found.notes else {}) == expected


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_is_shown_is_in_the_named_log_and_no_noise_is(case: Path) -> None:
    found = examined(case)
    if found is None or found.failure.log is None:
        return
    failure = found.failure
    assert failure.evidence or (case / failure.log).read_text() == ""
    assert (
        failure.evidence.count("Traceback (most recent call last)") <= failure.evidence.count("another exception") + 1
    )
    assert "ChildFailedError" not in failure.evidence
    assert not looks_secret(failure.evidence + failure.cause)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_case_says_where_it_comes_from(case: Path) -> None:
    text = (case / "source.md").read_text()
    assert "https://github.com/" in text or "Made up, no thread: " in text
    assert len(text.splitlines()) <= 8


def test_every_folder_was_seen() -> None:
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "tests/diagnose/cases"]
    names = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    names.remove("tests/diagnose/cases/.gitignore")
    folders = {Path(name).relative_to("tests/diagnose/cases").parts[0] for name in names}
    assert folders == set(EXPECTED)
    assert len(folders) >= 45
    on_disk = {path.relative_to(ROOT).as_posix() for path in FOLDER.glob("*/**/*") if path.is_file()}
    assert on_disk == set(names), "an ignore rule keeps these out of git"


def test_every_row_has_a_log() -> None:
    kinds: set[Any] = {expected.get("kind") for expected in EXPECTED.values()}
    assert {row.kind for row in CAUSES} - kinds == REAL
    assert {kind for kind, _, _ in (*SUSPECTS.values(), MISSING)} - kinds == {"hanging_rank", "early_end"}
    said = " ".join(expected.get("consequences", "") + expected.get("cause", "") for expected in EXPECTED.values())
    assert [row.name for row in CONSEQUENCES if row.name not in said] == ["only its launcher's summary"]


def test_a_download_without_what_failed_first_still_names_a_failure(tmp_path: Path) -> None:
    logs = [log for log in read_folder(FOLDER / "horovod-gpu-memory") if "rank_1" not in log.name]
    found = examine(logs)
    assert found is not None
    assert (found.kind, found.failure.rank) == ("missing_rank", 1)
