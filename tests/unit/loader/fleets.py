"""A fleet of engines in miniature, and a receiver that does what a test wants of it."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from headrace.control import ModelServing, ModelState, Recall, Recalled
from headrace.loader.engine_process import EngineProcess, start
from headrace.loader.fleet import Fleet
from headrace.loader.keeper import Audience
from headrace.loader.store import FoundVersion
from headrace.message import Message
from headrace.server_settings import ServerSettings
from headrace.settings import ModelSettings
from tests.unit.loader.audience import NOBODY

ENGINE = Path(__file__).with_name("fake_engine.py")
_GONE = {"evicting", "listed", "draining", "unloaded"}


class Receiver:
    """Hears everything; confirms and empties at once unless told not to."""

    def __init__(self) -> None:
        self.heard: list[Message] = []
        self.fleet: Fleet | None = None
        self.confirms = True
        self.empties = True
        self._news = asyncio.Event()

    def hear(self, message: Message) -> None:
        self.heard.append(message)
        loop = asyncio.get_running_loop()
        if isinstance(message, ModelServing) and self.confirms and self.fleet is not None:
            loop.call_soon(self.fleet.confirm, (message.name, message.version), message.socket_path)
        if isinstance(message, Recall) and self.fleet is not None:
            Path(message.path).write_text(f"version {message.versions[0]}")
            loop.call_soon(self.fleet.recalled, Recalled(question=message.question, samples=1))
        if self.empties:
            loop.call_soon(self.empty_all)
        self._news.set()

    def empty_all(self) -> None:
        """Say of every engine but the newest of each version that nothing of it is left."""
        served = [message for message in self.heard if isinstance(message, ModelServing)]
        states = self.states()
        for message in served:
            newest = [m for m in served if (m.name, m.version) == (message.name, message.version)]
            gone = states.get((message.name, message.version)) in _GONE
            if self.fleet is not None and (message is not newest[-1] or gone):
                self.fleet.emptied(message.socket_path)

    def states(self) -> dict[tuple[str, int], str]:
        """The last state of each version."""
        states = [message for message in self.heard if isinstance(message, ModelState)]
        return {(state.name, state.version): state.state for state in states}

    async def until(self, kind: type[Message], times: int = 1) -> None:
        while len([m for m in self.heard if isinstance(m, kind)]) < times:
            self._news.clear()
            await self._news.wait()

    async def until_state(self, key: tuple[str, int], state: str) -> None:
        while self.states().get(key) != state:
            self._news.clear()
            await self._news.wait()


def version_of(folder: Path, version: int = 1, name: str = "m", **settings: Any) -> FoundVersion:
    path = folder / f"{name}.{version}"
    path.write_text("model")
    return FoundVersion(name, version, path, folder, ModelSettings(instances=1, **settings))


def begins(behaviour: str) -> Callable[[str], Awaitable[EngineProcess]]:
    """How an engine in miniature is begun that behaves so."""
    return partial(start, sys.executable, str(ENGINE), behaviour)


def exist(paths: Iterable[str]) -> list[str]:
    return [path for path in paths if Path(path).exists()]


@contextlib.asynccontextmanager
async def fleet_of(
    folder: Path,
    *found: FoundVersion,
    behaviour: str = "serve",
    audience: Audience = NOBODY,
    **server: Any,
) -> AsyncIterator[tuple[Fleet, Receiver]]:
    receiver = Receiver()
    fleet = Fleet(
        ServerSettings(**{"drain_timeout_s": 5.0, **server}),
        folder,
        tell=receiver.hear,
        audience=audience,
        begin=begins(behaviour),
    )
    receiver.fleet = fleet
    async with asyncio.TaskGroup() as group:
        fleet.start(group, found)
        yield fleet, receiver
        await fleet.stop(5.0)
