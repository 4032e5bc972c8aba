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
from headrace.scheduler.others import NOBODY, Others


class _Run:
    """A batch handed over: how long it should take, and since when it runs (None: not yet)."""

    __slots__ = ("expected_s", "started_s", "waited")

    def __init__(self, expected_s: float, started_s: float | None) -> None:
        self.expected_s = expected_s
        self.started_s = started_s
        self.waited = started_s is None


class Lanes:
    """``count`` lanes, each of which may hold ``depth`` batches, the running one included.

    Where other models run on the same cores each batch must have its turn. Where so many
    ``receivers`` use the same lanes, what the others have there counts, too; but an even part of
    the places is everybody's own, one at least.
    """

    def __init__(
        self, count: int, depth: int, turn: Turn | None = None, receivers: int = 1
    ) -> None:
        self._turn = turn
        self._count = count
        self._most = count * depth
        self._receivers = receivers
        self._others = NOBODY
        self.held = 0
        """How many batches they hold for other receivers."""
        self._changed = False  # something of ours, since they were seen
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
        return len(self._runs) + self.held < self._count

    @property
    def open(self) -> bool:
        """Whether a batch may be handed over at once: a lane is idle, or nothing here is ours.

        Who has nothing there would not hear when a lane is free, and whoever has would keep it
        out for ever: so its batch stands in line with theirs.
        """
        return self.idle or not self._runs

    @property
    def full(self) -> bool:
        """Whether they may hold no more now, for others have so much there, or we have."""
        own, held = len(self._runs), self.held
        if not held:
            return own >= self._most
        return own + held >= self._most and own >= self._own_places

    @property
    def filled(self) -> bool:
        """Whether they may hold no more of ours."""
        return len(self._runs) >= self._most

    def add(self, batch_id: int, now: float, expected_s: float) -> None:
        """A batch is handed over."""
        idle = self.idle
        self._runs[batch_id] = _Run(expected_s, now if idle else None)
        self._changed = True
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
        self._changed = True
        for run in islice(self._runs.values(), self._count - 1, self._count):
            if run.started_s is None and not self.held:
                run.started_s = now
        self._valid_until_s = -math.inf
        turn = self.turn
        if turn is not None:
            turn.ended(batch_id, now, infer_s)
        return ended.waited

    def next_start(self, now: float) -> float:
        """When the next batch handed over would start."""
        if self.idle:
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
        return self._parted if turn is None else min(self._count, turn.lanes)

    def likely_start(self, now: float, batches: int, each_s: float) -> float:
        """When a batch is likely to start that is cut after so many that take so long each."""
        turn = self.turn
        if turn is None and self._others.receivers:
            return self.next_start(now) + batches * each_s / self._parted
        if turn is None:
            return self.start_after(now, batches, each_s) if batches else self.next_start(now)
        first_s = max(self.next_start(now), turn.next_start(now))
        return first_s + batches * each_s / min(self._count, turn.lanes) if batches else first_s

    # -- beside other receivers --------------------------------------------------------------------

    def see(self, others: Others, now: float) -> None:
        """Take what other receivers have there now.

        A lane that they do not have runs what is ours. Where batches of theirs wait, the next
        lane may be one of theirs: then only what the board shows runs.
        """
        if others == self._others and not self._changed:
            return
        self._others, self.held, self._changed = others, others.held, False
        self._valid_until_s = -math.inf
        free = others.mine if others.waiting else self._count - len(others.running)
        for place, run in enumerate(self._runs.values()):
            if place >= free:
                run.started_s = None
            elif run.started_s is None:
                run.started_s = now

    @property
    def _own_places(self) -> int:
        return max(1, self._most // self._receivers)

    @property
    def _parted(self) -> float:
        """How many lanes there are for us: what others leave, and an even part at least."""
        others = self._others
        if not others.receivers:
            return self._count
        left = self._count - len(others.running)
        return max(float(left), self._count / (1 + others.receivers))

    def _predict(self, now: float) -> None:
        """Play the lanes forward. That stays right until a batch that runs is overdue."""
        runs = self._runs.values()
        ends = [
            max(run.started_s + run.expected_s, now) for run in runs if run.started_s is not None
        ]
        ends += [max(since_s + expected_s, now) for since_s, expected_s in self._others.running]
        ends += [now] * (self._count - len(ends))
        heapq.heapify(ends)
        self._valid_until_s = ends[0]
        while len(ends) > self._count:  # of those that were more, the first to end are not replaced
            heapq.heappop(ends)
        waiting = self._others.waiting
        for _ in range(waiting):
            heapq.heapreplace(ends, ends[0] + self._others.waiting_s / waiting)
        for run in runs:
            if run.started_s is None:
                heapq.heapreplace(ends, ends[0] + run.expected_s)
        self._free_s = sorted(ends)
