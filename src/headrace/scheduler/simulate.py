"""The rule against made-up traffic: the scheduler that serves, with lanes that only pretend to run.

Pure: a discrete-event simulation. Chance, if there is to be any, is in what it is given.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from headrace.scheduler.books import IN_TIME, LATE, Arrival, Result, Rule, Side
from headrace.scheduler.fairness import Device, Turn
from headrace.scheduler.machine import (
    STEADY,
    Active,
    Ended,
    Machine,
    Pace,
    Service,
    Speed,
    linear,
    undisturbed,
)

__all__ = [
    "IN_TIME",
    "LATE",
    "Arrival",
    "Pace",
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


def simulate(
    rule: Rule,
    arrivals: Iterable[Arrival],
    service: Service,
    *,
    lanes: int,
    reply_s: float = 0.0,
    pace: Pace = STEADY,
    settled_s: float = -math.inf,
    at_least: float = 0.0,
) -> Result:
    """Let the requests arrive and the rule serve them until all have an outcome.

    ``reply_s`` passes between the end of a run and the answers being out; the lane goes on. What
    comes before ``settled_s`` plays its part, but is not counted. Once less than ``at_least`` of
    all that counts can be answered in time the rest is not played: the result is of what was, less
    of it in time than that.

    Raises:
        ValueError: there are no arrivals.
    """
    player = Player(rule, arrivals, service, lanes)
    (result,) = simulate_together(
        [player], reply_s=reply_s, pace=pace, settled_s=settled_s, at_least=at_least
    )
    return result


def simulate_together(
    players: Sequence[Player],
    *,
    device: Device | None = None,
    reply_s: float = 0.0,
    pace: Pace = STEADY,
    settled_s: float = -math.inf,
    at_least: float = 0.0,
) -> list[Result]:
    """Let several models serve on one machine, and say what became of the requests of each.

    ``device`` is where they take turns; without one they run as they like, and ``pace`` says what
    that does to them. The rest as of ``simulate``; ``at_least`` is of the requests of all models.

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
        pace,
    )
    began_s = max(settled_s, plan[0][0].at_s)
    sides = [Side(number, one.rule, machine, began_s) for number, one in enumerate(players)]
    turns = {one.turn: side for one, side in zip(players, sides, strict=True) if one.turn}
    counted = sum(arrival.at_s >= began_s for arrival, _ in plan)
    most_missed = (1 - at_least) * counted if at_least else math.inf
    playing = _Simulation(sides, deque(plan), machine, _Turns(device, turns), reply_s, most_missed)
    end_s = playing.run(began_s)
    duration_s = max(end_s - began_s, 1e-9)
    return [side.sum_up(duration_s) for side in sides]


class _Turns(NamedTuple):
    """Who takes turns, and where; without a device nobody does."""

    device: Device | None
    sides: Mapping[Turn, Side]

    def due(self, now: float) -> Side | None:
        turn = None if self.device is None else self.device.due(now)
        return None if turn is None else self.sides[turn]


class _Simulation:
    """One simulation: the clock, and what happens next."""

    def __init__(
        self,
        sides: Sequence[Side],
        plan: deque[tuple[Arrival, int]],
        machine: Machine,
        turns: _Turns,
        reply_s: float,
        most_missed: float,
    ) -> None:
        self._sides = sides
        self._plan = plan
        self._machine = machine
        self._turns = turns
        self._reply_s = reply_s
        self._most_missed = most_missed
        self._now = plan[0][0].at_s
        self._replies: deque[tuple[float, Ended]] = deque()

    def run(self, began_s: float) -> float:
        """Play all that happens, in the order of time; return when the last of it did."""
        self._machine.advance(self._now)
        while (at_s := self._next_event_s()) < math.inf:
            if sum([side.missed for side in self._sides]) > self._most_missed:
                break
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
        at_s = self._machine.next_end_s()
        if self._plan and self._plan[0][0].at_s < at_s:
            at_s = self._plan[0][0].at_s
        if self._replies and self._replies[0][0] < at_s:
            at_s = self._replies[0][0]
        return at_s

    def _next_wake(self) -> tuple[float, Side | None]:
        """The rule that wants to be woken first, and when."""
        first: tuple[float, Side | None] = math.inf, None
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

    def _happen(self) -> Side | None:
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
