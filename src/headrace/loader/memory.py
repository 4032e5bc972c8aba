"""What the engines that serve have in memory, told as it changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from headrace.control import Memory
from headrace.message import Message
from headrace.proc import resident_bytes

Key = tuple[str, int]

_EVERY_S = 5.0
# A change smaller than this part of it is not told.
_NOTICED = 0.02


class EngineMemory:
    """Looks at them now and then; ``pids`` are those of the engines, ``tell`` hears of changes."""

    def __init__(
        self, pids: Callable[[], Mapping[Key, int]], tell: Callable[[Message], None]
    ) -> None:
        self._pids = pids
        self._tell = tell
        self._told: dict[Key, int] = {}

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(_EVERY_S)
            self.look()

    def look(self) -> None:
        """Tell what has changed since it was told."""
        found = {key: resident_bytes(pid) for key, pid in self._pids().items()}
        told = {key: size for key, size in self._told.items() if key in found}
        for key, size_bytes in found.items():
            before = told.get(key, 0)
            if size_bytes and abs(size_bytes - before) > _NOTICED * before:
                told[key] = size_bytes
                self._tell(_message(key, size_bytes))
        self._told = told

    def tell_again(self, tell: Callable[[Message], None]) -> None:
        """Tell somebody new all that was told."""
        for key, size_bytes in self._told.items():
            tell(_message(key, size_bytes))


def _message(key: Key, size_bytes: int) -> Memory:
    return Memory(name=key[0], version=key[1], memory_bytes=size_bytes)
