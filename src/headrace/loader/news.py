"""Something has changed: whoever waits for a condition looks again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable


class News:
    """Wakes all who wait; for one event loop."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def wake(self) -> None:
        """Have everybody look again."""
        self._event.set()
        self._event = asyncio.Event()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until it holds."""
        while not condition():
            await self._event.wait()

    async def some(self, timeout_s: float) -> None:
        """Wait for the next change, or so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._event.wait()
