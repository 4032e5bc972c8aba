"""Asks one server again and again what it has counted, and which models it has."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from headrace.dashboard import scrape
from headrace.dashboard.history import History, Look
from headrace.dashboard.limits import Limits, Loaded
from headrace.dashboard.lines import SERVING
from headrace.errors import HeadraceError
from headrace.models.ask import ServerModels

EVERY_S = 1.0
"""How often a server is asked."""

# Looking takes at most a fifth of the time, here and there: a server of many models says much.
_REST = 4.0
# A server that does not answer in this time is down, as far as whoever looks at it is concerned.
TIMEOUT_S = 3.0

_log = logging.getLogger("headrace.dashboard")


@dataclass(frozen=True, slots=True)
class Watched:
    """A server, and what was seen of it."""

    url: str
    server: ServerModels
    history: History

    @classmethod
    def of(cls, url: str) -> Watched:
        """A server that has not been asked yet.

        Raises:
            SettingsError: the address is none.
        """
        return cls(url, ServerModels(url, TIMEOUT_S), History())

    def serves(self, one: Loaded) -> bool:
        """Whether a version serves as it was loaded then, by the last look."""
        return any(
            said["state"] == SERVING and loaded(self.url, said) == one
            for said in self.history.models
        )


@dataclass(frozen=True, slots=True)
class Board:
    """All that is shown: the servers, what their models could do, and what time it is."""

    watched: tuple[Watched, ...]
    limits: Limits
    clock: Callable[[], float] = time.monotonic


async def watch(board: Board, watched: Watched) -> None:
    """Look until cancelled, in a thread of its own: what others wait for does not hold it up."""
    loop, own = asyncio.get_running_loop(), ThreadPoolExecutor(1, "watch")
    try:
        while True:
            began_s = board.clock()
            try:
                look = await loop.run_in_executor(own, _look, watched.server, board.clock)
                _take(board, watched, look)
            except Exception as error:  # noqa: BLE001 - the border of a look: others go on
                watched.history.missed(_problem(watched, error), board.clock())
                await asyncio.sleep(EVERY_S)
                continue
            await asyncio.sleep(rest_s(board.clock() - began_s))
    finally:
        own.shutdown(wait=False)


def rest_s(took_s: float) -> float:
    """How long to wait after a look that took so long."""
    return max(EVERY_S - took_s, _REST * took_s)


def loaded(url: str, said: Mapping[str, Any]) -> Loaded:
    """Which loaded version ``GET /models`` speaks of."""
    return Loaded(url, said["name"], said["version"], said["since_unix_s"])


def _take(board: Board, watched: Watched, look: Look) -> None:
    watched.history.saw(look)
    for said in look.models:
        if said["state"] == SERVING:
            board.limits.want(watched.server, loaded(watched.url, said), watched.serves)


def _problem(watched: Watched, error: Exception) -> str:
    """What is shown of it; what nobody expected is logged, once while it lasts."""
    if isinstance(error, HeadraceError):
        return error.message
    problem = f"{type(error).__name__}: {error}"
    if problem != watched.history.problem:
        _log.error("cannot look at %s", watched.url, exc_info=error)
    return problem


def _look(server: ServerModels, clock: Callable[[], float]) -> Look:
    text = server.metrics()
    at_s = clock()
    return Look(at_s, scrape.read(text), server.index())
