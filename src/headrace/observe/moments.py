"""When answered requests came to each step: put down as they end, and counted many at a time.

A number that is kept as an object costs more than to count it; here they are bytes at once.
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

_MOMENTS = 7  # of a request
_ROW = struct.Struct(f"={_MOMENTS}d")
# Room for so many is made at first, and for so many at last: of hundreds of models few are busy.
_FEW, _MANY = 16, 1024


class Moments:
    """Of some requests, on one clock, in seconds; for one thread."""

    __slots__ = ("_at", "_bytes", "_end")

    def __init__(self) -> None:
        self._at = 0
        self._end = _FEW * _ROW.size
        self._bytes = bytearray(self._end)

    def put(
        self,
        arrival_s: float,
        received_s: float,
        decoded_s: float,
        start_s: float,
        end_s: float,
        answered_s: float,
        now_s: float,
    ) -> bool:
        """Put a request down; whether they must be taken before there is room for the next."""
        at = self._at
        _ROW.pack_into(
            self._bytes, at, arrival_s, received_s, decoded_s, start_s, end_s, answered_s, now_s
        )
        self._at = at = at + _ROW.size
        return at == self._end

    def take(self) -> NDArray[np.float64]:
        """Those put down since the last time: a row for each of them, in order."""
        count = self._at // _ROW.size * _MOMENTS
        taken = np.frombuffer(self._bytes, np.float64, count).reshape(-1, _MOMENTS).copy()
        if self._at == self._end < _MANY * _ROW.size:
            self._end *= 2
            self._bytes = bytearray(self._end)
        self._at = 0
        return taken
