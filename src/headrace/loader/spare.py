"""An engine's process that is started before anybody knows which model it will serve.

Interpreter and libraries take an engine 0.35 s to come up, and the supervisor 0.45 s until it knows
what to load. Started first of all, a spare one does the first while the supervisor does the second.
"""

from __future__ import annotations

import asyncio
from asyncio.subprocess import Process
from collections.abc import Callable
from typing import NamedTuple, Self

from headrace.loader.engine_process import ENGINE, end, start


class Spare:
    """One process, until an engine takes it or it is ended."""

    def __init__(self, process: Process | None) -> None:
        self._process = process

    @classmethod
    async def start(cls) -> Self:
        """Start one. Where the system will not, there is none: an engine will say why."""
        try:
            return cls(await start(*ENGINE))
        except OSError:
            return cls(None)

    def take(self) -> Process | None:
        """The process, for the first who asks, if it is alive."""
        process, self._process = self._process, None
        return process if process is not None and process.returncode is None else None

    async def end(self) -> None:
        """End the process, if nobody has taken it."""
        process, self._process = self._process, None
        if process is not None:
            await end(process)


class Beginning(NamedTuple):
    """What was begun before the rest of the program was even imported, and the loop it lives in.

    ``imported`` is to be called when the rest is.
    """

    runner: asyncio.Runner
    spare: Spare
    imported: Callable[[], None]
