"""Which shapes of rows clients really send: those that an engine to come is warmed up at.

Pure. Counts fade, so that what was common an hour ago does not stay so.
"""

from __future__ import annotations

from collections import Counter

Bucket = tuple[tuple[int, ...], ...]
"""Item shapes by input, as they are run: padded up to the card's buckets."""

# How often it is looked whether other shapes have become common; counts are halved then. The first
# time sooner: a server may be new to its clients.
_FIRST_REVIEW_S, _REVIEW_S = 1.0, 10.0
# A shape of at least this share of the batches is common, and stays so down to the other.
_COMMON, _RARE = 0.01, 0.005
# Fewer batches of a shape say nothing.
_LEAST = 8
# Warm-up takes time for each.
_MOST = 8
# Clients may send any shape. Whoever is counted last goes first.
_COUNTED = 256


class Traffic:
    """The shapes that batches of one served version ran at; for one thread."""

    def __init__(self) -> None:
        self._counts: Counter[Bucket] = Counter()
        self._common: tuple[Bucket, ...] = ()
        self._review_s = 0.0

    def ran(self, bucket: Bucket, now: float) -> tuple[Bucket, ...] | None:
        """Count a batch; the common shapes, most frequent first, if those are others by now."""
        if bucket in self._counts or len(self._counts) < _COUNTED:
            self._counts[bucket] += 1
        if not self._review_s:
            self._review_s = now + _FIRST_REVIEW_S
        return self._review(now) if now >= self._review_s else None

    def _review(self, now: float) -> tuple[Bucket, ...] | None:
        self._review_s = now + _REVIEW_S
        all_of_them, before = self._counts.total(), set(self._common)
        common = tuple(
            bucket
            for bucket, count in self._counts.most_common(_MOST)
            if count >= all_of_them * (_RARE if bucket in before else _COMMON)
            and (count >= _LEAST or bucket in before)
        )
        halved = {bucket: count // 2 for bucket, count in self._counts.items() if count > 1}
        self._counts = Counter(halved)
        if not common or set(common) == before:
            return None
        self._common = common
        return common
