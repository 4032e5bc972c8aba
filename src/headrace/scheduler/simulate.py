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
from headrace.scheduler.batch import Batch
from headrace.scheduler.queue import Drop, Entry

IN_TIME, LATE = "in_time", "late"
"""Outcomes of the answered; the others are called as their errors are."""

Service = Callable[[int, int], float]
"""Elements of a row, rows of a batch → the seconds it runs on a lane that has the machine alone."""

Speed = Callable[[int], float]
"""How many lanes run → how fast each of them is; 1: as fast as alone."""


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
    """One request to come; ``waited_s`` is its age then, of which no deadline knows."""

    at_s: float
    timeout_s: float = math.inf
    rows: int = 1
    bucket: Hashable = None
    elements: int = 1
    priority: int = 0
    waited_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Result:
    """What became of the requests.

    ``outcomes`` counts them by what happened. ``mean_s``, ``p50_s`` and ``p99_s`` are of the
    answered, late ones included, ``refusal_p99_s`` is how long the refused and the dropped had to
    wait for that; None when there were none. ``utilisation`` is the share of the lanes' time in
    which they ran.
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


def undisturbed(_lanes: int) -> float:
    """Lanes that do not slow each other down."""
    return 1.0


def simulate(
    rule: Rule,
    arrivals: Iterable[Arrival],
    service: Service,
    *,
    lanes: int,
    reply_s: float = 0.0,
    speed: Speed = undisturbed,
    settled_s: float = -math.inf,
    active: Callable[[], int] | None = None,
) -> Result:
    """Let the requests arrive and the rule serve them until all have an outcome.

    ``reply_s`` passes between the end of a run and the answers being out; the lane goes on. What
    comes before ``settled_s`` plays its part, but is not counted. ``active`` says how many of
    the lanes may run now; None: all.

    Raises:
        ValueError: there are no arrivals.
    """
    plan = deque(sorted(arrivals, key=lambda arrival: arrival.at_s))
    if not plan or plan[-1].at_s < settled_s:
        raise ValueError("a simulation needs at least one arrival that counts")
    return _Simulation(rule, plan, _Lanes(service, speed, lanes, active), reply_s, settled_s).run()


class _Lanes:
    """The lanes, which share the machine evenly: all that run are as fast as each other.

    So the run that ends first is the one with the least left to do, and what each has to do can be
    kept as a mark on one common scale of ``progress``: seconds of a lane that is alone.
    """

    def __init__(
        self, service: Service, speed: Speed, count: int, active: Callable[[], int] | None
    ) -> None:
        self._service = service
        self._speed = speed
        self.count = count
        self._active = active or (lambda: count)
        self._runs: list[tuple[float, int, float]] = []
        self._progress = 0.0
        self._now = 0.0
        self._each = 1.0
        self.busy_s = 0.0

    @property
    def free(self) -> bool:
        """Whether one has nothing to do."""
        return len(self._runs) < min(self.count, self._active())

    def next_end_s(self) -> float:
        """When the next run ends, if nothing changes before."""
        if not self._runs:
            return math.inf
        return self._now + max(self._runs[0][0] - self._progress, 0.0) / self._each

    def advance(self, now: float) -> None:
        """Let time pass."""
        passed_s, self._now = now - self._now, now
        self._progress += passed_s * self._each
        self.busy_s += passed_s * len(self._runs)

    def start(self, batch: Batch) -> None:
        """Run a batch from now on."""
        mark = self._progress + self._service(batch.elements, batch.rows)
        heapq.heappush(self._runs, (mark, batch.id, self._now))
        self._each = self._speed(len(self._runs))

    def end(self) -> tuple[int, float]:
        """Take the run that ends out: its batch, and how long it took."""
        _, number, started_s = heapq.heappop(self._runs)
        self._each = self._speed(len(self._runs)) if self._runs else 1.0
        return number, self._now - started_s


class _Simulation:
    """One simulation: the clock, the lanes and the books."""

    def __init__(
        self, rule: Rule, plan: deque[Arrival], lanes: _Lanes, reply_s: float, settled_s: float
    ) -> None:
        self._rule = rule
        self._plan = plan
        self._lanes = lanes
        self._reply_s = reply_s
        self._began_s = max(settled_s, plan[0].at_s)
        self._now = plan[0].at_s
        self._handed: deque[Batch] = deque()
        self._replies: deque[tuple[float, int, float]] = deque()
        self._batches: dict[int, Batch] = {}
        self._busy_before_s = 0.0
        self._ran_rows: list[int] = []
        self._outcomes: Counter[str] = Counter()
        self._answered_s: list[float] = []
        self._refused_s: list[float] = []

    def run(self) -> Result:
        """Play all that happens, in the order of time."""
        self._lanes.advance(self._now)
        while (at_s := self._next_event_s()) < math.inf:
            wake_s = self._rule.wake_at(self._now)
            if wake_s is not None and wake_s < at_s:
                if wake_s <= self._now:
                    raise RuntimeError("the rule asks to be woken, and then does nothing")
                self._move(wake_s)
            else:
                self._move(at_s)
                self._happen()
            self._pump()
        return self._sum_up(max(self._now - self._began_s, 1e-9))

    def _next_event_s(self) -> float:
        return min(
            self._plan[0].at_s if self._plan else math.inf,
            self._lanes.next_end_s(),
            self._replies[0][0] if self._replies else math.inf,
        )

    def _move(self, at_s: float) -> None:
        """Let the time come."""
        if self._now < self._began_s <= at_s:
            self._lanes.advance(self._began_s)
            self._busy_before_s = self._lanes.busy_s
        self._lanes.advance(at_s)
        self._now = at_s

    def _happen(self) -> None:
        now = self._now
        if self._lanes.next_end_s() <= now:
            number, seconds = self._lanes.end()
            self._start()
            if self._reply_s:
                self._replies.append((now + self._reply_s, number, seconds))
            else:
                self._answer(number, seconds)
        elif self._replies and self._replies[0][0] <= now:
            _, number, seconds = self._replies.popleft()
            self._answer(number, seconds)
        elif self._plan and self._plan[0].at_s <= now:
            self._arrive(self._plan.popleft())

    def _arrive(self, arrival: Arrival) -> None:
        at_s, timeout_s, rows, bucket, elements, priority, waited_s = arrival
        entry = Entry(at_s + timeout_s, rows, bucket, elements, at_s, priority, waited_s)
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
        while self._handed and self._lanes.free:
            batch = self._handed.popleft()
            self._lanes.start(batch)
            self._batches[batch.id] = batch
            if self._now >= self._began_s:
                self._ran_rows.append(batch.rows)

    def _answer(self, number: int, seconds: float) -> None:
        batch = self._batches.pop(number)
        self._rule.finish(number, self._now, seconds)
        for entry in batch.entries:
            if entry.arrival_s >= self._began_s:
                self._outcomes[IN_TIME if self._now <= entry.deadline_s else LATE] += 1
                self._answered_s.append(self._now - entry.arrival_s + entry.payload)

    def _refuse(self, entry: Entry, code: str) -> None:
        if entry.arrival_s >= self._began_s:
            self._outcomes[code] += 1
            self._refused_s.append(self._now - entry.arrival_s + entry.payload)

    def _sum_up(self, duration_s: float) -> Result:
        answered_s = self._answered_s
        busy_s = self._lanes.busy_s - self._busy_before_s
        return Result(
            offered=self._outcomes.total(),
            duration_s=duration_s,
            outcomes=dict(self._outcomes),
            mean_s=sum(answered_s) / len(answered_s) if answered_s else None,
            p50_s=_quantile(answered_s, 0.50),
            p99_s=_quantile(answered_s, 0.99),
            refusal_p99_s=_quantile(self._refused_s, 0.99),
            utilisation=busy_s / (self._lanes.count * duration_s),
            mean_batch=sum(self._ran_rows) / max(len(self._ran_rows), 1),
        )


def _quantile(values: list[float], share: float) -> float | None:
    """The value that this share of all does not exceed."""
    if not values:
        return None
    return sorted(values)[math.ceil(share * len(values)) - 1]
