"""The rules others use, to compare ours with; each is a ``simulate.Rule``."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from headrace.scheduler import Batch, Drop, DropReason, Entry


class EagerFifo:
    """Take all there is, up to a size, whenever a lane is free; drop nobody."""

    def __init__(self, lanes: int, most_rows: int) -> None:
        self.lanes = lanes
        self.most_rows = most_rows
        self.waiting: deque[Entry] = deque()
        self.running = 0
        self.batches = 0

    def admit(self, entry: Entry, now: float) -> None:
        self.waiting.append(entry)

    def cut(self, now: float) -> tuple[Batch | None, list[Drop]]:
        if self.running >= self.lanes or not self.waiting:
            return None, []
        return self.take(min(len(self.waiting), self.most_rows), now), []

    def finish(self, batch_id: int, now: float, infer_s: float | None) -> None:
        self.running -= 1

    def wake_at(self, now: float) -> float | None:
        return None

    def take(self, rows: int, now: float) -> Batch:
        entries = tuple(self.waiting.popleft() for _ in range(rows))
        self.running += 1
        self.batches += 1
        return Batch(self.batches, entries, rows, entries[0].elements, now, now, now)


class MaxDelayFifo(EagerFifo):
    """Wait for a full batch, but at most so long from the first arrival; drop nobody."""

    def __init__(self, lanes: int, most_rows: int, delay_s: float) -> None:
        super().__init__(lanes, most_rows)
        self.delay_s = delay_s

    def cut(self, now: float) -> tuple[Batch | None, list[Drop]]:
        due = self.waiting and now >= self.waiting[0].arrival_s + self.delay_s
        if len(self.waiting) >= self.most_rows or due:
            return super().cut(now)
        return None, []

    def wake_at(self, now: float) -> float | None:
        if self.running >= self.lanes or not self.waiting:
            return None
        return self.waiting[0].arrival_s + self.delay_s


class FitToHead(EagerFifo):
    """Take as many as let the first be in time; drop it when even alone it would not be."""

    def __init__(self, lanes: int, most_rows: int, bound_s: Callable[[int], float]) -> None:
        super().__init__(lanes, most_rows)
        self.bound_s = bound_s

    def cut(self, now: float) -> tuple[Batch | None, list[Drop]]:
        drops: list[Drop] = []
        while self.running < self.lanes and self.waiting:
            rows = min(len(self.waiting), self.most_rows)
            while rows and now + self.bound_s(rows) > self.waiting[0].deadline_s:
                rows -= 1
            if rows:
                return self.take(rows, now), drops
            drops.append(Drop(self.waiting.popleft(), DropReason.SHED))
        return None, drops
