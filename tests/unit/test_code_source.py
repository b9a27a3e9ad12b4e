"""Code of an earlier plan is found again by its digest: staged, here, in the commit, in the commit with its diff."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from runner import history
from runner.code_source import CodeRef, restore
from runner.errors import SnapshotError
from runner.git_state import git_state
from runner.snapshot import take
from runner.spec import GitState
from tests.conftest import FIXED_GIT, commit, write

FILES = {"main.py": "print(1)\n", "pkg/a.py": "x = 1\n", "pkg/ü b.py": "y = 'ö'\n", "empty": ""}


def git(folder: Path, *command: str) -> None:
    environment = {**os.environ, **FIXED_GIT}
    subprocess.run(["git", "-C", str(folder), *command], check=True, capture_output=True, env=environment)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = write(tmp_path / "project", FILES)
    (folder / "data.bin").write_bytes(bytes(range(256)))
    (folder / "run.sh").write_text("ls\n")
    (folder / "run.sh").chmod(0o755)
    commit(folder)
    return folder


def remembered(project: Path, root: str = ".", **generated: str) -> tuple[CodeRef, GitState]:
    """What a lock has of the code as it is now."""
    snapshot = take(project / root, None, generated)
    return CodeRef.of(snapshot, project), git_state(project)


def contents(folder: Path) -> dict[str, tuple[bytes, bool]]:
    """Every file of a work tree or of staged code: its bytes, and whether it can be executed."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".amlignore"]
    files = [path for path in files if ".git" not in path.relative_to(folder).parts]
    return {path.relative_to(folder).as_posix(): (path.read_bytes(), os.access(path, os.X_OK)) for path in files}


def nothing(_: Path) -> None: ...


def rewrite(project: Path) -> None:
    write(project, {"main.py": "print(2)\n"})


def commit_more(project: Path) -> None:
    write(project, {"main.py": "print(2)\n", "pkg/c.py": ""})
    (project / "data.bin").unlink()
    git(project, "add", "-A")
    git(project, "commit", "-q", "-m", "second")


def lose_mode(project: Path) -> None:
    (project / "run.sh").chmod(0o644)


def lose_all(project: Path) -> None:
    for path in [path for path in project.iterdir() if path.name != ".git"]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.mark.parametrize("later", [nothing, rewrite, commit_more, lose_mode, lose_all])
def test_committed_code_is_found_whatever_became_of_the_tree(project: Path, later: Callable[[Path], None]) -> None:
    ref, state = remembered(project)
    before = contents(project)
    later(project)
    assert contents(restore(ref, project, state)) == before


DIRTY: dict[str, Callable[[Path], object]] = {
    "a line": lambda p: write(p, {"main.py": "print(1)\nprint(3)\n"}),
    "no line break at the end": lambda p: write(p, {"main.py": "print(1)"}),
    "line ends": lambda p: (p / "main.py").write_bytes(b"print(1)\r\n"),
    "a name that git quotes": lambda p: write(p, {"pkg/ü b.py": "y = 'ä'\n"}),
    "a file removed": lambda p: (p / "pkg/a.py").unlink(),
    "a mode": lambda p: (p / "main.py").chmod(0o755),
    "an empty file filled": lambda p: write(p, {"empty": "x\n"}),
    "a space at the end": lambda p: write(p, {"main.py": "print(1)  \n\n\n"}),
}


@pytest.mark.parametrize("change", DIRTY)
def test_changes_that_were_not_committed_are_found_by_their_diff(project: Path, change: str) -> None:
    DIRTY[change](project)
    ref, state = remembered(project)
    before = contents(project)
    git(project, "checkout", "-q", ".")
    write(project, {"main.py": "something else\n"})
    assert contents(restore(ref, project, state)) == before


LOST: dict[str, Callable[[Path], object]] = {
    "an untracked file": lambda p: write(p, {"new.py": "x"}),
    "a binary file": lambda p: (p / "data.bin").write_bytes(b"\x00\x01"),
    "a line like a key": lambda p: write(p, {"main.py": "AKIA" + "ABCDEFGH23456723\n"}),
    "a text that is no UTF-8": lambda p: (p / "main.py").write_bytes(b"# \xe9\n"),
}


@pytest.mark.parametrize("change", LOST)
def test_what_a_diff_does_not_hold_is_not_guessed(project: Path, change: str) -> None:
    LOST[change](project)
    ref, state = remembered(project)
    git(project, "checkout", "-q", ".")
    (project / "new.py").unlink(missing_ok=True)
    with pytest.raises(
        SnapshotError, match=r"is not commit \w{12} of this repository \(1 files were not committed then\)"
    ):
        restore(ref, project, state)
    assert not history.snapshot_dir(project, ref.digest).exists()


def test_a_diff_that_was_cut_is_not_applied(project: Path) -> None:
    write(project, {"main.py": "print(3)\n"})
    ref, state = remembered(project)
    git(project, "checkout", "-q", ".")
    with pytest.raises(SnapshotError):
        restore(ref, project, GitState(state.commit, state.branch, state.dirty, state.diff, diff_truncated=True))


@pytest.mark.parametrize(
    ("commit_id", "where"),
    [(None, "any commit"), ("0" * 40, "commit 000000000000 of this repository"), ("--help", "commit --help of this")],
)
def test_a_commit_that_is_not_there(project: Path, commit_id: str | None, where: str) -> None:
    ref, _ = remembered(project)
    rewrite(project)
    with pytest.raises(SnapshotError, match=where):
        restore(ref, project, GitState(commit_id))
    with pytest.raises(SnapshotError, match="any commit"):
        restore(ref, project, None)


def test_without_git_what_the_tree_holds_is_taken(tmp_path: Path) -> None:
    project = write(tmp_path, {"main.py": "x"})
    ref, state = remembered(project)
    assert state == GitState()
    assert contents(restore(ref, project, state)) == {"main.py": (b"x", False)}


def test_staged_code_wins_and_is_not_staged_again(project: Path) -> None:
    ref, state = remembered(project)
    staged = restore(ref, project, state)
    (staged / "mark").write_text("")
    lose_all(project)
    write(history.snapshot_dir(project, ref.digest), {"mark": ""})
    assert (restore(ref, project, None) / "mark").is_file()


def test_a_root_below_the_project_and_what_was_generated(project: Path) -> None:
    ref, state = remembered(project, "pkg", entry="made\n")
    assert ref.root == "pkg"
    lose_all(project)
    found = contents(restore(CodeRef(**ref.as_json()), project, state))
    assert found["entry"] == (b"made\n", False)
    assert set(found) == {"a.py", "ü b.py", "entry"}


def test_a_project_below_the_top_keeps_ignore_rules_from_above(project: Path) -> None:
    write(project, {".gitignore": "*.tmp\n", "inner/a.py": "a\n", "inner/b.tmp": "b\n"})
    git(project, "add", "-f", "inner/b.tmp")  # in the commit, and ignored all the same
    commit_more(project)
    inner = project / "inner"
    ref, state = remembered(inner)
    write(inner, {"a.py": "other\n"})
    assert set(contents(restore(ref, inner, state))) == {"a.py"}


def test_a_submodule_is_no_part_of_a_commits_archive(project: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "other", {"lib.py": "x\n"})
    commit(other)
    git(project, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(other), "lib")
    git(project, "commit", "-q", "-m", "with a submodule")
    ref, state = remembered(project)
    assert "lib/lib.py" in contents(restore(ref, project, state))  # while the tree has it
    shutil.rmtree(project / ".runs")
    shutil.rmtree(project / "lib")
    with pytest.raises(SnapshotError, match="is not commit"):
        restore(ref, project, state)
