"""Checkpoints where a run on Azure ML finds them again: among the run's own artifacts.

A preempted low-priority node takes its disk with it, and ./outputs is kept when a run ends only. So each checkpoint is
uploaded when it is written, and the newest ones are fetched when the run starts again under the same id. It goes
through azureml-core, as `run.upload_file` does; where that is missing, or nothing can be reached, that is said once and
the training goes on.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

PREFIX = "checkpoints/"
# The newest may be torn: a node can die while it uploads.
FETCHED = 2


class Artifacts:
    """The artifacts of this run; nothing happens in a run that is not on Azure ML, and after the first failure."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._on = bool(os.environ.get("AZUREML_RUN_ID"))
        self._run: Any = None

    def keep(self, path: Path) -> None:
        """Upload a checkpoint. One of that name that is there already stays: it is of the same step."""
        self._guard("upload a checkpoint", partial(self._upload, path))

    def fetch(self, folder: Path) -> None:
        """Download the newest checkpoints that `folder` lacks, the older first: files' times tell their order."""
        self._guard("fetch the checkpoints", partial(self._download, folder))

    def fetch_one(self, path: Path) -> None:
        """Download the file of that name, if it is there and not here."""
        self._guard(f"fetch '{path.name}'", partial(self._download_one, path))

    def _guard(self, doing: str, act: Callable[[], None]) -> None:
        if not self._on:
            return
        try:
            if self._run is None:
                from azureml.core import Run

                self._run = Run.get_context(allow_offline=False)
            act()
        except ImportError:
            self._on = False
            self._say("checkpoints: azureml-core is not installed here, so they stay on this node: it may be preempted")
        except Exception as error:  # noqa: BLE001 - whatever the service does, hours of training are worth more
            self._on = False
            self._say(f"checkpoints: cannot {doing}, they stay on this node from here: {error!r}")

    def _upload(self, path: Path) -> None:
        if PREFIX + path.name not in self._run.get_file_names():
            self._run.upload_file(PREFIX + path.name, str(path))

    def _download(self, folder: Path) -> None:
        there = sorted(name for name in self._run.get_file_names() if name.startswith(PREFIX + "step_"))
        for name in there[-FETCHED:]:
            self._fetch(folder / PurePosixPath(name).name)

    def _download_one(self, path: Path) -> None:
        if PREFIX + path.name in self._run.get_file_names():
            self._fetch(path)

    def _fetch(self, target: Path) -> None:
        if target.exists():
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = target.with_name(f".{target.name}.part")
        self._run.download_file(PREFIX + target.name, str(beside))
        beside.replace(target)
