"""What engines have in memory; of those that serve it is told as it changes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import NamedTuple

from headrace.control import Memory
from headrace.loader.aside import aside
from headrace.message import Message
from headrace.proc import resident_bytes, taken_bytes

Key = tuple[str, int]

_EVERY_S = 5.0
# A change smaller than this part of it is not told.
_NOTICED = 0.02


class _Seen(NamedTuple):
    """What a process took when it was looked at, and how much was resident then."""

    taken_bytes: int
    resident_bytes: int


class Sizes:
    """What processes take of the memory, pages that they share in parts: cheap to ask.

    What they take is found out when they are new, when they have grown or shrunk, and on
    ``refresh``: where a neighbour that shared pages with them has come or gone, it is a little off
    until then.
    """

    def __init__(self) -> None:
        self._seen: dict[int, _Seen] = {}

    def of(self, pid: int) -> int:
        """What a process takes, in bytes; 0: it has ended."""
        now_bytes = resident_bytes(pid)
        seen = self._seen.get(pid)
        if seen is None or abs(now_bytes - seen.resident_bytes) > _NOTICED * seen.resident_bytes:
            seen = self._seen[pid] = _Seen(taken_bytes(pid), now_bytes)
        return seen.taken_bytes

    def refresh(self, pids: Iterable[int]) -> None:
        """Look at these anew, and forget others."""
        self._seen = {pid: _Seen(taken_bytes(pid), resident_bytes(pid)) for pid in pids}


class EngineMemory:
    """Looks at them now and then; ``pids`` are those of the engines, ``tell`` hears of changes."""

    def __init__(
        self,
        pids: Callable[[], Mapping[Key, int]],
        tell: Callable[[Message], None],
        sizes: Sizes,
    ) -> None:
        self._pids = pids
        self._tell = tell
        self._sizes = sizes
        self._told: dict[Key, int] = {}

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(_EVERY_S)
            pids = tuple(self._pids().values())
            with contextlib.suppress(OSError):  # no thread is left, for a while maybe
                await aside(partial(self._sizes.refresh, pids))  # of many it takes a while
            self.look()

    def look(self) -> None:
        """Tell what has changed since it was told."""
        found = {key: self._sizes.of(pid) for key, pid in self._pids().items()}
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
