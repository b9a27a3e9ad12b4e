"""Random numbers that depend on the seed and the place in the training, never on when a process was started."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def seed_everything(seed: int, *place: int) -> None:
    """Seed Python, NumPy and torch (all devices) from the run's seed and a place such as (rank,)."""
    mixed = mix(seed, *place)
    random.seed(mixed)
    np.random.seed(mixed % 2**32)  # the global generators are what users' code draws from
    torch.manual_seed(mixed)


def mix(*numbers: int) -> int:
    """One 63-bit seed from several numbers; neighbouring inputs give unrelated seeds."""
    text = ",".join(str(number) for number in numbers)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


@contextmanager
def drawn_for(seed: int, *place: int) -> Iterator[None]:
    """Inside, random numbers on the CPU depend on `seed` and `place` only; afterwards the state is as it was."""
    torch_state, numpy_state, python_state = torch.get_rng_state(), np.random.get_state(), random.getstate()
    seed_cpu(mix(seed, *place))
    try:
        yield
    finally:
        torch.set_rng_state(torch_state)
        np.random.set_state(numpy_state)
        random.setstate(python_state)


def seed_cpu(mixed: int) -> None:
    random.seed(mixed)
    np.random.seed(mixed % 2**32)
    torch.default_generator.manual_seed(mixed)


def states() -> dict[str, Any]:
    """The state of every generator of this process, in types that `torch.load(weights_only=True)` reads."""
    _, keys, position, has_gauss, cached = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (torch.from_numpy(np.asarray(keys).astype(np.int64)), int(position), int(has_gauss), float(cached)),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    }


def restore(state: dict[str, Any]) -> None:
    """Put back what `states` returned."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state(("MT19937", keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
