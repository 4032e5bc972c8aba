"""What runs on a device now, and what has been used of it lately. Pure."""

from __future__ import annotations

import math

# The window of what models have used of late; in it a model of a few batches a second is seen.
_WINDOW_S = 0.5
# A run that takes so much longer than expected hangs, or its process does. It keeps nobody waiting:
# the system shares the cores then.
_OVERDUE, _OVERDUE_S = 4.0, 0.1


class Faded:
    """A sum whose parts fade with their age."""

    __slots__ = ("_sum", "_told_s")

    def __init__(self) -> None:
        self._sum = 0.0
        self._told_s = 0.0

    def add(self, amount: float, now: float) -> None:
        """Add what has just come."""
        self._sum = self.per_s(now) * _WINDOW_S + amount
        self._told_s = now

    def per_s(self, now: float) -> float:
        """How much comes a second."""
        if not self._sum:
            return 0.0
        return self._sum / _WINDOW_S * math.exp((self._told_s - now) / _WINDOW_S)


class Run:
    """A batch handed over; until it ``runs`` it waits in the engine for one of its own model."""

    __slots__ = ("bound_s", "cores", "cost_s", "ends_s", "expected_s", "overdue_s", "runs")

    def __init__(self, cores: float, expected_s: float, bound_s: float) -> None:
        self.cores = cores
        self.expected_s = expected_s
        self.bound_s = bound_s
        self.cost_s = cores * expected_s
        self.runs = False
        self.ends_s = self.overdue_s = math.inf

    def begin(self, now: float) -> None:
        """From now on it runs."""
        self.runs = True
        self.ends_s = now + self.expected_s
        self.overdue_s = now + _OVERDUE * self.expected_s + _OVERDUE_S


class Runs:
    """What runs on a device: looked through once after each change, not with every request."""

    def __init__(self) -> None:
        self._all: dict[tuple[object, int], Run] = {}
        self._known_until_s = -math.inf
        self._running: list[Run] = []
        self._taken = 0.0
        self._end_s = self._overdue_s = math.inf

    def add(self, whose: object, batch_id: int, run: Run) -> None:
        """A batch is handed over."""
        self._all[whose, batch_id] = run
        self._known_until_s = -math.inf

    def remove(self, whose: object, batch_id: int) -> None:
        """It has ended, or is nobody's any more."""
        del self._all[whose, batch_id]
        self._known_until_s = -math.inf

    def running(self, now: float) -> list[Run]:
        """Those that run, and do not hang."""
        if now >= self._known_until_s:
            self._look(now)
        return self._running

    def taken(self, now: float) -> float:
        """How many cores those have."""
        if now >= self._known_until_s:
            self._look(now)
        return self._taken

    def end_s(self, now: float) -> float:
        """When the first of them should end; never where there is none."""
        if now >= self._known_until_s:
            self._look(now)
        return self._end_s

    def overdue_s(self, now: float) -> float:
        """When the first of them will be overdue, if it has not ended by then."""
        if now >= self._known_until_s:
            self._look(now)
        return self._overdue_s

    def _look(self, now: float) -> None:
        running = [run for run in self._all.values() if run.runs and now < run.overdue_s]
        self._running = running
        self._taken = sum([run.cores for run in running])
        self._end_s = min([run.ends_s for run in running], default=math.inf)
        self._overdue_s = self._known_until_s = min(
            [run.overdue_s for run in running], default=math.inf
        )
