"""The code that travels: which files, by content, staged once and shared by every job of a submission.

Nested `.gitignore` files as git reads them, plus a root `.amlignore`, plus what never travels (ALWAYS). Everything
left out is named with the rule that did it. Facts on the SDK's own rules and limits: azureml-core 1.61,
`_restclient/snapshots_client.py` (300 MB, 2,000 files, root ignore file only).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pathspec

from runner import secret_scan
from runner.errors import Place, SnapshotError
from runner.secret_scan import Secret
from runner.spec import SnapshotRef

MAX_BYTES = 300 * 1024 * 1024
MAX_FILES = 2000
CHUNK = 1024 * 1024
IGNORE_FILE = ".amlignore"
# What never travels, whatever the ignore files say: version control, our own state, results, caches, credentials.
ALWAYS = (
    ".git",
    ".runs/",
    "outputs/",
    "multirun/",
    "mlruns/",
    "__pycache__/",
    "*.pyc",
    ".venv*/",
    ".mypy_cache/",
    ".pytest_cache/",
    ".ruff_cache/",
    ".ipynb_checkpoints/",
    ".env*",
    ".azureml/",
)
ALWAYS_SOURCE = "always left out"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file or folder (name ends in '/') that stays here, and the rule that says so."""

    path: str
    rule: str
    source: str


@dataclass(frozen=True, slots=True)
class File:
    """One file of the snapshot: POSIX path relative to the root, content digest, size, whether it is executable."""

    path: str
    sha256: str
    bytes: int
    executable: bool


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What travels from `root`, plus `generated` files (path to text) that exist in the staged copy only."""

    root: Path
    files: tuple[File, ...]
    generated: Mapping[str, str]
    left_out: tuple[LeftOut, ...]
    secrets: tuple[Secret, ...] = ()
    digest: str = ""

    @property
    def ref(self) -> SnapshotRef:
        executables = tuple(file.path for file in self.files if file.executable)
        return SnapshotRef(self.digest, len(self.files), sum(file.bytes for file in self.files), executables)

    def biggest(self, count: int = 10) -> list[File]:
        return sorted(self.files, key=lambda file: (-file.bytes, file.path))[:count]

    def as_json(self) -> dict[str, Any]:
        return {
            "digest": self.digest,
            "root": str(self.root),
            "files": len(self.files),
            "bytes": self.ref.bytes,
            "limits": {"files": MAX_FILES, "bytes": MAX_BYTES},
            "biggest": [{"path": file.path, "bytes": file.bytes} for file in self.biggest()],
            "left_out": [{"path": item.path, "rule": item.rule, "source": item.source} for item in self.left_out],
            "secrets": [{"place": str(item.place), "kind": item.kind} for item in self.secrets],
            "generated": sorted(self.generated),
        }


def take(
    root: Path,
    cache_file: Path | None = None,
    generated: Mapping[str, str] | None = None,
    allowed: Collection[str] = (),
) -> Snapshot:
    """Read what would travel from `root`. Content digests of unchanged files come from `cache_file`.

    `allowed` are paths of files that hold no secret, whatever they look like.
    """
    listing = list(scan(root))
    cache = Cache.load(cache_file)
    read = sorted(
        (cache.read(root, item) for item in listing if isinstance(item, Entry)), key=lambda pair: pair[0].path
    )
    cache.save(cache_file)
    files = tuple(file for file, _ in read)
    secrets = tuple(secret for file, found in read if file.path not in allowed for secret in found)
    left_out = tuple(item for item in listing if isinstance(item, LeftOut))
    extra = dict(generated or {})
    return Snapshot(root, files, extra, left_out, secrets, digest_of(files, extra))


def returned(tree: Path, ref: SnapshotRef) -> Snapshot:
    """A staged copy that has lost its modes, whole and unchanged. Raises SnapshotError for any other tree."""
    paths = sorted(path for path in tree.rglob("*") if path.is_file())
    names = [path.relative_to(tree).as_posix() for path in paths]
    known = [
        File(name, chunk_digest(path), path.stat().st_size, name in ref.executables)
        for name, path in zip(names, paths, strict=True)
        if name != IGNORE_FILE
    ]
    digest = digest_of(known, {})
    if digest != ref.digest:
        raise SnapshotError(f"the code that came back has digest {digest[:12]}, not {ref.digest[:12]}; nothing staged")
    return Snapshot(tree, tuple(known), {}, (), (), digest)


def check(snapshot: Snapshot) -> None:
    """Raise SnapshotError where the snapshot is over a limit or holds what looks like a key."""
    complaints = [f"{item.place}: looks like {item.kind}; {item.advice}" for item in snapshot.secrets]
    total = snapshot.ref.bytes
    top = ", ".join(f"{file.path} ({megabytes(file.bytes)})" for file in snapshot.biggest(3))
    where = "leave data out with .gitignore or .amlignore and name it under 'inputs'"
    if total > MAX_BYTES:
        complaints.append(f"{snapshot.root}: {megabytes(total)} of code is over {megabytes(MAX_BYTES)}; {where}: {top}")
    if len(snapshot.files) > MAX_FILES:
        folders = ", ".join(f"{name}/ ({count} files)" for name, count in busiest_folders(snapshot.files))
        complaints.append(f"{snapshot.root}: {len(snapshot.files)} files are over {MAX_FILES}; {where}: {folders}")
    if complaints:
        raise SnapshotError("\n".join(complaints))


def stage(snapshot: Snapshot, destination: Path) -> Path:
    """Copy the snapshot to `destination` unless it is there. All or nothing: written beside, then renamed."""
    if destination.is_dir():
        return destination
    beside = destination.with_name(f"{destination.name}.{os.getpid()}.part")
    try:
        write_copy(snapshot, beside)
        with contextlib.suppress(OSError):  # somebody else may have staged the same content just now
            beside.rename(destination)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    if not destination.is_dir():
        raise SnapshotError(f"{destination}: could not be written; check the disk and its permissions")
    return destination


def write_copy(snapshot: Snapshot, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for file in snapshot.files:
        target = folder / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        copy(snapshot.root / file.path, target, file)
    for path, text in snapshot.generated.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    # An empty one, or the SDK applies .gitignore a second time and drops files that were chosen here.
    (folder / IGNORE_FILE).write_text("", encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Entry:
    path: str
    status: os.stat_result


@dataclass
class Ignore:
    """One ignore file (or ALWAYS): patterns hold below `folder`, given relative to the root ('' for the root).

    `above` is the way from a parent folder of the root down to it, for the ignore files of parents.
    """

    folder: str
    source: str
    lines: list[str]
    above: str = ""
    rules: list[tuple[str, Any]] = field(init=False)

    def __post_init__(self) -> None:
        self.rules = [rule for line in self.lines for rule in rules_of(line)]

    def verdict(self, path: str) -> tuple[bool, str] | None:
        """(ignored?, the line that decided), None where no pattern matches. `path` ends in '/' for a folder."""
        local = path[len(self.folder) + 1 :] if self.folder else self.above + path
        for line, pattern in reversed(self.rules):  # the last line that matches decides
            if matches_itself(pattern.regex.match(local), line, local):
                return bool(pattern.include), line
        return None


def rules_of(line: str) -> list[tuple[str, Any]]:
    """The line with its pattern, nothing for comments and for what git ignores as no pattern."""
    try:
        patterns = pathspec.GitIgnoreSpec.from_lines([line]).patterns
    except ValueError:
        return []
    return [(line, pattern) for pattern in patterns if pattern.include is not None]


def matches_itself(found: re.Match[str] | None, line: str, path: str) -> bool:
    """Whether the pattern means this entry, not a folder above it: folders are left out on their own account.

    pathspec lets a pattern match what is below a folder, so `!keep` would bring back everything in it; git does not.
    """
    if found is None or line.rstrip().endswith("/**"):
        return found is not None
    below = found.groupdict().get("ps_d")
    return below is None or found.end("ps_d") == len(path)


def scan(root: Path, folder: str = "", inherited: Sequence[Ignore] = ()) -> Iterator[Entry | LeftOut]:
    """Walk `root`; a folder that is left out is not entered, as in git, so what is below it costs nothing."""
    here = root / folder if folder else root
    ignores = [*inherited, *ignores_of(here, folder)]
    for entry in sorted(os.scandir(here), key=lambda item: item.name):
        path = f"{folder}/{entry.name}" if folder else entry.name
        is_folder = entry.is_dir(follow_symlinks=False)
        shown = f"{path}/" if is_folder else path
        reason = why_left_out(entry, shown, ignores)
        if reason is not None:
            yield reason
        elif is_folder:
            yield from scan(root, path, ignores)
        else:
            yield Entry(path, entry.stat())


def ignores_of(here: Path, folder: str) -> list[Ignore]:
    found = [] if folder else [Ignore("", ALWAYS_SOURCE, list(ALWAYS)), *ignores_above(here)]
    for name in (".gitignore",) if folder else (".gitignore", IGNORE_FILE):
        path = here / name
        if path.is_file():
            found.append(Ignore(folder, f"{folder}/{name}" if folder else name, lines_of(path)))
    return found


def ignores_above(root: Path) -> list[Ignore]:
    """`.gitignore` files of the folders between the repository's top and `root`, and its `.git/info/exclude`."""
    resolved = root.resolve()
    folders = [resolved, *resolved.parents]
    tops = [index for index, folder in enumerate(folders) if (folder / ".git").exists()]
    if not tops:
        return []
    found = []
    for folder in reversed(folders[: tops[0] + 1]):
        above = f"{resolved.relative_to(folder)}/" if folder != resolved else ""
        for name in (".git/info/exclude", ".gitignore"):
            path = folder / name
            if path.is_file() and not (folder == resolved and name == ".gitignore"):
                found.append(Ignore("", os.path.relpath(path, resolved), lines_of(path), above))
    return found


def lines_of(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").splitlines()


def why_left_out(entry: os.DirEntry[str], shown: str, ignores: Sequence[Ignore]) -> LeftOut | None:
    for ignore in ignores:  # what never travels cannot be brought back by a later file
        verdict = ignore.verdict(shown) if ignore.source == ALWAYS_SOURCE else None
        if verdict is not None and verdict[0]:
            return LeftOut(shown, verdict[1], ALWAYS_SOURCE)
    for ignore in reversed(ignores):
        verdict = ignore.verdict(shown)
        if verdict is not None:
            if verdict[0]:
                return LeftOut(shown, verdict[1], ignore.source)
            break
    return odd_entry(entry, shown)


def odd_entry(entry: os.DirEntry[str], shown: str) -> LeftOut | None:
    if entry.is_symlink() and not Path(entry.path).exists():
        return LeftOut(shown, "a broken symbolic link", ALWAYS_SOURCE)
    if entry.is_symlink() and entry.is_dir():
        return LeftOut(shown, "a symbolic link to a folder", ALWAYS_SOURCE)
    if entry.is_dir(follow_symlinks=False):
        return None
    if not stat.S_ISREG(entry.stat().st_mode):
        return LeftOut(shown, "not a regular file", ALWAYS_SOURCE)
    if entry.name == "config.json" and "subscription_id" in Path(entry.path).read_text("utf-8", errors="replace"):
        return LeftOut(shown, "a workspace's config.json", ALWAYS_SOURCE)
    return None


@dataclass
class Cache:
    """What was read of each file (digest, lines with keys), valid while size, mtime, ctime and inode are the same."""

    known: dict[str, list[Any]] = field(default_factory=dict)
    before: str = ""

    @classmethod
    def load(cls, path: Path | None) -> Cache:
        try:
            text = path.read_text(encoding="utf-8") if path else "{}"
            return cls(dict(json.loads(text)), text)
        except (OSError, ValueError, TypeError):
            return cls()

    def save(self, path: Path | None) -> None:
        text = json.dumps(self.known)
        if path is not None and text != self.before:
            path.parent.mkdir(parents=True, exist_ok=True)
            beside = path.with_name(f"{path.name}.{os.getpid()}.part")
            beside.write_text(text, encoding="utf-8")
            beside.replace(path)

    def read(self, root: Path, entry: Entry) -> tuple[File, list[Secret]]:
        status, full = entry.status, root / entry.path
        identity = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
        row = self.known.get(str(full))
        if row is None or row[:4] != identity:
            self.known[str(full)] = row = [*identity, *read_file(full, status.st_size)]
        executable = bool(status.st_mode & stat.S_IXUSR)
        secrets = [Secret(Place(entry.path, line, column), kind) for line, column, kind in row[5]]
        return File(entry.path, str(row[4]), status.st_size, executable), secrets


def read_file(path: Path, size: int) -> tuple[str, list[tuple[int, int, str]]]:
    """Content digest, and line, column and kind of each thing that looks like a key."""
    if size > secret_scan.MAX_BYTES:
        return chunk_digest(path), []
    content = path.read_bytes()
    return hashlib.sha256(content).hexdigest(), list(secret_scan.find_in(content))


def chunk_digest(path: Path) -> str:
    hasher = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            hasher.update(chunk)
    return hasher.hexdigest()


def copy(source: Path, target: Path, file: File) -> None:
    """Copy and compare: a file saved since it was read would run under the wrong digest."""
    hasher = hashlib.sha256()
    with source.open("rb") as reader, target.open("wb") as writer:
        while chunk := reader.read(CHUNK):
            hasher.update(chunk)
            writer.write(chunk)
    if hasher.hexdigest() != file.sha256:
        raise SnapshotError(f"{source}: changed while it was being staged; run the command again")
    target.chmod(0o755 if file.executable else 0o644)


def digest_of(files: Iterable[File], generated: Mapping[str, str]) -> str:
    """sha256 over path, content and mode of everything that is staged, except the .amlignore, which is always empty."""
    found = {file.path: (file.sha256, file.executable) for file in files}
    found |= {path: (hashlib.sha256(text.encode()).hexdigest(), False) for path, text in generated.items()}
    rows = [[path, *found[path]] for path in sorted(found) if path != IGNORE_FILE]
    return hashlib.sha256(json.dumps(rows, separators=(",", ":")).encode("utf-8", "surrogateescape")).hexdigest()


def busiest_folders(files: Sequence[File], count: int = 3) -> list[tuple[str, int]]:
    totals: dict[str, int] = {}
    for file in files:
        top = file.path.rpartition("/")[0] or "."
        totals[top] = totals.get(top, 0) + 1
    return sorted(totals.items(), key=lambda item: -item[1])[:count]


def megabytes(count: int) -> str:
    """A size for people; below a tenth of a megabyte in kilobytes."""
    return f"{count / 1024 / 1024:.1f} MB" if count >= 100 * 1024 or not count else f"{count / 1024:.1f} KB"
