"""Notices clients that left while their request waited.

pyvoy's ``receive()`` does not wait for a disconnect after the end of the body, it answers at once:
so whoever has waited for longer than ``PATIENCE_S`` is asked, and asked again every ``PATIENCE_S``,
or less often when more wait than ``QUESTIONS`` allows to ask each time. Of what runs already nobody
is asked: to stop it would save no run, and every question is work for two threads.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from functools import partial
from itertools import islice
from typing import Any, Protocol

from headrace.scheduler import Entry

PATIENCE_S = 0.025
"""Shorter waits are not worth a question; a request dropped this late has cost nothing yet."""

QUESTIONS = 128
"""Asked at most each time, so that a long queue does not become work of its own."""


class Leaver(Protocol):
    """Whoever holds the entry."""

    def leave(self, entry: Entry) -> None:
        """The client of this entry has gone."""


class Departures:
    """The entries that wait, oldest question first."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: dict[Entry, tuple[Leaver, float]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, holder: Leaver, entry: Entry) -> None:
        """Ask after this entry's client from now on."""
        self._waiting[entry] = (holder, entry.arrival_s + PATIENCE_S)
        if self._timer is None:
            self._timer = self._loop.call_later(PATIENCE_S, self._ask)

    def forget(self, entry: Entry) -> None:
        """The entry is answered."""
        self._waiting.pop(entry, None)

    def _ask(self) -> None:
        """Ask those whose time has come; entries stand in the order of their times."""
        now_s = time.monotonic()
        # Before any is asked: whatever a question raises, the others are asked the next time.
        self._timer = self._loop.call_later(PATIENCE_S, self._ask) if self._waiting else None
        due = []
        for entry, (holder, at_s) in islice(self._waiting.items(), QUESTIONS):
            if at_s > now_s:
                break
            due.append((entry, holder))
        for entry, holder in due:
            self._waiting[entry] = self._waiting.pop(entry)[0], now_s + PATIENCE_S
            if not entry.waiting:
                continue  # it runs; should its batch be lost, it will wait again
            question = entry.payload.exchange.listen()
            question.add_done_callback(partial(self._hear, holder, entry))

    def _hear(
        self, holder: Leaver, entry: Entry, answer: asyncio.Future[Mapping[str, Any]]
    ) -> None:
        if answer.cancelled() or answer.exception() is not None:
            return
        if answer.result()["type"] == "http.disconnect" and entry in self._waiting:
            holder.leave(entry)
