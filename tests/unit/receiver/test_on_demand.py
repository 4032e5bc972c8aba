"""Requests that wait for their model: asked for once, bounded, and not for longer than they may."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from headrace.errors import (
    Cancelled,
    HeadraceError,
    ModelFailed,
    ModelTooLarge,
    NotReady,
    NotResident,
    QueueFull,
)
from headrace.receiver import on_demand
from headrace.receiver.exchange import Exchange
from headrace.receiver.on_demand import OnDemand
from tests.unit.receiver.inside import Call, Said

KEY = ("m", 1)


class Supervisor:
    """Is asked for models; the test says what becomes of them."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.futures: list[asyncio.Future[None]] = []
        self.again = asyncio.Event()

    def ask(self, name: str, version: int) -> asyncio.Future[None]:
        self.asked.append((name, version))
        self.futures.append(asyncio.get_running_loop().create_future())
        if len(self.asked) > 1:
            self.again.set()
        return self.futures[-1]


def _exchange(timeout_s: float | None = None) -> Exchange:
    exchange = Exchange({}, lambda: asyncio.get_running_loop().create_future(), time.monotonic())
    exchange.timeout_s = timeout_s
    return exchange


async def _answer(exchange: Exchange) -> float:
    return exchange.arrival_s


async def _waiting(count: int, waiting: OnDemand) -> list[asyncio.Task[Any]]:
    tasks = [asyncio.create_task(waiting.answer(_answer, _exchange(), KEY)) for _ in range(count)]
    await asyncio.sleep(0)
    return tasks


async def test_all_who_wait_for_a_model_ask_for_it_once() -> None:
    supervisor = Supervisor()
    waiting = OnDemand(supervisor.ask, 8)
    tasks = await _waiting(5, waiting)
    assert supervisor.asked == [KEY]
    supervisor.futures[0].set_result(None)
    await asyncio.gather(*tasks)
    (task,) = await _waiting(1, waiting)
    assert supervisor.asked == [KEY, KEY]  # it has left again
    supervisor.futures[1].set_result(None)
    await task


async def test_one_more_than_may_wait_is_refused_at_once() -> None:
    supervisor = Supervisor()
    waiting = OnDemand(supervisor.ask, 2)
    tasks = await _waiting(2, waiting)
    with pytest.raises(QueueFull) as caught:
        await waiting.answer(_answer, _exchange(), KEY)
    assert caught.value.retry_after_s
    supervisor.futures[0].set_result(None)
    await asyncio.gather(*tasks)
    (task,) = await _waiting(1, waiting)
    supervisor.futures[1].set_result(None)
    await task


async def test_a_client_whose_time_is_over_is_told_to_come_again_and_others_wait_on() -> None:
    supervisor = Supervisor()
    waiting = OnDemand(supervisor.ask, 8)
    (patient,) = await _waiting(1, waiting)
    with pytest.raises(NotResident) as caught:
        await waiting.answer(_answer, _exchange(0.01), KEY)
    assert (caught.value.key, caught.value.retry_after_s) == (KEY, 1.0)
    assert not supervisor.futures[0].done()
    supervisor.futures[0].set_result(None)
    await patient


async def test_times_count_anew_and_the_timeout_goes_on() -> None:
    supervisor = Supervisor()
    waiting = OnDemand(supervisor.ask, 8)
    exchange = _exchange(60.0)
    before_s = exchange.arrival_s
    task = asyncio.create_task(waiting.answer(_answer, exchange, KEY))
    await asyncio.sleep(0)
    supervisor.futures[0].set_result(None)
    assert await task > before_s
    assert exchange.timeout_s is not None
    end_s = exchange.arrival_s + exchange.timeout_s
    assert end_s == pytest.approx(before_s + 60.0, abs=0.001)


async def test_a_body_that_came_slowly_is_no_part_of_the_load() -> None:
    supervisor = Supervisor()
    waiting = OnDemand(supervisor.ask, 8)
    exchange = _exchange(60.0)
    exchange.received_s = exchange.arrival_s
    exchange.arrival_s -= 3.0
    for future in range(2):  # it has left again when the request comes to it
        task = asyncio.create_task(waiting.answer(_answer, exchange, KEY))
        await asyncio.sleep(0.01)
        supervisor.futures[future].set_result(None)
        await task
    assert 0.02 <= exchange.load_s < 2.0
    phases = exchange.phases(exchange.received_s)
    assert phases.load == exchange.load_s
    assert phases.receive == pytest.approx(3.0)
    left_s = exchange.left_s()
    assert left_s is not None
    assert left_s == pytest.approx(57.0 - exchange.load_s, abs=0.5)


@pytest.mark.parametrize(("kind", "retry_after_s"), [(NotReady, 1.0), (ModelFailed, None)])
async def test_why_it_cannot_be_loaded_is_told_to_all(
    kind: type[HeadraceError], retry_after_s: float | None
) -> None:
    supervisor = Supervisor()
    waiting = OnDemand(supervisor.ask, 8)
    tasks = await _waiting(3, waiting)
    supervisor.futures[0].set_exception(kind("no room"))
    errors = await asyncio.gather(*tasks, return_exceptions=True)
    assert [(type(error), str(error)) for error in errors] == [(kind, "no room")] * 3
    assert len({id(error) for error in errors}) == 3
    assert {getattr(error, "retry_after_s", 0) for error in errors} == {retry_after_s}


async def test_what_is_refused_for_good_is_not_asked_for_again_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(on_demand, "_REFUSED_S", 60.0)
    supervisor = Supervisor()
    waiting = OnDemand(supervisor.ask, 8)
    (task,) = await _waiting(1, waiting)
    supervisor.futures[0].set_exception(ModelTooLarge("too large"))
    await asyncio.wait({task})
    with pytest.raises(ModelTooLarge):
        await waiting.answer(_answer, _exchange(), KEY)
    assert supervisor.asked == [KEY]


async def test_one_that_has_left_again_is_asked_for_again() -> None:
    supervisor = Supervisor()
    waiting = OnDemand(supervisor.ask, 8)
    there = False

    async def handler(_: Exchange) -> str:
        if not there:
            raise NotResident("not there", key=("m", 2))
        return "answer"

    task = asyncio.create_task(waiting.answer(handler, _exchange(), KEY))
    await asyncio.sleep(0)
    supervisor.futures[0].set_result(None)
    await supervisor.again.wait()
    there = True
    supervisor.futures[1].set_result(None)
    assert await task == "answer"
    assert supervisor.asked == [KEY, ("m", 2)]


@pytest.fixture
def asked_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_demand, "_PRESENCE_S", 0.001)


@pytest.mark.usefixtures("asked_often")
@pytest.mark.parametrize("timeout_s", [None, 60.0])
async def test_the_place_of_a_client_that_left_is_free_before_its_model_is_there(
    timeout_s: float | None,
) -> None:
    supervisor, call = Supervisor(), Call()
    call.say(b"", more=False)
    waiting = OnDemand(supervisor.ask, 1)
    exchange = Exchange({}, call.receive, time.monotonic())
    exchange.timeout_s = timeout_s
    left = asyncio.create_task(waiting.answer(_answer, exchange, KEY))
    await call.asked(3)
    call.leave()
    with pytest.raises(Cancelled):
        await left
    (task,) = await _waiting(1, waiting)
    supervisor.futures[0].set_result(None)
    await task


@pytest.mark.usefixtures("asked_often")
async def test_who_has_no_body_waits_for_its_model_like_the_others() -> None:
    supervisor, asked = Supervisor(), 0

    def receive() -> Said:
        nonlocal asked
        asked += 1
        if asked == 3:
            supervisor.futures[0].set_result(None)
        return Said({"type": "http.request", "body": b"", "more_body": False})

    exchange = Exchange({}, receive, time.monotonic())
    waiting = OnDemand(supervisor.ask, 1)
    assert await waiting.answer(_answer, exchange, KEY) == exchange.arrival_s


@pytest.mark.usefixtures("asked_often")
async def test_who_has_no_body_and_leaves_is_noticed() -> None:
    waiting = OnDemand(Supervisor().ask, 1)
    exchange = Exchange({}, lambda: Said({"type": "http.disconnect"}), time.monotonic())
    with pytest.raises(Cancelled):
        await waiting.answer(_answer, exchange, KEY)


@pytest.mark.usefixtures("asked_often")
async def test_who_does_not_say_whether_it_is_there_is_not_waited_for() -> None:
    supervisor, call = Supervisor(), Call()
    waiting = OnDemand(supervisor.ask, 1)
    exchange = Exchange({}, call.receive, time.monotonic())
    task = asyncio.create_task(waiting.answer(_answer, exchange, KEY))
    await call.asked(1)
    supervisor.futures[0].set_result(None)
    assert await task == exchange.arrival_s


async def test_a_client_that_leaves_gives_its_place_to_another() -> None:
    supervisor = Supervisor()
    waiting = OnDemand(supervisor.ask, 1)
    (task,) = await _waiting(1, waiting)
    task.cancel()
    await asyncio.wait({task})
    (task,) = await _waiting(1, waiting)
    assert supervisor.asked == [KEY]
    supervisor.futures[0].set_result(None)
    await task
