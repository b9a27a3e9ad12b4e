"""The work tree a plan was made from: commit, branch, dirty files and the diff."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from runner import secret_scan
from runner.redact import redact
from runner.spec import GitState

MAX_DIFF_BYTES = 1024 * 1024
TIMEOUT_SECONDS = 60
FIELDS_BEFORE_PATH = {"1": 7, "u": 9}  # changed, unmerged


def git_state(project: Path) -> GitState:
    """The state of the git work tree around `project`; an empty one where there is none (or no git)."""
    said = git(project, "status", "--porcelain=v2", "--branch", "-z", "--untracked-files=all", "--no-renames")
    if not said:
        return GitState()
    lines = [line for line in said.decode("utf-8", "replace").split("\0") if line]
    headers = dict(line[2:].split(" ", 1) for line in lines if line.startswith("# "))
    commit, branch = headers.get("branch.oid"), headers.get("branch.head")
    dirty = dirty_files(lines)
    changed = commit != "(initial)" and any(not entry.startswith("?") for entry in dirty)
    diff = git(project, "diff", "HEAD", "--no-color", "--no-ext-diff") if changed else b""
    return GitState(
        commit=None if commit == "(initial)" else commit,
        branch=None if branch == "(detached)" else branch,
        dirty=dirty,
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


def dirty_files(lines: Sequence[str]) -> tuple[str, ...]:
    """Entries of `git status --porcelain=v2 -z` as 'M path' (changed) or '? path' (untracked)."""
    found = []
    for line in lines:
        kind, _, rest = line.partition(" ")
        if kind == "?":
            found.append(f"? {rest}")
        elif kind in FIELDS_BEFORE_PATH:
            *fields, path = rest.split(" ", FIELDS_BEFORE_PATH[kind])
            found.append(f"{fields[0].replace('.', '')[:1]} {path}")
    return tuple(found)


def without_keys(diff: bytes) -> str:
    """The diff as text; a line that looks like a key is replaced: the history must hold no secret."""
    lines = diff.splitlines(keepends=True)
    for number, _, kind in secret_scan.find_in(diff):
        lines[number - 1] = lines[number - 1][:1] + f"[left out: looks like {kind}]\n".encode()
    return redact(b"".join(lines).decode("utf-8", "replace"))
