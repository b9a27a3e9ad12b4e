"""Questions about paths that people write. Too long a name, or a folder that may not be entered, is an answer: no."""

from __future__ import annotations

from pathlib import Path


def is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def is_there(name: str, folder: Path) -> bool:
    """Whether something has that name, which is relative to `folder` or begins with `~`."""
    try:
        return (folder / Path(name).expanduser()).exists()
    except (OSError, ValueError, RuntimeError):  # RuntimeError: `~name` of nobody
        return False


def resolved(path: Path) -> Path:
    """Without `..` and links, as far as that can be known."""
    try:
        return path.resolve()
    except (OSError, ValueError):
        return path


def listed(folder: Path, pattern: str) -> list[Path]:
    """What of a folder fits, nothing where it cannot be listed."""
    try:
        return sorted(folder.glob(pattern)) if folder.is_dir() else []
    except (OSError, ValueError):
        return []
