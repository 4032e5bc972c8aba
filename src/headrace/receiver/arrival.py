"""When a request came: Envoy notes it, for Python may hear of it only a while later; pure.

A client's clock runs from the send. Between Envoy's first byte and our first line lie the hand-over
to Python's thread and whatever that does just then: 0.3 ms on average beside a real model, several
when a large body is being decoded.
"""

from __future__ import annotations

from collections.abc import Mapping

HEADER = "headrace-start"
"""Seconds since the epoch, written by Envoy over whatever a client may say there."""

_NAME = HEADER.encode()
# Longer than Python is ever busy with one thing: if it is more, the clock has been set meanwhile.
_MOST_S = 5.0


def arrival_s(headers: Mapping[bytes, bytes], now_s: float, unix_s: float) -> float:
    """When the request of these headers came, on the clock of ``now_s``.

    ``unix_s`` is the same moment on the clock of the epoch, which Envoy writes. A clock that was
    set in between, or no header: it came now.
    """
    noted = headers.get(_NAME)
    if noted is None:
        return now_s
    ago_s = unix_s - float(noted)
    return now_s - ago_s if 0.0 < ago_s < _MOST_S else now_s
