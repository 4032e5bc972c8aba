"""Times by chance, as they were seen. Pure.

What takes long does so beside others that do, and one law has no such tail. So stretches of what
was measured are drawn, whole: the circular block bootstrap of Politis and Romano (1992).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from headrace.values import Array

# Stalls last for a few requests, and what neighbours do to a machine for seconds.
_STRETCH = 256


def resampled(random: np.random.Generator, seen: Sequence[float], count: int) -> Array:
    """So many values, in stretches that followed each other."""
    sequence = np.asarray(seen, np.float64)
    firsts = random.integers(len(sequence), size=-(-count // _STRETCH))
    places = (firsts[:, None] + np.arange(_STRETCH)) % len(sequence)
    drawn: Array = sequence[places].ravel()[:count]
    return drawn
