"""The rule against made-up traffic: the scheduler that serves, with lanes that only pretend to run.

Pure: a discrete-event simulation. Chance, if there is to be any, is in what it is given.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import NamedTuple, Protocol

from headrace.errors import HeadraceError
from headrace.scheduler.policy import Batch
from headrace.scheduler.queue import Drop, Entry

IN_TIME, LATE = "in_time", "late"
"""Outcomes of the answered; the others are called as their errors are."""

Service = Callable[[int, int], float]
"""Elements of a row, rows of a batch → the seconds it runs."""


class Rule(Protocol):
    """What is tried: a ``Scheduler``, or another rule to compare it with."""

    def admit(self, entry: Entry, now: float) -> None:
        """Queue an entry, or raise why not."""

    def cut(self, now: float) -> tuple[Batch | None, list[Drop]]:
        """Take the next batch to run."""

    def finish(self, batch_id: int, now: float, infer_s: float | None) -> None:
        """A batch has ended."""

    def wake_at(self, now: float) -> float | None:
        """When to ask for a batch though nothing has happened."""


class Arrival(NamedTuple):
    """One request to come."""

    at_s: float
    timeout_s: float = math.inf
    rows: int = 1
    bucket: Hashable = None
    elements: int = 1
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Result:
    """What became of the requests.

    ``outcomes`` counts them by what happened. ``p50_s`` and ``p99_s`` are of the answered, late
    ones included, ``refusal_p99_s`` is how long the refused and the dropped had to wait for that;
    None when there were none. ``utilisation`` is the share of the lanes' time in which they ran.
    """

    offered: int
    duration_s: float
    outcomes: Mapping[str, int]
    p50_s: float | None
    p99_s: float | None
    refusal_p99_s: float | None
    utilisation: float
    mean_batch: float

    @property
    def goodput_rps(self) -> float:
        """Answers within their deadline a second."""
        return self.outcomes.get(IN_TIME, 0) / self.duration_s

    @property
    def in_time_share(self) -> float:
        """The part of all requests that was answered within its deadline."""
        return self.outcomes.get(IN_TIME, 0) / self.offered


def linear(alpha_s: float, beta_s: float, ratios: Sequence[float] = (1.0,)) -> Service:
    """Runs of alpha + beta times rows, each times the next ratio, of which there is no end."""
    ratio = cycle(ratios)

    def service(_elements: int, rows: int) -> float:
        return (alpha_s + beta_s * rows) * next(ratio)

    return service


def simulate(
    rule: Rule,
    arrivals: Iterable[Arrival],
    service: Service,
    *,
    lanes: int,
    reply_s: float = 0.0,
) -> Result:
    """Let the requests arrive and the rule serve them until all have an outcome.

    ``reply_s`` passes between the end of a run and the answers being out; the lane goes on.

    Raises:
        ValueError: there are no arrivals.
    """
    plan = deque(sorted(arrivals, key=lambda arrival: arrival.at_s))
    if not plan:
        raise ValueError("a simulation needs at least one arrival")
    return _Simulation(rule, plan, service, lanes, reply_s).run()


class _Simulation:
    """One simulation: the clock, the lanes and the books."""

    def __init__(
        self, rule: Rule, plan: deque[Arrival], service: Service, lanes: int, reply_s: float
    ) -> None:
        self._rule = rule
        self._plan = plan
        self._service = service
        self._lanes = lanes
        self._reply_s = reply_s
        self._now = plan[0].at_s
        self._handed: deque[Batch] = deque()
        self._busy = 0
        self._busy_s = 0.0
        self._runs: list[tuple[float, int, float]] = []
        self._replies: deque[tuple[float, int, float]] = deque()
        self._batches: dict[int, Batch] = {}
        self._ran_rows: list[int] = []
        self._outcomes: Counter[str] = Counter()
        self._answered_s: list[float] = []
        self._refused_s: list[float] = []

    def run(self) -> Result:
        """Play all that happens, in the order of time."""
        began_s, offered = self._now, len(self._plan)
        while (at_s := self._next_event_s()) < math.inf:
            wake_s = self._rule.wake_at(self._now)
            if wake_s is not None and wake_s < at_s:
                if wake_s <= self._now:
                    raise RuntimeError("the rule asks to be woken, and then does nothing")
                self._now = wake_s
            else:
                self._now = at_s
                self._happen()
            self._pump()
        return self._sum_up(offered, max(self._now - began_s, 1e-9))

    def _next_event_s(self) -> float:
        return min(
            self._plan[0].at_s if self._plan else math.inf,
            self._runs[0][0] if self._runs else math.inf,
            self._replies[0][0] if self._replies else math.inf,
        )

    def _happen(self) -> None:
        now = self._now
        if self._runs and self._runs[0][0] <= now:
            _, number, seconds = heapq.heappop(self._runs)
            self._busy -= 1
            self._start()
            if self._reply_s:
                self._replies.append((now + self._reply_s, number, seconds))
            else:
                self._answer(number, seconds)
        elif self._replies and self._replies[0][0] <= now:
            _, number, seconds = self._replies.popleft()
            self._answer(number, seconds)
        else:
            self._arrive(self._plan.popleft())

    def _arrive(self, arrival: Arrival) -> None:
        at_s, timeout_s, rows, bucket, elements, priority = arrival
        entry = Entry(at_s + timeout_s, rows, bucket, elements, at_s, priority)
        try:
            self._rule.admit(entry, self._now)
        except HeadraceError as error:
            self._refuse(entry, error.code)

    def _pump(self) -> None:
        batch: Batch | None
        while True:
            batch, drops = self._rule.cut(self._now)
            for drop in drops:
                self._refuse(drop.entry, drop.reason.value)
            if batch is None:
                return
            self._handed.append(batch)
            self._start()

    def _start(self) -> None:
        while self._handed and self._busy < self._lanes:
            batch = self._handed.popleft()
            seconds = self._service(batch.elements, batch.rows)
            self._busy += 1
            self._busy_s += seconds
            self._batches[batch.id] = batch
            self._ran_rows.append(batch.rows)
            heapq.heappush(self._runs, (self._now + seconds, batch.id, seconds))

    def _answer(self, number: int, seconds: float) -> None:
        batch = self._batches.pop(number)
        self._rule.finish(number, self._now, seconds)
        for entry in batch.entries:
            self._outcomes[IN_TIME if self._now <= entry.deadline_s else LATE] += 1
            self._answered_s.append(self._now - entry.arrival_s)

    def _refuse(self, entry: Entry, code: str) -> None:
        self._outcomes[code] += 1
        self._refused_s.append(self._now - entry.arrival_s)

    def _sum_up(self, offered: int, duration_s: float) -> Result:
        return Result(
            offered=offered,
            duration_s=duration_s,
            outcomes=dict(self._outcomes),
            p50_s=_quantile(self._answered_s, 0.50),
            p99_s=_quantile(self._answered_s, 0.99),
            refusal_p99_s=_quantile(self._refused_s, 0.99),
            utilisation=self._busy_s / (self._lanes * duration_s),
            mean_batch=sum(self._ran_rows) / max(len(self._ran_rows), 1),
        )


def _quantile(values: list[float], share: float) -> float | None:
    """The value that this share of all does not exceed."""
    if not values:
        return None
    return sorted(values)[math.ceil(share * len(values)) - 1]
