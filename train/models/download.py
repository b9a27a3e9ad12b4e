"""torchvision's weights, fetched by one process of a node while the others wait."""

from __future__ import annotations

import http.client
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from filelock import FileLock

from train.errors import TrainError


def fetch(entry: Any) -> None:
    """Have the file of one of torchvision's weights in torch's cache, whole (torch renames it when its hash is right).

    Raises TrainError if it cannot be had.
    """
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    file = folder / Path(urlparse(entry.url).path).name
    if file.exists():
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(file.with_name(f"{file.name}.lock")):  # the kernel's: it goes with a process that dies
            if not file.exists():
                entry.get_state_dict(progress=False, check_hash=True)
    except (OSError, http.client.HTTPException, RuntimeError) as error:  # RuntimeError: another hash
        raise TrainError(
            f"model.weights: '{entry}' could not be downloaded from {entry.url} ({error}); without a network set "
            f"model.weights=null, or to the path of a file, or put the file at '{file}' beforehand"
        ) from error
