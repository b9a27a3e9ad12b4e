"""The state of the work tree: commit, branch, dirty files, diff without keys."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runner import git_state as module
from runner.git_state import git_state
from runner.spec import GitState
from tests.conftest import FIXED_GIT, commit, write


def test_no_repository(tmp_path: Path) -> None:
    assert git_state(tmp_path) == GitState()


def test_no_git_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert git_state(tmp_path) == GitState()


def test_a_repository_without_a_commit(tmp_path: Path) -> None:
    module.git(tmp_path, "init", "-q")
    write(tmp_path, {"a": "x"})
    state = git_state(tmp_path)
    assert (state.commit, state.dirty, state.diff) == (None, ("? a",), "")


def test_clean_and_dirty(tmp_path: Path) -> None:
    sha = commit(write(tmp_path, {"a.py": "one\n", "gone": "x", "ü b": "x"}))
    assert git_state(tmp_path) == GitState(sha, "main")
    write(tmp_path, {"a.py": "two\n", "new folder/b": "x", "ü b": "y"})
    (tmp_path / "gone").unlink()
    state = git_state(tmp_path)
    assert state.dirty == ("M a.py", "D gone", "M ü b", "? new folder/b")
    assert "-one\n+two\n" in state.diff
    assert git_state(tmp_path / "new folder").commit == sha


def test_detached_head_has_no_branch(tmp_path: Path) -> None:
    sha = commit(write(tmp_path, {"a": "x"}))
    module.git(tmp_path, "checkout", "-q", "--detach")
    assert (git_state(tmp_path).commit, git_state(tmp_path).branch) == (sha, None)


def test_keys_are_left_out_of_the_diff(tmp_path: Path) -> None:
    commit(write(tmp_path, {"a": "x\n"}))
    key = "AKIA" + "ABCDEFGH23456723"
    write(tmp_path, {"a": f"x\nkey = {key}\nlast\n"})
    diff = git_state(tmp_path).diff
    assert key not in diff
    assert "+[left out: looks like an AWS access key]\n+last\n" in diff


def test_a_huge_diff_is_capped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_DIFF_BYTES", 100)
    commit(write(tmp_path, {"a": "x\n"}))
    write(tmp_path, {"a": "y\n" * 1000})
    state = git_state(tmp_path)
    assert len(state.diff) == 100
    assert state.diff_truncated


def test_a_merge_conflict_is_dirty(tmp_path: Path) -> None:
    commit(write(tmp_path, {"a b": "one\n"}))
    for branch, text in (("other", "two\n"), ("main", "three\n")):
        module.git(tmp_path, "checkout", "-q", *(["-b"] if branch == "other" else []), branch)
        commit(write(tmp_path, {"a b": text}))
    for key, value in FIXED_GIT.items():
        os.environ[key] = value
    module.git(tmp_path, "merge", "-q", "other")
    assert git_state(tmp_path).dirty == ("U a b",)
