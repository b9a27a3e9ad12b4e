"""The work tree a plan was made from: commit, branch, dirty files and the diff."""

from __future__ import annotations

import subprocess
from pathlib import Path

from runner import secret_scan
from runner.spec import GitState

MAX_DIFF_BYTES = 1024 * 1024
TIMEOUT_SECONDS = 60


def git_state(project: Path) -> GitState:
    """The state of the git work tree around `project`; an empty one where there is none (or no git)."""
    if git(project, "rev-parse", "--is-inside-work-tree").strip() != b"true":
        return GitState()
    commit = git(project, "rev-parse", "--verify", "--quiet", "HEAD").decode().strip() or None
    branch = git(project, "symbolic-ref", "--short", "--quiet", "HEAD").decode("utf-8", "replace").strip() or None
    diff = git(project, "diff", "HEAD", "--no-color", "--no-ext-diff") if commit else b""
    return GitState(
        commit=commit,
        branch=branch,
        dirty=dirty_files(git(project, "status", "--porcelain=v1", "-z", "--untracked-files=all", "--no-renames")),
        diff=without_keys(diff[:MAX_DIFF_BYTES]),
        diff_truncated=len(diff) > MAX_DIFF_BYTES,
    )


def git(project: Path, *arguments: str) -> bytes:
    """Standard output of git, empty where it fails or is not installed. Takes no lock: other git commands go on."""
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", "-C", str(project), *arguments],
            capture_output=True,
            check=True,
            timeout=TIMEOUT_SECONDS,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError):
        return b""
    return done.stdout


def dirty_files(porcelain: bytes) -> tuple[str, ...]:
    """`git status -z` entries as 'M path' (changed) or '? path' (untracked)."""
    entries = [entry for entry in porcelain.decode("utf-8", "replace").split("\0") if len(entry) > 3]
    return tuple(f"{entry[:2].strip()[:1]} {entry[3:]}" for entry in entries)


def without_keys(diff: bytes) -> str:
    """The diff as text; a line that looks like a key is replaced: the history must hold no secret."""
    lines = diff.splitlines(keepends=True)
    for number, _, kind in secret_scan.find_in(diff):
        lines[number - 1] = lines[number - 1][:1] + f"[left out: looks like {kind}]\n".encode()
    return b"".join(lines).decode("utf-8", "replace")
