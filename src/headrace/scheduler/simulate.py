"""The rule against made-up traffic: the scheduler that serves, with lanes that only pretend to run.

Pure: a discrete-event simulation. Chance, if there is to be any, is in what it is given.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from headrace.errors import HeadraceError
from headrace.scheduler.batch import Batch
from headrace.scheduler.fairness import Device, Turn
from headrace.scheduler.machine import Active, Ended, Machine, Service, Speed, linear, undisturbed
from headrace.scheduler.queue import Drop, Entry

__all__ = [
    "IN_TIME",
    "LATE",
    "Arrival",
    "Player",
    "Result",
    "Rule",
    "Service",
    "Speed",
    "linear",
    "simulate",
    "simulate_together",
    "undisturbed",
]

IN_TIME, LATE = "in_time", "late"
"""Outcomes of the answered; the others are called as their errors are."""


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
class Player:
    """One model: its rule, what comes for it, how long its runs take, on how many lanes.

    ``turn`` is the one its rule was given, where models take turns. ``active`` says how many of the
    lanes may run now; None: all.
    """

    rule: Rule
    arrivals: Iterable[Arrival]
    service: Service
    lanes: int
    turn: Turn | None = None
    active: Active | None = None


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


def simulate(
    rule: Rule,
    arrivals: Iterable[Arrival],
    service: Service,
    *,
    lanes: int,
    reply_s: float = 0.0,
    speed: Speed = undisturbed,
    settled_s: float = -math.inf,
    active: Active | None = None,
) -> Result:
    """Let the requests arrive and the rule serve them until all have an outcome.

    ``reply_s`` passes between the end of a run and the answers being out; the lane goes on. What
    comes before ``settled_s`` plays its part, but is not counted. ``active`` says how many of
    the lanes may run now; None: all.

    Raises:
        ValueError: there are no arrivals.
    """
    player = Player(rule, arrivals, service, lanes, active=active)
    (result,) = simulate_together([player], reply_s=reply_s, speed=speed, settled_s=settled_s)
    return result


def simulate_together(
    players: Sequence[Player],
    *,
    device: Device | None = None,
    reply_s: float = 0.0,
    speed: Speed = undisturbed,
    settled_s: float = -math.inf,
) -> list[Result]:
    """Let several models serve on one machine, and say what became of the requests of each.

    ``device`` is where they take turns; without one they run as they like, and ``speed`` says what
    that does to them. The rest as of ``simulate``.

    Raises:
        ValueError: there are no arrivals.
    """
    plan = sorted(
        ((arrival, number) for number, one in enumerate(players) for arrival in one.arrivals),
        key=lambda coming: coming[0].at_s,
    )
    if not plan or plan[-1][0].at_s < settled_s:
        raise ValueError("a simulation needs at least one arrival that counts")
    machine = Machine(
        [one.service for one in players],
        [one.lanes for one in players],
        [one.active for one in players],
        speed,
    )
    began_s = max(settled_s, plan[0][0].at_s)
    sides = [_Side(number, one.rule, machine, began_s) for number, one in enumerate(players)]
    turns = {one.turn: side for one, side in zip(players, sides, strict=True) if one.turn}
    end_s = _Simulation(sides, deque(plan), machine, _Turns(device, turns), reply_s).run(began_s)
    duration_s = max(end_s - began_s, 1e-9)
    return [side.sum_up(duration_s) for side in sides]


class _Turns(NamedTuple):
    """Who takes turns, and where; without a device nobody does."""

    device: Device | None
    sides: Mapping[Turn, _Side]

    def due(self, now: float) -> _Side | None:
        turn = None if self.device is None else self.device.due(now)
        return None if turn is None else self.sides[turn]


class _Simulation:
    """One simulation: the clock, and what happens next."""

    def __init__(
        self,
        sides: Sequence[_Side],
        plan: deque[tuple[Arrival, int]],
        machine: Machine,
        turns: _Turns,
        reply_s: float,
    ) -> None:
        self._sides = sides
        self._plan = plan
        self._machine = machine
        self._turns = turns
        self._reply_s = reply_s
        self._now = plan[0][0].at_s
        self._replies: deque[tuple[float, Ended]] = deque()

    def run(self, began_s: float) -> float:
        """Play all that happens, in the order of time; return when the last of it did."""
        self._machine.advance(self._now)
        while (at_s := self._next_event_s()) < math.inf:
            wake_s, sleeper = self._next_wake()
            woken = sleeper is not None and wake_s < at_s
            if woken and wake_s <= self._now:
                raise RuntimeError("the rule asks to be woken, and then does nothing")
            self._move(wake_s if woken else at_s, began_s)
            side = sleeper if woken else self._happen()
            while side is not None:
                side.pump(self._now)
                side = self._turns.due(self._now)
        return self._now

    def _next_event_s(self) -> float:
        return min(
            self._plan[0][0].at_s if self._plan else math.inf,
            self._machine.next_end_s(),
            self._replies[0][0] if self._replies else math.inf,
        )

    def _next_wake(self) -> tuple[float, _Side | None]:
        """The rule that wants to be woken first, and when."""
        first: tuple[float, _Side | None] = math.inf, None
        for side in self._sides:
            wake_s = side.rule.wake_at(self._now)
            if wake_s is not None and wake_s < first[0]:
                first = wake_s, side
        return first

    def _move(self, at_s: float, began_s: float) -> None:
        """Let the time come."""
        if self._now < began_s <= at_s:
            self._machine.advance(began_s)
            for side in self._sides:
                side.settle()
        self._machine.advance(at_s)
        self._now = at_s

    def _happen(self) -> _Side | None:
        """Let happen what comes first, and return whom it concerns.

        Nothing may, for the end of a run can come a rounding error later than it was to.
        """
        now = self._now
        if self._machine.next_end_s() <= now:
            ended = self._machine.end()
            side = self._sides[ended.model]
            side.start(now)
            if self._reply_s:
                self._replies.append((now + self._reply_s, ended))
            else:
                side.answer(ended, now)
        elif self._replies and self._replies[0][0] <= now:
            _, ended = self._replies.popleft()
            side = self._sides[ended.model]
            side.answer(ended, now)
        elif self._plan and self._plan[0][0].at_s <= now:
            arrival, number = self._plan.popleft()
            side = self._sides[number]
            side.arrive(arrival, now)
        else:
            return None
        return side


class _Side:
    """One model in a simulation: what it runs, and the books of its requests."""

    def __init__(self, number: int, rule: Rule, machine: Machine, began_s: float) -> None:
        self.rule = rule
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
        at_s, timeout_s, rows, bucket, elements, priority, waited_s = arrival
        entry = Entry(at_s + timeout_s, rows, bucket, elements, at_s, priority, waited_s)
        try:
            self.rule.admit(entry, now)
        except HeadraceError as error:
            self._refuse(entry, error.code, now)

    def pump(self, now: float) -> None:
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
        while self._handed and self._machine.is_free(self._number):
            batch = self._handed.popleft()
            self._machine.start(self._number, batch)
            self._batches[batch.id] = batch
            if now >= self._began_s:
                self._ran_rows.append(batch.rows)

    def answer(self, ended: Ended, now: float) -> None:
        batch = self._batches.pop(ended.batch_id)
        self.rule.finish(ended.batch_id, now, ended.seconds)
        for entry in batch.entries:
            if entry.arrival_s >= self._began_s:
                self._outcomes[IN_TIME if now <= entry.deadline_s else LATE] += 1
                self._answered_s.append(now - entry.arrival_s + entry.payload)

    def _refuse(self, entry: Entry, code: str, now: float) -> None:
        if entry.arrival_s >= self._began_s:
            self._outcomes[code] += 1
            self._refused_s.append(now - entry.arrival_s + entry.payload)

    def sum_up(self, duration_s: float) -> Result:
        """What became of all."""
        answered_s = self._answered_s
        busy_s = self._machine.busy_s[self._number] - self._busy_before_s
        return Result(
            offered=self._outcomes.total(),
            duration_s=duration_s,
            outcomes=dict(self._outcomes),
            mean_s=sum(answered_s) / len(answered_s) if answered_s else None,
            p50_s=_quantile(answered_s, 0.50),
            p99_s=_quantile(answered_s, 0.99),
            refusal_p99_s=_quantile(self._refused_s, 0.99),
            utilisation=busy_s / (self._machine.lanes[self._number] * duration_s),
            mean_batch=sum(self._ran_rows) / max(len(self._ran_rows), 1),
        )


def _quantile(values: list[float], share: float) -> float | None:
    """The value that this share of all does not exceed."""
    if not values:
        return None
    return sorted(values)[math.ceil(share * len(values)) - 1]
