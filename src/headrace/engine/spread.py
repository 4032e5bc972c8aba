"""Which lane runs the batch that has come: batches are spread over the instances. Pure."""

from __future__ import annotations


class Spread:
    """The lanes of all instances, ``stages`` each, and which of them run a batch.

    A second lane of an instance has a batch only when every other instance that is ``open`` has
    one: lanes of one instance compute one after the other.
    """

    def __init__(self, lanes: int, stages: int) -> None:
        self.open = lanes // stages
        """How many instances may have batches."""
        self._stages = stages
        self._free = set(range(lanes))
        self._runs = [0] * self.open
        self._busy = 0  # instances that run any

    def take(self, own: int) -> int:
        """Give a lane a batch: ``own``, that of the thread which has it, if none is better."""
        home = own // self._stages
        begins = not self._runs[home] and self._busy < self.open
        lane = own if begins else min(self._free, key=lambda lane: self._cost(lane, own))
        self._free.remove(lane)
        self._busy += not self._runs[lane // self._stages]
        self._runs[lane // self._stages] += 1
        return lane

    def end(self, lane: int) -> None:
        """Its batch has ended."""
        self._free.add(lane)
        self._runs[lane // self._stages] -= 1
        self._busy -= not self._runs[lane // self._stages]

    def _cost(self, lane: int, own: int) -> tuple[bool, int, bool, bool]:
        """Best is an instance that may be open, of those the least busy, of those the thread's."""
        instance = lane // self._stages
        runs = self._runs[instance]
        beyond = not runs and self._busy >= self.open
        return beyond, runs, instance != own // self._stages, lane != own
