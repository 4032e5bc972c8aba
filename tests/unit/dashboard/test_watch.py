"""Servers that are odd or slow to watch; those that are well, see tests/e2e."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from headrace.dashboard.history import History
from headrace.dashboard.limits import Limits, Loaded
from headrace.dashboard.watch import Board, Watched, watch
from headrace.errors import MalformedAnswer
from headrace.models.ask import ServerModels

URL = "http://127.0.0.1:1"
ONE = {"name": "m", "version": 1, "state": "loading", "reason": "", "since_unix_s": 0, "labels": []}


class Telling(ServerModels):
    """A server that has counted nothing, and tells of these models."""

    def __init__(self, *models: Any) -> None:
        super().__init__(URL)
        self.models = list(models)

    def metrics(self) -> str:
        return ""

    def index(self) -> list[dict[str, Any]]:
        return self.models


async def _until(board: Board, met: Callable[[], bool]) -> None:
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        watching = [tasks.create_task(watch(board, one)) for one in board.watched]
        while not met():
            assert not any(one.done() for one in watching)
            await asyncio.sleep(0.01)
        for one in watching:
            one.cancel()


def _board(*servers: ServerModels) -> Board:
    return Board(tuple(Watched(URL, one, History()) for one in servers), Limits())


class Foreign(Telling):
    """It is none of ours."""

    def index(self) -> list[dict[str, Any]]:
        raise MalformedAnswer("it does not answer as a Headrace server does")


async def test_a_server_of_others_is_down_and_the_rest_are_not() -> None:
    board = _board(Foreign(), Telling(ONE))
    one, other = (watched.history for watched in board.watched)
    await _until(board, lambda: bool(one.moments and other.moments))
    assert not one.up
    assert "as a Headrace server does" in one.problem
    assert other.up


class Odd(Telling):
    """Something in its answer, or here, is as nobody thought."""

    def metrics(self) -> str:
        raise IndexError("list index out of range")


async def test_what_nobody_expected_of_one_server_ends_neither_it_nor_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    board = _board(Odd(ONE), Telling(ONE))
    one, other = (watched.history for watched in board.watched)
    await _until(board, lambda: len(one.moments) > 1 and other.up)
    assert [said.getMessage() for said in caplog.records] == [f"cannot look at {URL}"]
    assert one.problem == "IndexError: list index out of range"


async def test_a_version_serves_as_it_was_loaded_by_the_last_look() -> None:
    board = _board(Telling({**ONE, "state": "serving"}, {**ONE, "version": 2}))
    (watched,) = board.watched
    await _until(board, lambda: watched.history.up)
    assert watched.serves(Loaded(URL, "m", 1, 0))
    assert not watched.serves(Loaded(URL, "m", 1, 7))
    assert not watched.serves(Loaded(URL, "m", 2, 0))


async def test_orders_that_take_long_hold_up_no_look() -> None:
    board, done = _board(Telling(ONE)), threading.Event()
    orders = [asyncio.create_task(asyncio.to_thread(done.wait, 20)) for _ in range(64)]
    try:
        await asyncio.sleep(0)
        await _until(board, lambda: board.watched[0].history.up)
        assert not any(one.done() for one in orders)
    finally:
        done.set()
        await asyncio.gather(*orders)
