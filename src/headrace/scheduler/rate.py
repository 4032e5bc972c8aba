"""How fast rows arrive: a mean whose memory fades exponentially. Pure."""

from __future__ import annotations

import math


class Rate:
    """Arrivals add to ``counted``; that is folded into the mean when somebody asks for it."""

    __slots__ = ("_folded_s", "_window_s", "counted", "latest_rps")

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self.latest_rps = 0.0
        self._folded_s: float | None = None
        self.counted = 0

    def rps(self, now: float) -> float:
        """Rows a second, of late."""
        if self._folded_s is None:
            self._folded_s = now
        gap_s = now - self._folded_s
        if gap_s > 0:
            # What was counted is taken to have come evenly since the last time.
            kept = math.exp(-gap_s / self._window_s)
            self.latest_rps = self.latest_rps * kept + self.counted / gap_s * (1.0 - kept)
            self._folded_s, self.counted = now, 0
        return self.latest_rps
