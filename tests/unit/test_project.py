"""Which project a command is about."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.errors import ConfigError
from runner.project import find_project
from tests.conftest import write

MARK = {"configs/config.yaml": ""}


@pytest.fixture
def nested(tmp_path: Path) -> Path:
    """A project in a folder of another one."""
    write(tmp_path / "outer", MARK | {"a/b/c.py": ""})
    write(tmp_path / "outer/inner", MARK | {"src/deep/x.py": ""})
    return tmp_path


@pytest.mark.parametrize(
    ("start", "found"),
    [
        ("outer", "outer"),
        ("outer/a/b", "outer"),
        ("outer/configs", "outer"),
        ("outer/inner", "outer/inner"),
        ("outer/inner/src/deep", "outer/inner"),
        ("outer/a/../inner", "outer/inner"),
    ],
)
def test_the_nearest_one_upward(nested: Path, start: str, found: str) -> None:
    assert find_project(None, nested / start) == (nested / found).resolve()


def test_the_named_one_wins_and_is_not_looked_for_upward(nested: Path) -> None:
    start = nested / "outer/inner"
    assert find_project(nested / "outer", start) == (nested / "outer").resolve()
    with pytest.raises(ConfigError, match=r"outer/a/configs/config\.yaml: not found; --project names a folder"):
        find_project(nested / "outer/a", start)


def test_a_relative_name_and_a_link_become_the_real_folder(nested: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(nested / "outer")
    assert find_project(Path("inner"), Path.cwd()) == (nested / "outer/inner").resolve()
    assert find_project(Path(), Path.cwd()) == (nested / "outer").resolve()
    (nested / "link").symlink_to(nested / "outer/inner", target_is_directory=True)
    assert find_project(None, nested / "link/src") == (nested / "outer/inner").resolve()
    assert find_project(nested / "link", nested) == (nested / "outer/inner").resolve()


@pytest.mark.parametrize("files", [{}, {"config.yaml": ""}, {"configs/config.yml": ""}, {"configs/config.yaml/x": ""}])
def test_none_anywhere(tmp_path: Path, files: dict[str, str]) -> None:
    write(tmp_path, files)
    with pytest.raises(ConfigError) as refused:
        find_project(None, tmp_path)
    assert str(refused.value) == (
        f"configs/config.yaml: not found in '{tmp_path}' or above; go to the project's folder, or name it with "
        "--project DIR"
    )


def test_a_link_that_leads_nowhere_is_no_project(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/config.yaml").symlink_to(tmp_path / "gone")
    with pytest.raises(ConfigError, match="not found"):
        find_project(None, tmp_path)


def test_a_folder_that_cannot_be_entered_is_no_project(nested: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.is_file

    def closed(path: Path) -> bool:
        if "inner" in path.parts:
            raise PermissionError(13, "Permission denied", str(path))  # what a mode of 0 does to all but root
        return real(path)

    monkeypatch.setattr(Path, "is_file", closed)
    assert find_project(None, nested / "outer/inner/src") == (nested / "outer").resolve()
    with pytest.raises(ConfigError, match="not found; --project names"):
        find_project(nested / "outer/inner", nested)
