"""Which requests become spans; pure.

A client's W3C trace context (``traceparent``) decides for its request. Of the others a share is
taken, and of those no more than so many a second: a span with its phases costs many times what
answering a small request does. Source: W3C Trace Context, https://www.w3.org/TR/trace-context/.
"""

from __future__ import annotations

import random
from collections.abc import Callable

_SAMPLED = 1  # a bit of the flags, which are the last two digits of a traceparent


class SpanSampler:
    """Takes ``ratio`` of the requests of clients that do not say, at most ``limit_per_s`` a second.

    What was not taken within a second is no credit for the next. ``chance`` draws from [0, 1).
    """

    def __init__(
        self, ratio: float, limit_per_s: float, chance: Callable[[], float] = random.random
    ) -> None:
        self._ratio = ratio
        self._limit_per_s = limit_per_s
        self._chance = chance
        self._left = limit_per_s
        self._seen_s = 0.0

    def takes(self, traceparent: bytes | None, now_s: float) -> bool:
        """Whether a request with this header, None for none, becomes a span."""
        flags = None if traceparent is None else _flags(traceparent)
        if flags is not None:
            return bool(flags & _SAMPLED)
        return self._chance() < self._ratio and self._spend(now_s)

    def _spend(self, now_s: float) -> bool:
        """Take one of those that are left (a token bucket as deep as a second)."""
        came = (now_s - self._seen_s) * self._limit_per_s
        self._left = min(self._left + came, max(self._limit_per_s, 1.0))
        self._seen_s = now_s
        if self._left < 1:
            return False
        self._left -= 1
        return True


def _flags(parent: bytes) -> int | None:
    """The flags of a traceparent; None when it is none."""
    parts = parent.split(b"-")
    try:
        return int(parts[3], 16)
    except (IndexError, ValueError):
        return None
