"""The snapshot: the same files that git would take, named reasons for the rest, limits, keys, staging."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runner import snapshot
from runner.errors import SnapshotError
from runner.spec import SnapshotRef

NAMES = st.sampled_from(["a", "b", "data", "logs", "x.log", "keep.txt", "sub", "y.bin"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
PATTERNS = st.sampled_from(
    [
        "*.log",
        "data/",
        "/a",
        "!keep.txt",
        "b/*",
        "!b/keep.txt",
        "**/sub",
        "sub/**",
        "# note",
        "",
        "a/b",
        "/data/*",
        "x*",
    ]
)
KEY_LINE = "-----BEGIN RSA PRIVATE " + "KEY-----"


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def taken(root: Path) -> list[str]:
    return [file.path for file in snapshot.take(root).files]


def reasons(root: Path) -> dict[str, tuple[str, str]]:
    return {item.path: (item.rule, item.source) for item in snapshot.take(root).left_out}


def git_would_take(root: Path) -> list[str]:
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    command = ["git", "-C", str(root), "-c", "core.excludesFile=/dev/null", "ls-files", "-coz", "--exclude-standard"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return sorted(filter(None, listed.split("\0")))


@settings(
    max_examples=500 if os.environ.get("FULL") else 25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    paths=st.lists(PATHS, min_size=1, max_size=8),
    root_rules=st.lists(PATTERNS, max_size=4),
    nested=st.dictionaries(st.sampled_from(["a", "b", "data", "sub"]), st.lists(PATTERNS, max_size=3), max_size=2),
)
def test_takes_what_git_takes(
    tmp_path_factory: pytest.TempPathFactory, paths: list[str], root_rules: list[str], nested: dict[str, list[str]]
) -> None:
    root = tmp_path_factory.mktemp("tree")
    ignores = {f"{folder}/.gitignore": "\n".join(rules) for folder, rules in nested.items()}
    for name, text in {**dict.fromkeys(paths, "x"), ".gitignore": "\n".join(root_rules), **ignores}.items():
        path = root / name
        if any(parent.is_file() for parent in path.parents) or path.is_dir():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert taken(root) == git_would_take(root)


def test_names_the_rule_and_the_file_that_left_something_out(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {".gitignore": "data/\n*.log\n", "data/big": "x", "sub/.gitignore": "!run.log\nnotes\n", "sub/run.log": "x"}
        | {"sub/notes": "x", "a.log": "x", ".env.local": "A=1", "outputs/model.pt": "x", "train.py": "x"},
    )
    assert taken(root) == [".gitignore", "sub/.gitignore", "sub/run.log", "train.py"]
    assert reasons(root) == {
        ".env.local": (".env*", snapshot.ALWAYS_SOURCE),
        "a.log": ("*.log", ".gitignore"),
        "data/": ("data/", ".gitignore"),
        "outputs/": ("outputs/", snapshot.ALWAYS_SOURCE),
        "sub/notes": ("notes", "sub/.gitignore"),
    }


def test_gitignore_of_parent_folders_of_the_repository_holds(tmp_path: Path) -> None:
    root = (
        write(tmp_path, {".gitignore": "*.bin\n/code/only_here\n", "code/a.bin": "x", "code/only_here": "x"}) / "code"
    )
    (root / "train.py").write_text("x")
    assert taken(root) == ["a.bin", "only_here", "train.py"]  # no repository: the parent folder is none of ours
    (tmp_path / ".git").mkdir()
    assert taken(root) == ["train.py"]
    assert reasons(root)["a.bin"] == ("*.bin", "../.gitignore")


def test_amlignore_adds_to_gitignore(tmp_path: Path) -> None:
    root = write(tmp_path, {".gitignore": "a\n", ".amlignore": "b\n", "a": "x", "b": "x", "c": "x"})
    assert taken(root) == [".amlignore", ".gitignore", "c"]


def test_what_never_travels_cannot_be_brought_back(tmp_path: Path) -> None:
    root = write(tmp_path, {".gitignore": "!.env\n!.git\n", ".env": "TOKEN=1", ".git/HEAD": "x"})
    assert taken(root) == [".gitignore"]


def test_a_workspace_config_stays_and_another_config_json_travels(tmp_path: Path) -> None:
    root = write(tmp_path, {"config.json": '{"subscription_id": "x"}', "model/config.json": '{"layers": 2}'})
    assert taken(root) == ["model/config.json"]


def test_links_are_followed_to_files_only(tmp_path: Path) -> None:
    root = write(tmp_path, {"real.py": "x", "sub/a": "x"})
    (root / "link.py").symlink_to("real.py")
    (root / "broken").symlink_to("nowhere")
    (root / "folder").symlink_to("sub")
    os.mkfifo(root / "pipe")
    assert taken(root) == ["link.py", "real.py", "sub/a"]
    assert {path: rule for path, (rule, _) in reasons(root).items()} == {
        "broken": "a broken symbolic link",
        "folder": "a symbolic link to a folder",
        "pipe": "not a regular file",
    }


def test_ignored_folder_is_not_entered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write(tmp_path, {".gitignore": "data/\n", "data/deep/file": "x", "a": "x"})
    entered: list[str] = []
    real = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: entered.append(Path(path).name) or real(path))
    assert taken(root) == [".gitignore", "a"]
    assert entered == [root.name]


def test_digest_is_of_content_paths_and_modes(tmp_path: Path) -> None:
    one, two = write(tmp_path / "one", {"a": "x", "b/c": "y"}), write(tmp_path / "two", {"b/c": "y", "a": "x"})
    assert snapshot.take(one).digest == snapshot.take(two).digest
    (two / "a").chmod(0o755)
    with_mode = snapshot.take(two).digest
    assert with_mode != snapshot.take(one).digest
    (two / "a").write_text("z")
    assert snapshot.take(two).digest != with_mode
    assert snapshot.take(one, None, {"entry.py": "1"}).digest != snapshot.take(one).digest


def test_unchanged_files_are_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, cache = write(tmp_path / "code", {"a": "x", "b": "y"}), tmp_path / "index.json"
    first = snapshot.take(root, cache)
    (root / "b").write_text("changed")
    read: list[str] = []
    real = snapshot.read_file
    monkeypatch.setattr(snapshot, "read_file", lambda path, size: read.append(path.name) or real(path, size))
    second = snapshot.take(root, cache)
    assert read == ["b"]
    assert second.digest != first.digest


def test_unreadable_cache_costs_only_time(tmp_path: Path) -> None:
    root, cache = write(tmp_path / "code", {"a": "x"}), tmp_path / "index.json"
    cache.write_text("[not json")
    assert snapshot.take(root, cache).digest == snapshot.take(root).digest


def test_key_is_refused_by_file_and_line_unless_allowed(tmp_path: Path) -> None:
    root = write(tmp_path, {"deploy/id_rsa": f"\n{KEY_LINE}\nabc\n", "doc.md": f"{KEY_LINE} amlrun: allow-secret\n"})
    with pytest.raises(SnapshotError) as refused:
        snapshot.check(snapshot.take(root))
    assert str(refused.value).startswith("deploy/id_rsa:2:1: looks like a private key; keep it out")
    assert "doc.md" not in str(refused.value)


def test_key_in_a_file_that_is_allowed_by_name(tmp_path: Path) -> None:
    root = write(tmp_path, {"tests/fake.pem": KEY_LINE, "real.pem": KEY_LINE})
    found = snapshot.take(root, None, None, ["tests/fake.pem"]).secrets
    assert [secret.place.source for secret in found] == ["real.pem"]


def test_key_found_before_is_found_again_from_the_cache(tmp_path: Path) -> None:
    root, cache = write(tmp_path / "code", {"id": KEY_LINE}), tmp_path / "index.json"
    assert snapshot.take(root, cache).secrets == snapshot.take(root, cache).secrets != ()


def test_limits_name_what_is_biggest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "MAX_BYTES", 10)
    monkeypatch.setattr(snapshot, "MAX_FILES", 2)
    root = write(tmp_path, {"data/a": "x" * 20, "data/b": "x", "train.py": "x"})
    with pytest.raises(SnapshotError) as refused:
        snapshot.check(snapshot.take(root))
    message = str(refused.value)
    assert "data/a (0.0 KB)" in message
    assert "3 files are over 2" in message
    assert "data/ (2 files)" in message


def test_stage_copies_content_and_modes_and_empties_the_amlignore(tmp_path: Path) -> None:
    root = write(tmp_path / "code", {"run.sh": "#!", "pkg/a.py": "x", ".amlignore": "*.bin", ".gitignore": "*.log"})
    (root / "run.sh").chmod(0o755)
    taken_now = snapshot.take(root, None, {"entry.py": "print(1)\n"})
    staged = snapshot.stage(taken_now, tmp_path / "staged" / taken_now.digest)
    assert (staged / "pkg/a.py").read_text() == "x"
    assert (staged / "entry.py").read_text() == "print(1)\n"
    assert os.access(staged / "run.sh", os.X_OK)
    assert (staged / ".amlignore").read_text() == ""
    assert (staged / ".gitignore").read_text() == "*.log"


def test_file_saved_while_staging_is_noticed_and_nothing_is_left(tmp_path: Path) -> None:
    root = write(tmp_path / "code", {"a.py": "x"})
    taken_before = snapshot.take(root)
    (root / "a.py").write_text("saved later")
    with pytest.raises(SnapshotError, match=r"a\.py: changed while it was being staged"):
        snapshot.stage(taken_before, tmp_path / "staged" / "digest")
    assert list((tmp_path / "staged").iterdir()) == []


CODE = {"run.sh": "#!", "pkg/ä.py": "x", ".amlignore": "*.bin", ".gitignore": "*.log"}


@pytest.fixture
def came_back(tmp_path: Path) -> tuple[Path, SnapshotRef]:
    """A staged copy as a service hands it back: without modes."""
    root = write(tmp_path / "code", CODE)
    (root / "run.sh").chmod(0o755)
    sent = snapshot.take(root, None, {"entry.py": "print(1)\n", "configs/ü.yaml": "a: 1\n"})
    tree = tmp_path / "back"
    shutil.copytree(snapshot.stage(sent, tmp_path / "staged" / sent.digest), tree)
    (tree / "run.sh").chmod(0o644)
    return tree, sent.ref


def test_code_that_comes_back_is_what_was_sent_with_its_modes(
    tmp_path: Path, came_back: tuple[Path, SnapshotRef]
) -> None:
    tree, ref = came_back
    again = snapshot.stage(snapshot.returned(tree, ref), tmp_path / "again")

    assert ref.executables == ("run.sh",)
    before = tmp_path / "staged" / ref.digest
    for path in sorted(item for item in before.rglob("*") if item.is_file()):
        same = again / path.relative_to(before)
        assert (same.read_bytes(), same.stat().st_mode) == (path.read_bytes(), path.stat().st_mode)


CHANGES: dict[str, Callable[[Path], object]] = {
    "a file more": lambda tree: (tree / "more.py").write_text(""),
    "a file less": lambda tree: (tree / "entry.py").unlink(),
    "another content": lambda tree: (tree / "entry.py").write_text("print(2)\n"),
    "another name": lambda tree: (tree / "entry.py").rename(tree / "entry2.py"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_code_that_comes_back_changed_is_refused(change: str, came_back: tuple[Path, SnapshotRef]) -> None:
    tree, ref = came_back
    CHANGES[change](tree)
    with pytest.raises(SnapshotError, match=f"not {ref.digest[:12]}; nothing staged"):
        snapshot.returned(tree, ref)


def test_the_digest_is_of_what_travels_not_of_what_is_left_out(tmp_path: Path) -> None:
    """The .amlignore travels empty, and a generated file takes the place of one of that name."""
    one = write(tmp_path / "one", {"a.py": "x", ".amlignore": "*.bin", "entry.py": "old"})
    two = write(tmp_path / "two", {"a.py": "x"})
    made = {"entry.py": "new"}
    assert snapshot.take(one, None, made).digest == snapshot.take(two, None, made).digest
