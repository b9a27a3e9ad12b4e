"""Find the code of an earlier plan again: staged, in the work tree, or in a commit. What is found is its digest's."""

from __future__ import annotations

import io
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from runner import history
from runner.errors import SnapshotError
from runner.git_state import git
from runner.snapshot import Snapshot, returned, stage, take
from runner.spec import GitState, SnapshotRef


@dataclass(frozen=True, slots=True)
class CodeRef:
    """A snapshot by digest: `root` is relative to the project, `generated` are the files that only the copy has."""

    digest: str
    root: str = "."
    generated: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, snapshot: Snapshot, project: Path) -> CodeRef:
        root = snapshot.root.resolve().relative_to(project.resolve())
        return cls(snapshot.digest, root.as_posix(), dict(snapshot.generated))

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def restore(ref: CodeRef, project: Path, commit: GitState | None) -> Path:
    """Stage the code of `ref` in this project's history. Raises SnapshotError that says where was looked."""
    staged = history.snapshot_dir(project, ref.digest)
    if staged.is_dir():
        return staged
    history.hide_from_git(project)
    for tree in trees(project, commit):
        found = take(tree / ref.root, None, ref.generated) if (tree / ref.root).is_dir() else None
        if found is not None and found.digest == ref.digest:
            return stage(found, staged)
    where = f"commit {commit.commit[:12]} of this repository" if commit and commit.commit else "any commit"
    dirty = f" ({len(commit.dirty)} files were not committed then)" if commit and commit.dirty else ""
    raise SnapshotError(
        f"code {ref.digest[:12]} is not staged here, is not what the work tree holds, and is not {where}{dirty}; "
        "run it where it was locked, or lock again from a clean commit"
    )


def keep(tree: Path, ref: SnapshotRef, project: Path) -> Path:
    """Stage code that came back from where it was sent, with the modes that a service loses.

    Raises SnapshotError if it is not what `ref` says.
    """
    history.hide_from_git(project)
    return stage(returned(tree, ref), history.snapshot_dir(project, ref.digest))


def trees(project: Path, commit: GitState | None) -> Iterator[Path]:
    """Folders that may hold the code: the project, then the project at the commit (with the diff of that time)."""
    yield project
    if commit is None or commit.commit is None:
        return
    archive = git(top_of(project), "archive", "--format=tar", commit.commit)
    if not archive:
        return
    with tempfile.TemporaryDirectory(prefix="amlrun-") as folder:
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            safely: Any = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # older patch releases
            tar.extractall(folder, **safely)  # noqa: S202 - git's own archive of this repository
        top = Path(folder)
        (top / ".git").mkdir()  # so that ignore files of the repository hold, as they did
        inside = git(project, "rev-parse", "--show-prefix").decode().strip()
        yield top / inside
        if commit.diff and not commit.diff_truncated and applied(commit.diff, top):
            yield top / inside


def top_of(project: Path) -> Path:
    """The repository's top folder: archives of a subfolder would leave the rest out."""
    return Path(git(project, "rev-parse", "--show-toplevel").decode().strip() or project)


def applied(diff: str, top: Path) -> bool:
    command = ["git", "apply", "--whitespace=nowarn", "-"]
    done = subprocess.run(command, cwd=top, input=diff.encode(), capture_output=True)
    return done.returncode == 0
