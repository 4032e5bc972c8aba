"""One model in a simulation: what comes for it, what it runs, what became of its requests. Pure.

Not the clock: when something happens to it is ``simulate``'s to say.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, Self

from headrace.errors import HeadraceError
from headrace.scheduler.batch import Batch
from headrace.scheduler.machine import Ended, Machine
from headrace.scheduler.queue import Drop, Entry

IN_TIME, LATE = "in_time", "late"
"""Outcomes of the answered; the others are called as their errors are."""


class Rule(Protocol):
    """What is tried: a ``Scheduler``, or another rule to compare it with."""

    def admit(self, entry: Entry, now: float) -> Drop | None:
        """Queue an entry and return who had to leave for it, or raise why not."""

    def cut(self, now: float) -> tuple[Batch | None, list[Drop]]:
        """Take the next batch to run."""

    def finish(self, batch_id: int, now: float, infer_s: float | None) -> None:
        """A batch has ended."""

    def wake_at(self, now: float) -> float | None:
        """When to ask for a batch though nothing has happened."""


class Arrival(NamedTuple):
    """One request that comes to the rule, ``waited_s`` after it came to the server.

    Its deadline is ``timeout_s`` after it came there. ``way_s`` is what its client waits besides,
    of which no deadline knows.
    """

    at_s: float
    timeout_s: float = math.inf
    rows: int = 1
    bucket: Hashable = None
    elements: int = 1
    priority: int = 0
    waited_s: float = 0.0
    way_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Result:
    """What became of the requests.

    ``outcomes`` counts them by what happened, in time or late by their clients' clocks. ``mean_s``,
    ``p50_s`` and ``p99_s`` are of the answered, late ones included, ``refusal_p99_s`` is how long
    the refused and the dropped had to wait for that; None when there were none. ``utilisation`` is
    the share of the lanes' time in which they ran. ``answered_s`` and ``refused_s`` are all that
    the times are of, and ``batches`` ran.
    """

    offered: int
    duration_s: float
    outcomes: Mapping[str, int]
    mean_s: float | None
    p50_s: float | None
    p99_s: float | None
    refusal_p99_s: float | None
    utilisation: float
    mean_batch: float
    batches: int
    answered_s: tuple[float, ...]
    refused_s: tuple[float, ...]

    @classmethod
    def of(
        cls,
        duration_s: float,
        outcomes: Mapping[str, int],
        answered_s: Sequence[float],
        refused_s: Sequence[float],
        batches: int,
        rows: int,
        utilisation: float,
    ) -> Self:
        """Sum up what became of all; ``rows`` ran in all batches together."""
        return cls(
            offered=sum(outcomes.values()),
            duration_s=duration_s,
            outcomes=dict(outcomes),
            mean_s=sum(answered_s) / len(answered_s) if answered_s else None,
            p50_s=_quantile(answered_s, 0.50),
            p99_s=_quantile(answered_s, 0.99),
            refusal_p99_s=_quantile(refused_s, 0.99),
            utilisation=utilisation,
            mean_batch=rows / max(batches, 1),
            batches=batches,
            answered_s=tuple(answered_s),
            refused_s=tuple(refused_s),
        )

    @classmethod
    def together(cls, parts: Sequence[Self]) -> Self:
        """What became of the requests of several plays, each of which began with nothing."""
        outcomes: Counter[str] = Counter()
        for part in parts:
            outcomes.update(part.outcomes)
        duration_s = math.fsum(part.duration_s for part in parts)
        busy_s = math.fsum(part.utilisation * part.duration_s for part in parts)
        return cls.of(
            duration_s,
            outcomes,
            [answer_s for part in parts for answer_s in part.answered_s],
            [refusal_s for part in parts for refusal_s in part.refused_s],
            sum(part.batches for part in parts),
            round(sum(part.mean_batch * part.batches for part in parts)),
            busy_s / duration_s,
        )

    @property
    def goodput_rps(self) -> float:
        """Answers within their deadline a second."""
        return self.outcomes.get(IN_TIME, 0) / self.duration_s

    @property
    def in_time_share(self) -> float:
        """The part of all requests that was answered within its deadline."""
        return self.outcomes.get(IN_TIME, 0) / self.offered


class Side:
    """What it runs, and the books of its requests."""

    def __init__(self, number: int, rule: Rule, machine: Machine, began_s: float) -> None:
        self.rule = rule
        self.missed = 0
        """How many of those that count were not answered in time."""
        self._number = number
        self._machine = machine
        self._began_s = began_s
        self._handed: deque[Batch] = deque()
        self._batches: dict[int, Batch] = {}
        self._busy_before_s = 0.0
        self._ran_rows: list[int] = []
        self._outcomes: Counter[str] = Counter()
        self._answered_s: list[float] = []
        self._refused_s: list[float] = []

    def settle(self) -> None:
        """Counting begins."""
        self._busy_before_s = self._machine.busy_s[self._number]

    def arrive(self, arrival: Arrival, now: float) -> None:
        """Let a request come."""
        at_s, timeout_s, rows, bucket, elements, priority, waited_s, _ = arrival
        sent_s = at_s - waited_s
        entry = Entry(sent_s + timeout_s, rows, bucket, elements, sent_s, priority, arrival)
        try:
            left = self.rule.admit(entry, now)
        except HeadraceError as error:
            self._refuse(entry, error.code, now)
            return
        if left is not None:
            self._refuse(left.entry, left.reason.value, now)

    def pump(self, now: float) -> None:
        """Take the batches there are."""
        batch: Batch | None
        while True:
            batch, drops = self.rule.cut(now)
            for drop in drops:
                self._refuse(drop.entry, drop.reason.value, now)
            if batch is None:
                return
            self._handed.append(batch)
            self.start(now)

    def start(self, now: float) -> None:
        """Run those handed over that a lane is free for."""
        while self._handed and self._machine.is_free(self._number):
            batch = self._handed.popleft()
            self._machine.start(self._number, batch)
            self._batches[batch.id] = batch
            if now >= self._began_s:
                self._ran_rows.append(batch.rows)

    def answer(self, ended: Ended, now: float) -> None:
        """Note what became of the requests of a run that has ended."""
        batch = self._batches.pop(ended.batch_id)
        self.rule.finish(ended.batch_id, now, ended.seconds)
        for entry in batch.entries:
            if entry.payload.at_s >= self._began_s:
                there_s = now + entry.payload.way_s
                in_time = there_s <= entry.deadline_s
                self._outcomes[IN_TIME if in_time else LATE] += 1
                self.missed += not in_time
                self._answered_s.append(there_s - entry.arrival_s)

    def _refuse(self, entry: Entry, code: str, now: float) -> None:
        if entry.payload.at_s >= self._began_s:
            self._outcomes[code] += 1
            self.missed += 1
            self._refused_s.append(now + entry.payload.way_s - entry.arrival_s)

    def sum_up(self, duration_s: float) -> Result:
        """What became of all."""
        busy_s = self._machine.busy_s[self._number] - self._busy_before_s
        return Result.of(
            duration_s,
            self._outcomes,
            self._answered_s,
            self._refused_s,
            len(self._ran_rows),
            sum(self._ran_rows),
            busy_s / (self._machine.lanes[self._number] * duration_s),
        )


def _quantile(values: Sequence[float], share: float) -> float | None:
    """The value that this share of all does not exceed."""
    if not values:
        return None
    return sorted(values)[math.ceil(share * len(values)) - 1]
