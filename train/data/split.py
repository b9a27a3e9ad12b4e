"""Held-out samples that stay the same: for any seed, any machine, and (mostly) when samples are added."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

from train.errors import TrainError


def stratified(labels: Sequence[int], names: Sequence[str], fraction: float) -> tuple[list[int], list[int]]:
    """Indices of training and of test samples, every class in both in the same proportion as nearly as can be.

    Within a class the samples whose name hashes lowest are held out, so no random number is involved. The test part
    has ceil(fraction * n) samples in all, as scikit-learn's `train_test_split`.
    """
    if not 0 < fraction < 1:
        raise TrainError(f"data.test_fraction: {fraction} holds out nothing or everything; use a value such as 0.2")
    classes: dict[int, list[int]] = {}
    for index in sorted(range(len(labels)), key=lambda i: hashlib.sha256(names[i].encode()).digest()):
        classes.setdefault(labels[index], []).append(index)
    counts = _apportion({label: len(indices) for label, indices in classes.items()}, fraction)
    test = {index for label, indices in classes.items() for index in indices[: counts[label]]}
    return [i for i in range(len(labels)) if i not in test], sorted(test)


def _apportion(sizes: dict[int, int], fraction: float) -> dict[int, int]:
    """Whole numbers near size * fraction with the wanted total: the largest remainders are rounded up."""
    exact = {label: size * fraction for label, size in sizes.items()}
    counts = {label: math.floor(value) for label, value in exact.items()}
    # 0.2 * 5 * 3 must not become 4 by a rounding error.
    missing = math.ceil(round(sum(exact.values()), 6)) - sum(counts.values())
    for label in sorted(exact, key=lambda label: (counts[label] - exact[label], label))[:missing]:
        counts[label] += 1
    return counts
