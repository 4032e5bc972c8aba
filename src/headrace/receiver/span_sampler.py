"""Which requests become spans, and in which span of Envoy's; pure.

A client's W3C trace context (``traceparent``) decides for its request. Of the others a share is
chosen, by chance or by Envoy, and of those no more than so many a second are taken: a span with its
phases costs many times what answering a small request does. Sources: W3C Trace Context,
https://www.w3.org/TR/trace-context/; Envoy's "Tracing", of the request id.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from headrace.receiver import envoy_spans

_SAMPLED = 1  # a bit of the flags
# Version, trace, span, flags. There is no version ff, and in version 00 nothing may follow.
_PARENT = re.compile(
    rb"(?!ff|00.{53}-)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(?:-.*)?"
)
# Of a request id, a UUID, this digit is why Envoy samples the request. 4: it does not.
_WHY, _CHOSEN, _ID_BYTES = 14, frozenset({b"9", b"a", b"b"}), 36
_SPAN = re.compile(rb"([0-9a-f]{32})-([0-9a-f]{16})")
_NAME = envoy_spans.HEADER.encode()


class SpanOfEnvoy(NamedTuple):
    """Its span around a request, by the ids of OpenTelemetry."""

    trace_id: int
    span_id: int


def span_of_envoy(headers: Mapping[bytes, bytes]) -> SpanOfEnvoy | None:
    """Read Envoy's span from the headers of a request; None where it made none."""
    found = _SPAN.fullmatch(headers.get(_NAME, b""))
    return None if found is None else SpanOfEnvoy(int(found[1], 16), int(found[2], 16))


Choice = Callable[[Mapping[bytes, bytes]], bool]
"""Whether a request with these headers, whose client does not say, should become a span."""


def by_chance(ratio: float, chance: Callable[[], float]) -> Choice:
    """Choose this share of the requests; ``chance`` draws from [0, 1)."""
    return lambda _: chance() < ratio


def by_envoy(headers: Mapping[bytes, bytes]) -> bool:
    """Choose what Envoy has chosen. Most it has not, and those cost no more than a look."""
    name = headers.get(b"x-request-id", b"")
    if name[_WHY : _WHY + 1] not in _CHOSEN:
        return False
    return len(name) == _ID_BYTES and span_of_envoy(headers) is not None


class SpanSampler:
    """Takes what clients sample, and of what is chosen besides at most ``limit_per_s`` a second.

    What was not taken within a second is no credit for the next.
    """

    def __init__(self, limit_per_s: float, chooses: Choice) -> None:
        self._limit_per_s = limit_per_s
        self._chooses = chooses
        self._left = limit_per_s
        self._seen_s = 0.0

    def takes(self, headers: Mapping[bytes, bytes], now_s: float) -> bool:
        """Whether a request with these headers becomes a span."""
        traceparent = headers.get(b"traceparent")
        flags = None if traceparent is None else _flags(traceparent)
        if flags is not None:
            return bool(flags & _SAMPLED)
        return self._chooses(headers) and self._spend(now_s)

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
    """The flags of a traceparent; None when it is none: it counts as if it were not there."""
    found = _PARENT.fullmatch(parent)
    return None if found is None else int(found[1], 16)
