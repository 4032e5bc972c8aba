"""The waiting entries of one model: by priority, then earliest deadline first, in lines by bucket.

Pure. A line is a sorted list, for arrivals nearly always belong at its end and an entry that leaves
is found by bisection: nothing cancelled stays behind. The heads of the lines stand in one more
sorted list.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Hashable, Iterator
from enum import Enum
from typing import Any, NamedTuple

# Entries of several rows are counted one by one up to here; beyond, by the mean of their line.
_COUNTED = 64


class DropReason(Enum):
    """Why an entry left the queue unanswered; displaced: the queue was full for one before it."""

    SHED = "shed"
    EXPIRED = "expired"
    DISPLACED = "queue_full"


class Entry:
    """One queued piece of a request; compared by identity. While it waits, nothing in it changes.

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
    """An entry that will not be run; ``retry_after_s``: when another attempt makes sense."""

    entry: Entry
    reason: DropReason
    retry_after_s: float | None = None


Key = tuple[int, float, int, Entry]
"""Priority, deadline, sequence: no two entries have the same, so entries are never compared."""


class Line:
    """The entries of one bucket, in order, and how many rows they have."""

    __slots__ = ("elements", "keys", "rows")

    def __init__(self, elements: int) -> None:
        self.elements = elements
        self.keys: list[Key] = []
        self.rows = 0

    def rows_before(self, priority: int, deadline_s: float) -> int:
        """Rows whose turn comes before that of a newcomer."""
        keys = self.keys
        last = keys[-1]
        if (priority, deadline_s) >= (last[0], last[1]):
            return self.rows
        place = bisect_left(keys, (priority, deadline_s, math.inf))
        behind = len(keys) - place
        if self.rows == len(keys):
            return place
        if place <= _COUNTED:
            return sum([key[3].rows for key in keys[:place]])
        if behind <= _COUNTED:
            return self.rows - sum([key[3].rows for key in keys[place:]])
        return self.rows * place // len(keys)

    def rows_past(self, rows: int) -> int:
        """Rows of the first entries that have more than so many together, or of all."""
        past = 0
        for key in self.keys:
            past += key[3].rows
            if past > rows:
                break
        return past

    def firsts(self) -> Iterator[int]:
        """Where each priority begins: there stands its earliest deadline."""
        keys, place = self.keys, 0
        while place < len(keys):
            yield place
            priority = keys[place][0]
            if priority == keys[-1][0]:
                return
            place = bisect_left(keys, (priority + 1,), place)


class Queue:
    """The lines, and how many entries and rows wait in them."""

    def __init__(self) -> None:
        self._lines: dict[Hashable, Line] = {}
        self._heads: list[Key] = []
        self._counts: dict[int, int] = {}  # of each priority
        self._priorities: list[int] = []  # of which there are any, sorted
        self._sequence = 0
        self.entries = 0
        self.rows = 0
        self.expires_s = math.inf
        """No waiting entry has an earlier deadline; there may be none as early."""

    def put(self, entry: Entry) -> None:
        """Add an entry; one that was in before keeps its place among equals."""
        if entry.sequence < 0:
            self._sequence += 1
            entry.sequence = self._sequence
        entry.waiting = True
        if not self.entries or entry.deadline_s < self.expires_s:
            self.expires_s = entry.deadline_s
        self.entries += 1
        self.rows += entry.rows
        same = self._counts.get(entry.priority, 0)
        if not same:
            insort(self._priorities, entry.priority)
        self._counts[entry.priority] = same + 1
        key = (entry.priority, entry.deadline_s, entry.sequence, entry)
        line = self._lines.get(entry.bucket)
        if line is None:
            line = self._lines[entry.bucket] = Line(entry.elements)
            line.keys.append(key)
            insort(self._heads, key)
        elif key > line.keys[-1]:
            line.keys.append(key)
        else:
            before = line.keys[0]
            insort(line.keys, key)
            self._rehead(before, line)
        line.rows += entry.rows

    def forget(self, entry: Entry) -> bool:
        """Take an entry out; False when it is not in."""
        if not entry.waiting:
            return False
        line = self._lines[entry.bucket]
        before = line.keys[0]
        del line.keys[_place(line.keys, entry)]
        self._leave(entry, line)
        self._rehead(before, line)
        return True

    def first(self) -> Entry | None:
        """The entry whose turn it is; it stays in."""
        return self._heads[0][3] if self._heads else None

    def has_after(self, priority: int) -> bool:
        """Whether somebody waits who comes after all of a priority."""
        return bool(self._priorities) and self._priorities[-1] > priority

    def last(self) -> Entry | None:
        """The entry whose turn comes after those of all others; it stays in."""
        lasts = [line.keys[-1] for line in self._lines.values()]
        return max(lasts)[3] if lasts else None

    def take(self, bucket: Hashable, rows: int) -> list[Entry]:
        """Take the first entries of a bucket, up to this many rows but at least one entry."""
        line = self._lines.get(bucket)
        if line is None:
            return []
        taken: list[Entry] = []
        for key in line.keys:
            entry = key[3]
            if taken and entry.rows > rows:
                break
            rows -= entry.rows
            taken.append(entry)
        before = line.keys[0]
        del line.keys[: len(taken)]
        for entry in taken:
            self._leave(entry, line)
        self._rehead(before, line)
        return taken

    def expired(self, now: float) -> list[Entry]:
        """Take out every entry whose deadline has passed."""
        if now < self.expires_s:
            return []
        late = [
            key[3]
            for line in self._lines.values()
            for place in line.firsts()
            for key in _until(line.keys, place, now)
        ]
        for entry in late:
            self.forget(entry)
        self.expires_s = min(
            (line.keys[place][1] for line in self._lines.values() for place in line.firsts()),
            default=math.inf,
        )
        return late

    def rows_of(self, bucket: Hashable) -> int:
        """Rows waiting in one bucket."""
        line = self._lines.get(bucket)
        return 0 if line is None else line.rows

    @property
    def buckets(self) -> int:
        """How many buckets have entries."""
        return len(self._heads)

    def line(self, bucket: Hashable) -> Line | None:
        """The entries of one bucket; to read."""
        return self._lines.get(bucket)

    def heads_before(self, entry: Entry, most: int) -> tuple[int, list[Entry]]:
        """How many buckets come before that of a newcomer, and the heads of at most so many."""
        turn: tuple[float, ...] = (entry.priority, entry.deadline_s, math.inf)
        mine = self._lines.get(entry.bucket)
        if mine is not None:
            turn = min(turn, mine.keys[0][:3])
        before = bisect_left(self._heads, turn)
        return before, [key[3] for key in self._heads[: min(before, most)]]

    def __iter__(self) -> Iterator[Entry]:
        """Every waiting entry, bucket by bucket."""
        return (key[3] for line in self._lines.values() for key in line.keys)

    def _leave(self, entry: Entry, line: Line) -> None:
        entry.waiting = False
        self.entries -= 1
        self.rows -= entry.rows
        line.rows -= entry.rows
        same = self._counts[entry.priority] - 1
        self._counts[entry.priority] = same
        if not same:
            del self._counts[entry.priority]
            del self._priorities[bisect_left(self._priorities, entry.priority)]

    def _rehead(self, before: Key, line: Line) -> None:
        """Keep the list of heads right after a change of this line, whose head was ``before``."""
        if line.keys and line.keys[0] is before:
            return
        heads = self._heads
        del heads[_place(heads, before[3])]
        if line.keys:
            insort(heads, line.keys[0])
        else:
            del self._lines[before[3].bucket]


def _place(keys: list[Key], entry: Entry) -> int:
    """Where an entry stands; a shorter tuple comes just before all it begins."""
    return bisect_left(keys, (entry.priority, entry.deadline_s, entry.sequence))


def _until(keys: list[Key], place: int, now: float) -> Iterator[Key]:
    priority = keys[place][0]
    while place < len(keys) and keys[place][0] == priority and keys[place][1] <= now:
        yield keys[place]
        place += 1
