"""Two plans: every kind of change is named, and what says nothing is not."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from runner import history
from runner.compare import ABSENT, MAX_DIFF_LINES, code_differences, differences
from runner.spec import GitState, Layout, Plan, SnapshotRef
from tests.plans import make_plan

PROJECT = Path("/p")
CONFIG = {"a": 1, "m": {"b": [1, 2], "e": {}}, "n": None, "t": "x"}


def found(old: dict[str, Any], new: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    one, two = make_plan(PROJECT, "r-1", **old), make_plan(PROJECT, "r-2", **new)
    return [(item.path, item.old, item.new) for item in differences(one, two)]


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        ({}, []),
        ({"a": 2}, [("config.a", 1, 2)]),
        ({"a": 1.0}, [("config.a", 1, 1.0)]),  # another number in the digest
        ({"a": True}, [("config.a", 1, True)]),
        ({"a": "1"}, [("config.a", 1, "1")]),
        ({"n": 0}, [("config.n", None, 0)]),
        ({"n": {"x": 1}}, [("config.n", None, ABSENT), ("config.n.x", ABSENT, 1)]),
        ({"m": {"b": [1, 2], "e": {"f": 1}}}, [("config.m.e", {}, ABSENT), ("config.m.e.f", ABSENT, 1)]),
        ({"m": {"b": [2, 1], "e": {}}}, [("config.m.b", [1, 2], [2, 1])]),
        ({"m": {"b": [], "e": {}}}, [("config.m.b", [1, 2], [])]),
        ({"m": {"e": {}, "b": [1, 2]}}, []),  # the order of keys says nothing
        ({"m": {}}, [("config.m.b", [1, 2], ABSENT), ("config.m.e", {}, ABSENT), ("config.m", ABSENT, {})]),
        ({"new": {"x": float("inf")}}, [("config.new.x", ABSENT, float("inf"))]),
        ({"t": "ü\n"}, [("config.t", "x", "ü\n")]),
    ],
)
def test_values_of_the_configuration(new: dict[str, Any], expected: list[tuple[str, Any, Any]]) -> None:
    assert found({"config": CONFIG}, {"config": {**CONFIG, **new}}) == expected


def test_nan_is_the_same_nan() -> None:
    assert found({"config": {"a": float("nan")}}, {"config": {"a": float("nan")}}) == []


@pytest.mark.parametrize(
    ("new", "paths"),
    [
        ({"name": "b"}, ["name"]),
        ({"target": "azureml"}, ["target"]),
        ({"overrides": ("a=1",)}, ["overrides"]),
        ({"frozen": ("++a=1",)}, ["frozen"]),
        ({"choices": {"model": "x"}}, ["choices", "choices.model"]),
        (
            {"layout": Layout("mpi", 1, 2)},
            [f"layout.{k}" for k in ("kind", "processes_per_node", "ranks", "world_size")],
        ),
        ({"python": "/other"}, ["python"]),
        ({"script": "b.py"}, ["script"]),
        ({"command": ("ls",)}, ["command"]),
        ({"shell": "ls"}, ["shell"]),
        ({"environment": {"A": "1"}}, ["environment", "environment.A"]),
        ({"secrets": ("KEY",)}, ["secrets"]),
        ({"inputs": {"x": {"path": "p"}}}, ["inputs", "inputs.x.path"]),
        ({"limits": {"max_minutes": 1}}, ["limits", "limits.max_minutes"]),
        ({"resolved": {"env": "x"}}, ["resolved", "resolved.env"]),
        ({"git": GitState("a" * 40)}, ["git.commit"]),
        ({"git": GitState(dirty=("? x",), diff="y")}, ["git.diff", "git.dirty"]),
        ({"cost": {"nodes": 1}}, ["cost", "cost.nodes"]),
        # The same in every respect that matters.
        ({"created": "2027-01-01T00:00:00+00:00"}, []),
        ({"project": "/elsewhere"}, []),
        ({"digests": {"config": "1"}}, []),
        ({"snapshot": SnapshotRef("other", 1, 1)}, []),
        ({"request": {"x": 1}}, []),
        ({"resumes": "r-0"}, []),
    ],
)
def test_what_else_a_plan_holds(new: dict[str, Any], paths: list[str]) -> None:
    assert sorted(path for path, _, _ in found({}, new)) == sorted(paths)


def test_every_field_of_a_plan_is_compared_or_left_out_on_purpose() -> None:
    from runner.compare import IGNORED

    fields = {field.name for field in dataclasses.fields(Plan)}
    assert set(IGNORED) <= fields
    assert "config" not in IGNORED


def test_the_configuration_comes_first() -> None:
    paths = [path for path, _, _ in found({"name": "a"}, {"name": "b", "config": {"z": 1}, "choices": {"m": "x"}})]
    assert paths[0].startswith("config.")
    assert len(paths) == len(set(paths))


# Code


@pytest.fixture
def stages(tmp_path: Path) -> tuple[Path, Path]:
    folders = [history.snapshot_dir(tmp_path, digest) for digest in ("old", "new")]
    for folder in folders:
        folder.mkdir(parents=True)
    return folders[0], folders[1]


def lines(project: Path, old: str = "old", new: str = "new") -> list[str]:
    plans = [make_plan(project, f"r-{name}", snapshot=SnapshotRef(name, 1, 1)) for name in (old, new)]
    return code_differences(project, plans[0], plans[1])


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (b"a\nb\n", b"a\nc\n", ["-b", "+c"]),
        (None, b"a\n", ["+a"]),
        (b"a\n", None, ["-a"]),
        (None, b"", ["+(empty)"]),
        (b"", b"x\n", ["-(empty)", "+x"]),
        (b"a\n", b"a", ["+(no line break at the end)"]),
        (b"a\n", b"a\r\n", ["-a", "+a\\r"]),
        (b"\xff\x00a", b"\xff\x00b", ["-(binary, 3 bytes, sha256 ", "+(binary, 3 bytes, sha256 "]),
        (b"text\n", b"\xff", ["-text", "+(binary, 1 bytes, sha256 "]),
        ("ü\n".encode(), "ö\n".encode(), ["-ü", "+ö"]),
        (b"a\x0cb\n", b"a\x0cc\n", ["-a\x0cb", "+a\x0cc"]),
    ],
)
def test_files_that_differ(
    tmp_path: Path, stages: tuple[Path, Path], old: bytes | None, new: bytes | None, expected: list[str]
) -> None:
    for folder, content in zip(stages, (old, new), strict=True):
        if content is not None:
            (folder / "f").write_bytes(content)
        (folder / "same").write_bytes(b"\xff")
    found = [line for line in lines(tmp_path) if line[0] in "+-" and line[:3] not in ("+++", "---")]
    assert [line[: len(start)] for line, start in zip(found, expected, strict=True)] == expected


def test_a_mode_that_differs(tmp_path: Path, stages: tuple[Path, Path]) -> None:
    for folder, mode in zip(stages, (0o644, 0o755), strict=True):
        (folder / "run.sh").write_text("ls\n")
        (folder / "run.sh").chmod(mode)
    assert lines(tmp_path) == ["--- old/run.sh", "+++ new/run.sh", "@@ -1 +1,2 @@", "+(executable)", " ls"]


def test_files_are_in_order_with_their_folders(tmp_path: Path, stages: tuple[Path, Path]) -> None:
    for name in ("b/c.py", "a.py", "b/a.py"):
        (stages[1] / name).parent.mkdir(exist_ok=True)
        (stages[1] / name).write_text("x\n")
    assert [line for line in lines(tmp_path) if line.startswith("+++")] == [
        "+++ new/a.py",
        "+++ new/b/a.py",
        "+++ new/b/c.py",
    ]


def test_a_long_diff_is_cut_and_says_so(tmp_path: Path, stages: tuple[Path, Path]) -> None:
    (stages[1] / "f").write_text("x\n" * 500)
    found = lines(tmp_path)
    assert (len(found), found[-1]) == (MAX_DIFF_LINES + 1, "...")
    (stages[1] / "f").write_text("x\n" * (MAX_DIFF_LINES - 3))
    assert (len(lines(tmp_path)), lines(tmp_path)[-1]) == (MAX_DIFF_LINES, "+x")


def test_code_that_is_gone_is_said(tmp_path: Path, stages: tuple[Path, Path]) -> None:
    assert lines(tmp_path, "gone") == ["the code gone of r-gone is not staged here (any more)"]
    assert lines(tmp_path, new="gone") == ["the code gone of r-gone is not staged here (any more)"]
    assert lines(tmp_path, "gone", "gone") == []  # the same, wherever it is
