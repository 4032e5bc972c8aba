"""Run times by chance, as they were seen. Pure.

Machines stall: a run that took five times as long was mostly beside others that did, and one law
has no such tail. So stretches of what was measured are drawn, whole: the circular block bootstrap
of Politis and Romano (1992).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from headrace.values import Array

# Runs of a stretch: stalls last for a few of them, and what neighbours do to a machine for seconds.
_STRETCH = 256


def resampled(
    random: np.random.Generator,
    some: Sequence[float],
    others: Sequence[float],
    share: float,
    count: int,
) -> Array:
    """Stretches of two sequences, ``count`` values in all; a ``share`` of them of the first."""
    sequences = np.asarray(some, np.float64), np.asarray(others, np.float64)
    stretches = []
    for is_other in random.random(-(-count // _STRETCH)) >= share:
        sequence = sequences[int(is_other)]
        first = random.integers(len(sequence))
        stretches.append(sequence[np.arange(first, first + _STRETCH) % len(sequence)])
    return np.concatenate(stretches)[:count]
