"""How much longer than expected a run may be: the ratio that 98 of 100 stay under. Pure.

Stochastic quantile tracking is slow to come down, minutes for a slow model after a noisy one, and
whoever is refused meanwhile was refused for nothing. What no run of late has come near is let go.
"""

from __future__ import annotations

import math
from collections import deque

# Up by 0.98 of the step on a miss, down by 0.02 on a hit. Past saturation every answer comes close
# to its deadline, so this is about their p99: with 0.95 it was 2 % over an objective of 50 ms, with
# 0.98 it is 5 % under it, at the same goodput.
_STEP = 0.02
_QUANTILE = 0.98
_LEAST, _MOST = 1.02, 3.0
# Of the last four times 64 runs hardly ever none is over the quantile: one time in 180. Then half
# of what is over the longest goes, and again after the next 64.
_BLOCK_RUNS, _BLOCKS = 64, 4
_RELEASE = 0.5


class Tail:
    """Of one served version; it starts at what warm-up said."""

    def __init__(self, ratio: float) -> None:
        self._ratio = ratio
        self._longest = deque([math.inf] * _BLOCKS, _BLOCKS)  # of the last blocks, in ratios
        self._runs = 0
        self._longest_now = 0.0

    def follow(self, ratio: float) -> float:
        """A run took so many times what was expected; return the tail from now on."""
        step = _STEP * (_QUANTILE - 1.0 if ratio <= self._ratio else _QUANTILE)
        self._ratio += step
        self._longest_now = max(self._longest_now, ratio)
        self._runs += 1
        if self._runs == _BLOCK_RUNS:
            self._longest.append(self._longest_now)
            self._runs, self._longest_now = 0, 0.0
            self._ratio -= _RELEASE * max(self._ratio - max(self._longest), 0.0)
        self._ratio = min(max(self._ratio, _LEAST), _MOST)
        return self._ratio
