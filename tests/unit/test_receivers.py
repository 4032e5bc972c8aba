"""Receivers that are kept alive until the server ends; the processes are none."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from headrace import receivers
from headrace.receiver.envoy import Address
from headrace.receivers import Receivers
from headrace.server_settings import ServerSettings


class Fake:
    """A receiver that listens when ``may_listen`` is set, and dies when ``dies`` is."""

    made: list[Fake]
    may_listen: asyncio.Event

    def __init__(self, _: Any, addresses: tuple[Address, ...], *__: Any) -> None:
        self.addresses = addresses
        self.listens = self.drained = self.stopped = False
        self.dies = asyncio.Event()
        self.made.append(self)

    async def start(self) -> tuple[Address, ...]:
        await self.may_listen.wait()
        self.listens = True
        return self.addresses

    async def wait(self) -> int:
        await self.dies.wait()
        return 9

    async def drain(self, *_: Any) -> bool:
        self.drained = True
        return True

    async def stop(self) -> None:
        self.stopped = True


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def _two(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Receivers]:
    """Two of them, which listen."""
    Fake.made, Fake.may_listen = [], asyncio.Event()
    Fake.may_listen.set()
    monkeypatch.setattr(receivers, "ReceiverProcess", Fake)
    kept = Receivers(ServerSettings(receivers=2), [], Path(), lambda: None)
    running = asyncio.create_task(kept.run())
    await _until(lambda: kept.all_listen)
    yield kept
    running.cancel()
    await asyncio.wait([running])


async def _has_died(kept: Receivers, number: int) -> None:
    Fake.made[number].dies.set()
    await _until(lambda: not kept.all_listen)


async def test_one_that_waits_to_be_started_again_is_not_in_a_drain(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with _two(monkeypatch) as kept:
        await _has_died(kept, 1)
        assert await kept.drain(1.0, asyncio.Event())
        await asyncio.sleep(0.05)
        assert not any(one.listens for one in Fake.made[2:])


async def test_one_that_does_not_listen_yet_is_stopped_in_a_drain(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with _two(monkeypatch) as kept:
        Fake.may_listen.clear()
        await _has_died(kept, 1)
        await _until(lambda: len(Fake.made) == 3)
        assert await kept.drain(1.0, asyncio.Event())
        Fake.may_listen.set()
        await asyncio.sleep(0.05)
        assert (Fake.made[0].drained, Fake.made[0].stopped) == (True, False)
        assert (Fake.made[2].listens, Fake.made[2].stopped) == (False, True)
