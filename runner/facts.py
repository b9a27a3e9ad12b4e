"""What a plan needs to know that is not in the configuration: machine, clock, chance, git, files."""

from __future__ import annotations

import secrets
import string
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from runner import history, snapshot
from runner.git_state import git_state
from runner.plan import Facts, generated_files, snapshot_key
from runner.processes import machine
from runner.spec import Job

ID_CHARACTERS = string.ascii_lowercase + string.digits


def gather(project: Path, jobs: Sequence[Job]) -> Facts:
    """Look once for all jobs; a code root that several share is read once."""
    history.hide_from_git(project)
    cache = history.snapshot_index(project)
    codes = {snapshot_key(job.code): job.code for job in jobs}
    allowed = {path for job in jobs for path in job.config.values["code"].get("allow_secrets") or ()}
    taken = {
        key: snapshot.take(code.root, cache, generated_files(code, project), allowed) for key, code in codes.items()
    }
    return Facts(machine(), sys.executable, now(), draw, git_state(project), taken)


def now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def draw() -> str:
    """The random part of a run id."""
    return "".join(secrets.choice(ID_CHARACTERS) for _ in range(8))
