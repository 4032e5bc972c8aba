"""What runs, in the order it was handed over, and when a lane is free for one batch more.

Pure. The lanes of an engine take what is handed over one after the other, so the first ``count``
batches run and the others wait their turn inside it. A lane whose batch has ended goes on at once
with the next: predictions start anew from that moment, so that their errors do not add up.
"""

from __future__ import annotations

import heapq
import math
from itertools import islice

from headrace.scheduler.fairness import Turn


class _Run:
    """A batch handed over: how long it should take, and since when it runs (None: not yet)."""

    __slots__ = ("expected_s", "started_s", "waited")

    def __init__(self, expected_s: float, started_s: float | None) -> None:
        self.expected_s = expected_s
        self.started_s = started_s
        self.waited = started_s is None


class Lanes:
    """``count`` lanes, each of which may hold ``depth`` batches, the running one included.

    Where other models run on the same cores each batch must have its turn.
    """

    def __init__(self, count: int, depth: int, turn: Turn | None = None) -> None:
        self._turn = turn
        self._count = count
        self._most = count * depth
        self._runs: dict[int, _Run] = {}
        self._free_s: list[float] = []
        self._valid_until_s = -math.inf

    def __len__(self) -> int:
        """How many batches they hold."""
        return len(self._runs)

    @property
    def count(self) -> int:
        """How many there are."""
        return self._count

    def resize(self, count: int, now: float) -> None:
        """Have so many from now on; batches that run end where they are."""
        self._most = self._most // self._count * count
        self._count = count
        running = sum(run.started_s is not None for run in self._runs.values())
        for run in self._runs.values():
            if run.started_s is None and running < count:
                run.started_s, running = now, running + 1
        self._valid_until_s = -math.inf

    @property
    def idle(self) -> bool:
        """Whether a lane has nothing to do."""
        return len(self._runs) < self._count

    @property
    def full(self) -> bool:
        """Whether they may hold no more."""
        return len(self._runs) >= self._most

    def add(self, batch_id: int, now: float, expected_s: float) -> None:
        """A batch is handed over."""
        idle = self.idle
        self._runs[batch_id] = _Run(expected_s, now if idle else None)
        self._valid_until_s = -math.inf
        turn = self.turn
        if turn is not None:
            turn.started(batch_id, now, expected_s, waits=not idle)

    def remove(self, batch_id: int, now: float, infer_s: float | None = None) -> bool:
        """A batch has ended, one way or another: its lane goes on with the next.

        ``infer_s`` is its run time, None when it has none. Returns whether it had to wait for its
        lane.
        """
        ended = self._runs.pop(batch_id)
        for run in islice(self._runs.values(), self._count - 1, self._count):
            if run.started_s is None:
                run.started_s = now
        self._valid_until_s = -math.inf
        turn = self.turn
        if turn is not None:
            turn.ended(batch_id, now, infer_s)
        return ended.waited

    def next_start(self, now: float) -> float:
        """When the next batch handed over would start."""
        if len(self._runs) < self._count:
            return now
        if now > self._valid_until_s:
            self._predict(now)
        return self._free_s[0]

    def start_after(self, now: float, batches: int, each_s: float) -> float:
        """When a batch would start that is handed over after so many that take so long each."""
        if now > self._valid_until_s:
            self._predict(now)
        rounds, lane = divmod(batches, self._count)
        return self._free_s[lane] + rounds * each_s

    # -- at a device with others -------------------------------------------------------------------

    @property
    def turn(self) -> Turn | None:
        """The place at a device that other models run on, too; None when there are no others."""
        turn = self._turn
        return turn if turn is not None and turn.shared else None

    @property
    def worth(self) -> float:
        """How many lanes there are, by the part of the device that is this model's."""
        turn = self.turn
        return self._count if turn is None else min(self._count, turn.lanes)

    def likely_start(self, now: float, batches: int, each_s: float) -> float:
        """When a batch is likely to start that is cut after so many that take so long each."""
        turn = self.turn
        if turn is None:
            return self.start_after(now, batches, each_s) if batches else self.next_start(now)
        first_s = max(self.next_start(now), turn.next_start(now))
        return first_s + batches * each_s / min(self._count, turn.lanes) if batches else first_s

    def _predict(self, now: float) -> None:
        """Play the lanes forward. That stays right until a batch that runs is overdue."""
        runs = self._runs.values()
        ends = [
            max(run.started_s + run.expected_s, now) for run in runs if run.started_s is not None
        ]
        ends += [now] * (self._count - len(ends))
        heapq.heapify(ends)
        self._valid_until_s = ends[0]
        while len(ends) > self._count:  # of those that were more, the first to end are not replaced
            heapq.heappop(ends)
        for run in runs:
            if run.started_s is None:
                heapq.heapreplace(ends, ends[0] + run.expected_s)
        self._free_s = sorted(ends)
