"""Requests for models that are not in memory: the model is asked for once, and they wait for it.

What answers a request finds its model first of all, and raises ``NotResident`` when it is only
listed. The borders of requests come here with that, and the request begins anew when the model is
there; so nothing of this is on the way of those whose model is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from headrace.errors import Cancelled, HeadraceError, NotResident, QueueFull
from headrace.receiver.exchange import Exchange

Key = tuple[str, int]
Answer = TypeVar("Answer")

Ask = Callable[[str, int], "asyncio.Future[None]"]
"""Ask the supervisor for a version; done when it serves, or its state says why it does not."""

# How often whoever waits is asked whether it is there: a load takes seconds.
_PRESENCE_S = 1.0
_RETRY_AFTER_S = 1.0
_REFUSED_S = 1.0


class OnDemand:
    """Asks for models and has requests wait, at most ``most`` of them at a time."""

    def __init__(self, ask: Ask, most: int) -> None:
        self._ask = ask
        self._most = most
        self._waiting = 0
        self._asked: dict[Key, asyncio.Future[None]] = {}

    async def answer(
        self,
        handler: Callable[[Exchange], Awaitable[Answer]],
        exchange: Exchange,
        key: Key,
    ) -> Answer:
        """Have a model loaded, then answer the request.

        Its times count anew from then on, but its client's timeout goes on.

        Raises:
            NotResident: the client's time is over; the load goes on.
            Cancelled: the client has left.
            QueueFull: too many wait already.
            HeadraceError: why the model cannot be loaded now, or what the handler raises.
        """
        while True:
            await self._wait(key, exchange)
            try:
                return await handler(exchange)
            except NotResident as absent:  # it has left again already, or a newer one has come
                key = absent.key

    async def _wait(self, key: Key, exchange: Exchange) -> None:
        if self._waiting >= self._most:
            raise QueueFull(
                f"{self._most} requests wait for models to be loaded already",
                retry_after_s=_RETRY_AFTER_S,
            )
        future = self._future(key)
        self._waiting += 1
        try:
            await _until(future, exchange)
        finally:
            self._waiting -= 1
        exchange.begin_anew()
        if not future.done():
            raise NotResident(
                f"model {key[0]!r} version {key[1]} is still being loaded",
                retry_after_s=_RETRY_AFTER_S,
                key=key,
            )
        error = future.exception()
        if isinstance(error, HeadraceError):
            after_s = _RETRY_AFTER_S if error.retryable else None
            raise type(error)(error.message, retry_after_s=after_s)
        future.result()

    def _future(self, key: Key) -> asyncio.Future[None]:
        """The answer of the supervisor, which is asked once for all who wait."""
        future = self._asked.get(key)
        if future is None:
            future = self._asked[key] = self._ask(*key)
            future.add_done_callback(lambda done: self._forget(key, done))
        return future

    def _forget(self, key: Key, done: asyncio.Future[None]) -> None:
        error = None if done.cancelled() else done.exception()
        if isinstance(error, HeadraceError) and not error.retryable:
            # Whoever asks again at once gets the same answer, without the supervisor.
            done.get_loop().call_later(_REFUSED_S, self._asked.pop, key)
        else:
            del self._asked[key]


async def _until(loaded: asyncio.Future[None], exchange: Exchange) -> None:
    """Wait until it is loaded, or the client's time is over.

    Raises:
        Cancelled: the client has left.
    """
    while True:
        left_s = exchange.left_s()
        step_s = _PRESENCE_S if left_s is None else min(_PRESENCE_S, left_s)
        await asyncio.wait({loaded}, timeout=step_s)
        if loaded.done() or step_s < _PRESENCE_S:
            return
        presence = exchange.listen()  # at once, unless its body is one that nobody reads
        waited: set[asyncio.Future[Any]] = {loaded, presence}
        await asyncio.wait(waited, timeout=exchange.left_s(), return_when=asyncio.FIRST_COMPLETED)
        if not presence.done():
            return
        if _says_gone(presence):
            raise Cancelled("the client left while its model was being loaded")


def _says_gone(presence: asyncio.Future[Any]) -> bool:
    if presence.cancelled() or presence.exception() is not None:
        return False
    return bool(presence.result()["type"] == "http.disconnect")
