"""What has happened since somebody last asked: who was answered or refused, and how long runs took.

Pure. Of every run it is known how long it would have taken alone, as warm-up said, and how many ran
beside it on average: so what lanes cost each other is seen without trying anything.
"""

from __future__ import annotations

from typing import NamedTuple

# So near to a whole number the company of a run must have been to say what that number costs.
_CLEAR = 0.2


class Together(NamedTuple):
    """Runs that had the same number of runs at a time: how many, how long alone and in truth."""

    runs: int = 0
    alone_s: float = 0.0
    busy_s: float = 0.0


class Account(NamedTuple):
    """What happened in ``seconds``.

    ``in_time`` and ``late`` are rows that were answered, ``refused`` those that were not, for they
    would have been late. All runs together took ``busy_s``, and would have taken ``alone_s``.
    ``together`` has those of them that had the same number beside them throughout, by how many ran
    at a time.
    """

    seconds: float
    in_time: int
    late: int
    refused: int
    busy_s: float
    alone_s: float
    together: dict[int, Together]


class Ledger:
    """Counts, until it is asked."""

    def __init__(self) -> None:
        self.refused = 0
        self._since_s: float | None = None
        self._in_time = 0
        self._late = 0
        self._busy_s = 0.0
        self._alone_s = 0.0
        self._together: dict[int, list[float]] = {}  # sums of a ``Together``
        # Of each batch handed over: since when it runs, and the area below then; None: it waits.
        self._began: dict[int, tuple[float, float] | None] = {}
        self._running = 0
        # The number of runs at a time, added up over time: the mean over a while is a difference.
        self._area = 0.0
        self._at_s = 0.0

    def started(self, batch_id: int, now: float, lanes: int) -> None:
        """A batch is handed over; it runs as soon as one of so many lanes is free."""
        self._area += self._running * (now - self._at_s)
        self._at_s = now
        if self._running < lanes and self._running == len(self._began):  # nobody waits before it
            self._began[batch_id] = (now, self._area)
            self._running += 1
        else:
            self._began[batch_id] = None

    def ended(self, batch_id: int, now: float, lanes: int) -> float:
        """A batch has ended; return how many ran at a time while it did, itself counted."""
        self._area += self._running * (now - self._at_s)
        self._at_s = now
        began = self._began.pop(batch_id)
        if began is not None:
            self._running -= 1
        if self._running < len(self._began):
            self._go_on(lanes)
        if began is None or now <= began[0]:
            return 1.0
        return (self._area - began[1]) / (now - began[0])

    def ran(self, company: float, alone_s: float, busy_s: float) -> None:
        """Note a run that was answered."""
        self._busy_s += busy_s
        self._alone_s += alone_s
        place = max(round(company), 1)
        if abs(company - place) > _CLEAR or not alone_s:
            return
        sums = self._together.get(place)
        if sums is None:
            sums = self._together[place] = [0, 0.0, 0.0]
        sums[0] += 1
        sums[1] += alone_s
        sums[2] += busy_s

    def answered(self, in_time: int, late: int) -> None:
        """Note rows that have their answer."""
        self._in_time += in_time
        self._late += late

    def close(self, now: float) -> Account:
        """Return what has happened since the last time, and begin anew."""
        since_s = now if self._since_s is None else self._since_s
        account = Account(
            now - since_s,
            self._in_time,
            self._late,
            self.refused,
            self._busy_s,
            self._alone_s,
            {
                lanes: Together(int(runs), alone_s, busy_s)
                for lanes, (runs, alone_s, busy_s) in self._together.items()
            },
        )
        self._since_s = now
        self._busy_s = self._alone_s = 0.0
        self._in_time = self._late = self.refused = 0
        self._together.clear()
        return account

    def _go_on(self, lanes: int) -> None:
        """Let those run that a lane is free for, in turn."""
        for batch_id, began in self._began.items():
            if self._running >= lanes:
                return
            if began is None:
                self._began[batch_id] = (self._at_s, self._area)
                self._running += 1
