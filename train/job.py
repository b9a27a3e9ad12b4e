"""How a submitted job reaches this process: one word on the command line. Standard library only.

The word is base64url JSON `{"overrides": [...], "training_digest": hex, "run_id": id}`, so quotes, `$`, spaces
and unicode in overrides arrive as they were written.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from train.errors import TrainError

FLAG = "--amlrun"

# The same list and the same function stand in runner/spec.py: the two packages never import each other.
TRAINING_KEYS = ("code", "data", "model", "optimizer", "schedule", "seed", "trainer")


@dataclass(frozen=True, slots=True)
class Submitted:
    """What the submitting machine composed, and the digest that says what it got."""

    overrides: tuple[str, ...]
    training_digest: str
    run_id: str


def take_job(argv: Sequence[str]) -> tuple[list[str], Submitted | None]:
    """The command line for Hydra, and the job if `--amlrun WORD` is in it.

    The job's overrides replace those of the command line; options (`--config-dir DIR`) stay.
    """
    if FLAG not in argv:
        return list(argv), None
    at = argv.index(FLAG)
    job = _decode(argv[at + 1] if at + 1 < len(argv) else "")
    return [*argv[:at], *argv[at + 2 :], *job.overrides], job


def digest(value: Any) -> str:
    """sha256 (hex) of canonical JSON: sorted keys, no spaces, UTF-8."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def training_digest(config: Mapping[str, Any], world_size: int) -> str:
    """Digest of what decides the trained weights: TRAINING_KEYS of the resolved configuration and the world size."""
    kept = {key: config.get(key) for key in TRAINING_KEYS}
    return digest({**kept, "world_size": world_size})


def accept(job: Submitted, config: Mapping[str, Any], rank: int, world_size: int) -> None:
    """Raises TrainError for another configuration than the job's; rank 0 keeps it beside what the run leaves."""
    refuse_another(job, config, world_size)
    if rank == 0:
        keep_config(config)


def refuse_another(job: Submitted, config: Mapping[str, Any], world_size: int) -> None:
    """Raises TrainError unless this machine composed what the submitting one did."""
    found = training_digest(config, world_size)
    if found != job.training_digest:
        raise TrainError(
            f"this node composed another configuration than the one submitted: training digest '{found[:12]}' "
            f"with {world_size} process(es) here, '{job.training_digest[:12]}' submitted; "
            f"compare `python -m train --cfg job` here with `amlrun config` there (code, Hydra's version, world size)"
        )


def keep_config(config: Mapping[str, Any], folder: Path = Path("outputs/amlrun")) -> None:
    """What this node composed: whoever finds the run finds out what it trained."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
    (folder / "config.json").write_text(text, encoding="utf-8", errors="surrogatepass")


def _decode(word: str) -> Submitted:
    try:
        data = json.loads(base64.urlsafe_b64decode(word + "=" * (-len(word) % 4)))
        return Submitted(tuple(data["overrides"]), data["training_digest"], data["run_id"])
    except (binascii.Error, ValueError, KeyError, TypeError) as error:
        raise TrainError(f"{FLAG}: '{word[:40]}' is not a job of amlrun; submit with `amlrun run`") from error
