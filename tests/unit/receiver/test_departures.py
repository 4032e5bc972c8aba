"""Whose client is asked after, and when: the clock and the timers are the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from headrace.receiver.exchange import Exchange
from headrace.receiver.run import departures
from headrace.receiver.run.departures import PATIENCE_S, QUESTIONS, Departures
from headrace.receiver.run.shapes import Fit
from headrace.receiver.run.work import Work
from headrace.scheduler import Entry
from tests.unit.receiver.inside import Said

NO_FIT = Fit((), None, 1, (), 1)


class Clock:
    """Time, and the timers that were set; for the loop of ``Departures`` and for its module."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._timers: list[tuple[float, Callable[[], None]]] = []

    def monotonic(self) -> float:
        return self.now_s

    def call_later(self, seconds: float, call: Callable[[], None]) -> object:
        self._timers.append((self.now_s + seconds, call))
        return call

    async def pass_to(self, until_s: float) -> None:
        while self._timers:
            timer = min(self._timers, key=lambda one: one[0])
            if timer[0] > until_s:
                break
            self._timers.remove(timer)
            self.now_s = timer[0]
            timer[1]()
            await asyncio.sleep(0)  # answers are heard
        self.now_s = until_s


class Client:
    """Counts how often it was asked whether it is there."""

    def __init__(self, *, gone: bool = False) -> None:
        self.gone = gone
        self.asked = 0

    def receive(self) -> asyncio.Future[dict[str, Any]]:
        self.asked += 1
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        answer.set_result({"type": "http.disconnect" if self.gone else "http.request"})
        return answer


class Holder:
    """Notes who has left."""

    def __init__(self) -> None:
        self.left: list[Entry] = []

    def leave(self, entry: Entry) -> None:
        self.left.append(entry)


def entry(client: Client) -> Entry:
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    work = Work({}, NO_FIT, future, Exchange({}, client.receive, 0.0))
    waiting = Entry(1.0, 1, (), 1, 0.0, payload=work)
    waiting.waiting = True
    return waiting


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(departures, "time", clock)
    return clock


async def test_who_waits_is_asked_again_and_again_and_who_has_left_is_told_of(clock: Clock) -> None:
    watched, holder = Departures(cast(asyncio.AbstractEventLoop, clock)), Holder()
    staying, leaving = Client(), Client()
    watched.watch(holder, entry(staying))
    watched.watch(holder, gone := entry(leaving))
    await clock.pass_to(0.9 * PATIENCE_S)
    assert (staying.asked, leaving.asked) == (0, 0)
    await clock.pass_to(2.5 * PATIENCE_S)
    assert (staying.asked, leaving.asked) == (2, 2)
    assert holder.left == []
    leaving.gone = True
    await clock.pass_to(3.5 * PATIENCE_S)
    assert holder.left == [gone]
    watched.forget(gone)
    await clock.pass_to(9.5 * PATIENCE_S)
    assert (staying.asked, leaving.asked) == (9, 3)


async def test_who_has_no_body_is_asked_too(clock: Clock) -> None:
    class Bodiless(Client):
        def receive(self) -> Any:
            self.asked += 1
            return Said({"type": "http.disconnect"})

    watched, holder = Departures(cast(asyncio.AbstractEventLoop, clock)), Holder()
    watched.watch(holder, gone := entry(Bodiless()))
    await clock.pass_to(1.5 * PATIENCE_S)
    await asyncio.sleep(0)
    assert holder.left == [gone]


async def test_a_question_that_fails_keeps_nobody_from_being_asked(clock: Clock) -> None:
    class Broken(Client):
        def receive(self) -> Any:
            self.asked += 1
            raise RuntimeError("no answer")

    watched, holder = Departures(cast(asyncio.AbstractEventLoop, clock)), Holder()
    broken, leaving = Broken(), Client(gone=True)
    watched.watch(holder, entry(broken))
    watched.watch(holder, gone := entry(leaving))
    for _ in range(2):
        with pytest.raises(RuntimeError):
            await clock.pass_to(2.5 * PATIENCE_S)
        await asyncio.sleep(0)  # answers are heard
    assert holder.left == [gone]


async def test_of_what_runs_nobody_is_asked_until_it_waits_again(clock: Clock) -> None:
    watched, holder, client = Departures(cast(asyncio.AbstractEventLoop, clock)), Holder(), Client()
    watched.watch(holder, one := entry(client))
    one.waiting = False
    await clock.pass_to(5.5 * PATIENCE_S)
    assert client.asked == 0
    one.waiting = True
    await clock.pass_to(7.5 * PATIENCE_S)
    assert client.asked == 2


async def test_no_more_are_asked_at_a_time_than_are_allowed_and_the_others_then(
    clock: Clock,
) -> None:
    watched, holder = Departures(cast(asyncio.AbstractEventLoop, clock)), Holder()
    clients = [Client() for _ in range(QUESTIONS + 3)]
    for client in clients:
        watched.watch(holder, entry(client))
    await clock.pass_to(1.5 * PATIENCE_S)
    assert sum(client.asked for client in clients) == QUESTIONS
    await clock.pass_to(2.5 * PATIENCE_S)
    assert all(client.asked for client in clients)
