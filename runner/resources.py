"""Where the files that travel with amlrun are: schemas, configs and the starter project."""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).resolve().parent


def packaged(name: str) -> Path:
    """The folder `name` ('schemas', 'configs', 'train') packaged with amlrun; in a checkout, the repository's own."""
    installed = HERE / "packaged" / name
    return installed if installed.is_dir() else HERE.parent / name
