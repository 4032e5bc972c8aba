"""Notices clients that left while their request waited.

pyvoy's ``receive()`` does not wait for a disconnect after the end of the body, it answers at once:
so whoever has waited for longer than ``PATIENCE_S`` is asked, and asked again every ``PATIENCE_S``,
or less often when more wait than ``QUESTIONS`` allows to ask each time. Of what runs already nobody
is asked: to stop it would save no run, and every question is work for two threads. Where it matters
who reads an answer, ``refuse_the_gone`` asks once.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from itertools import islice
from typing import Protocol

from headrace.errors import Cancelled
from headrace.receiver.exchange import Event, Exchange
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

    def _hear(self, holder: Leaver, entry: Entry, answer: asyncio.Future[Event]) -> None:
        if _says_gone(answer) and entry in self._waiting:
            holder.leave(entry)


async def refuse_the_gone(exchange: Exchange) -> None:
    """Ask once if this client is still there; not before ``PATIENCE_S`` are over.

    Raises:
        Cancelled: it is not.
    """
    if time.monotonic() - exchange.arrival_s < PATIENCE_S:
        return
    question = exchange.listen()
    await asyncio.wait({question}, timeout=PATIENCE_S)  # who does not answer is there
    if question.done() and _says_gone(question):
        raise Cancelled("the client left before its request was answered")


def _says_gone(answer: asyncio.Future[Event]) -> bool:
    if answer.cancelled() or answer.exception() is not None:
        return False
    return bool(answer.result()["type"] == "http.disconnect")
