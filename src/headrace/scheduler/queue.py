"""The waiting entries of one model: earliest deadline first, by bucket.

Pure. Entries of one bucket stand in one heap of (priority, deadline, sequence); the few buckets are
compared by their heads. Cancelled entries stay where they are and are skipped.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterator
from enum import Enum
from typing import Any, NamedTuple


class DropReason(Enum):
    """Why an entry left the queue unanswered."""

    SHED = "shed"
    EXPIRED = "expired"


class Entry:
    """One queued piece of a request; compared by identity.

    ``priority``: 0 is normal, higher waits longer. ``elements``: input elements of one row.
    """

    __slots__ = (
        "arrival_s",
        "attempts",
        "bucket",
        "deadline_s",
        "elements",
        "payload",
        "priority",
        "rows",
        "sequence",
        "waiting",
    )

    def __init__(
        self,
        deadline_s: float,
        rows: int,
        bucket: Hashable,
        elements: int,
        arrival_s: float,
        priority: int = 0,
        payload: Any = None,
    ) -> None:
        self.deadline_s = deadline_s
        self.rows = rows
        self.bucket = bucket
        self.elements = elements
        self.arrival_s = arrival_s
        self.priority = priority
        self.payload = payload
        self.attempts = 0
        self.sequence = -1
        self.waiting = False


class Drop(NamedTuple):
    """An entry that will not be run."""

    entry: Entry
    reason: DropReason


Key = tuple[int, float, int, Entry]


class Queue:
    """The heaps, and how many entries and rows wait in them."""

    def __init__(self) -> None:
        self._heaps: dict[Hashable, list[Key]] = {}
        self._sequence = 0
        self.entries = 0
        self.rows = 0

    def put(self, entry: Entry) -> None:
        """Add an entry; one that was in before keeps its place among equals."""
        if entry.sequence < 0:
            self._sequence += 1
            entry.sequence = self._sequence
        entry.waiting = True
        self.entries += 1
        self.rows += entry.rows
        heap = self._heaps.get(entry.bucket)
        if heap is None:
            heap = self._heaps[entry.bucket] = []
        heapq.heappush(heap, (entry.priority, entry.deadline_s, entry.sequence, entry))

    def forget(self, entry: Entry) -> None:
        """Take an entry out without touching its heap."""
        if entry.waiting:
            entry.waiting = False
            self.entries -= 1
            self.rows -= entry.rows

    def first(self) -> Entry | None:
        """The entry whose turn it is; it stays in."""
        best: Key | None = None
        for bucket in list(self._heaps) if len(self._heaps) > 1 else self._heaps.copy():
            heap = self._heaps[bucket]
            while heap and not heap[0][3].waiting:
                heapq.heappop(heap)
            if not heap:
                del self._heaps[bucket]
            elif best is None or heap[0] < best:
                best = heap[0]
        return None if best is None else best[3]

    def take(self, bucket: Hashable, rows: int) -> list[Entry]:
        """Take the first entries of a bucket, up to this many rows but at least one entry."""
        heap = self._heaps.get(bucket, [])
        taken: list[Entry] = []
        room = rows
        while heap:
            entry = heap[0][3]
            if entry.waiting:
                if taken and entry.rows > room:
                    break
                room -= entry.rows
                self.forget(entry)
                taken.append(entry)
            heapq.heappop(heap)
            if room <= 0:
                break
        if not heap:
            self._heaps.pop(bucket, None)
        return taken

    def rows_of(self, bucket: Hashable) -> int:
        """Rows waiting in one bucket."""
        if len(self._heaps) == 1 and bucket in self._heaps:
            return self.rows
        return sum(key[3].rows for key in self._heaps.get(bucket, ()) if key[3].waiting)

    def __iter__(self) -> Iterator[Entry]:
        """Every waiting entry, in no order."""
        return (key[3] for heap in self._heaps.values() for key in heap if key[3].waiting)
