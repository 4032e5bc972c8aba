"""Bodies that are still to come: none is awaited for longer than its client's time, or at a crawl.

Each has a place of ``max_inflight`` meanwhile, so whoever sends the head of a request and no more
would take one from others for as long as it likes. All that are awaited are looked at together,
now and then: a timer for each would cost every request more than this does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from headrace.errors import BodyTooSlow, Cancelled, Expired, HeadraceError
from headrace.receiver.exchange import Event, Exchange

GRACE_S = 30.0
"""How long after its head a body may still be missing; networks that fail for a while do it."""

RATE_BYTES_S = 1024.0
"""From then on it has come at this rate on average, or is given up: modems are faster."""

LOOK_S = 0.05

# What is said in ``receive``'s place; nobody outside this file sees them.
_EXPIRED: Event = {"type": "expired"}
_TOO_SLOW: Event = {"type": "too slow"}


class Bodies:
    """Asks for the chunks of bodies; for the event loop's thread."""

    def __init__(self) -> None:
        self._awaited: dict[Exchange, tuple[Any, int]] = {}
        self._looks = False

    async def chunk(self, exchange: Exchange, size_bytes: int) -> Event:
        """What ``receive`` tells, or an event of a type that ``missing`` knows.

        ``size_bytes`` have come before it.
        """
        event = exchange.receive()
        self._awaited[exchange] = event, size_bytes
        if not self._looks:
            self._looks = True
            asyncio.get_running_loop().call_later(LOOK_S, self._look)
        try:
            return await event
        finally:
            del self._awaited[exchange]

    def _look(self) -> None:
        now_s = time.monotonic()
        for exchange, (event, size_bytes) in self._awaited.items():
            if event.done():
                continue
            waited_s = now_s - exchange.arrival_s
            if exchange.timeout_s is not None and waited_s > exchange.timeout_s:
                event.set_result(_EXPIRED)
            elif waited_s > GRACE_S + size_bytes / RATE_BYTES_S:
                event.set_result(_TOO_SLOW)
        self._looks = bool(self._awaited)
        if self._looks:
            asyncio.get_running_loop().call_later(LOOK_S, self._look)


def missing(event: Event) -> HeadraceError:
    """Why the rest of a body does not come, by what came in its place."""
    if event is _EXPIRED:
        return Expired("the deadline passed before the body of the request was whole")
    if event is _TOO_SLOW:
        return BodyTooSlow(
            f"the body was not whole {GRACE_S:g} s after its head, and comes slower than "
            f"{RATE_BYTES_S:g} bytes/s: send the head when the body is there"
        )
    return Cancelled("the client closed the connection before its body was whole")


def overlook_late_answers(loop: asyncio.AbstractEventLoop) -> None:
    """Have nobody told that pyvoy answers, too, what ``Bodies`` has given up.

    It does so when the request has been refused, and finds its future done.
    """
    loop.set_exception_handler(_tell)


def _tell(loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
    late = isinstance(context.get("exception"), asyncio.InvalidStateError)
    if not (late and "RecvFuture" in str(context.get("message"))):
        loop.default_exception_handler(dict(context))
