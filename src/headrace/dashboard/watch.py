"""Asks one server again and again what it has counted, and which models it has."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from headrace.dashboard import scrape
from headrace.dashboard.history import History, Look
from headrace.dashboard.limits import Limits, Loaded
from headrace.errors import HeadraceError, MalformedAnswer
from headrace.models.ask import ServerModels

EVERY_S = 1.0
"""How often a server is asked."""

# Looking takes at most a fifth of the time, here and there: a server of many models says much.
_REST = 4.0
# A server that does not answer in this time is down, as far as whoever looks at it is concerned.
TIMEOUT_S = 3.0
# What is shown of a version, whatever state it is in.
_NEEDED = {"name", "version", "state", "reason", "since_unix_s", "labels"}


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


@dataclass(frozen=True, slots=True)
class Board:
    """All that is shown: the servers, what their models could do, and what time it is."""

    watched: tuple[Watched, ...]
    limits: Limits
    clock: Callable[[], float] = time.monotonic


async def watch(board: Board, watched: Watched) -> None:
    """Look until cancelled."""
    while True:
        began_s = board.clock()
        try:
            look = await asyncio.to_thread(_look, watched.server, board.clock)
        except HeadraceError as error:
            watched.history.missed(error.message, board.clock())
            await asyncio.sleep(EVERY_S)
            continue
        watched.history.saw(look)
        for said in look.models:
            if said["state"] == "serving":
                board.limits.want(watched.server, loaded(watched.url, said))
        await asyncio.sleep(rest_s(board.clock() - began_s))


def rest_s(took_s: float) -> float:
    """How long to wait after a look that took so long."""
    return max(EVERY_S - took_s, _REST * took_s)


def loaded(url: str, said: Mapping[str, Any]) -> Loaded:
    """Which loaded version ``GET /models`` speaks of."""
    return Loaded(url, said["name"], said["version"], said["since_unix_s"])


def _look(server: ServerModels, clock: Callable[[], float]) -> Look:
    text = server.metrics()
    at_s = clock()
    models = server.index()
    if any(not isinstance(one, dict) or not one.keys() >= _NEEDED for one in models):
        raise MalformedAnswer("it does not tell of its models as a Headrace server does")
    return Look(at_s, scrape.read(text), models)
