"""Wakes whoever waits for something to have changed: a model's state, or the server's."""

from __future__ import annotations

import asyncio


class Bell:
    """Rings for all who wait now; for the event loop's thread."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[None]] = set()

    def listen(self) -> asyncio.Future[None]:
        """A future that is done with the next ring; cancel it when it is not wanted any more."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        future.add_done_callback(self._waiting.discard)
        return future

    def ring(self) -> None:
        """Wake them."""
        waiting, self._waiting = self._waiting, set()
        for future in waiting:
            if not future.done():
                future.set_result(None)
