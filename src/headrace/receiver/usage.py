"""When each model was last used, told to the supervisor, which has the least recently used leave.

Nothing is noted on the way of a request for this: it is read from what is counted of batches.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable

from headrace.control import Use, Used
from headrace.observe.metrics import ModelMetrics

Key = tuple[str, int]

_EVERY_S = 1.0


class Usage:
    """Tells what has changed: each second, and before the supervisor is asked for anything."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        served: Callable[[], Iterable[ModelMetrics]],
        tell: Callable[[Used], None],
    ) -> None:
        self._loop = loop
        self._served = served
        self._tell = tell
        self._told: dict[Key, Use] = {}
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to tell each second."""
        self._timer = self._loop.call_later(_EVERY_S, self._again)

    def stop(self) -> None:
        """Tell no more."""
        if self._timer is not None:
            self._timer.cancel()

    def tell(self) -> None:
        """Tell what is new now."""
        now_s = time.monotonic()
        uses = {(one.model, one.version): use(one, now_s) for one in self._served()}
        news = tuple(one for key, one in uses.items() if self._told.get(key) != one)
        self._told = uses
        if news:
            self._tell(Used(models=news))

    def _again(self) -> None:
        self.tell()
        self.start()


def use(metrics: ModelMetrics, now_s: float) -> Use:
    """When a version was last used: now, while anything waits for it or runs in it."""
    gauges = metrics.gauges
    busy = any(gauges[name]() for name in ("queue_length", "running_batches") if name in gauges)
    return Use(
        name=metrics.model,
        version=metrics.version,
        used_s=now_s if busy else metrics.runs.last_s or 0.0,
        sequences=gauges["sequences"]() > 0,
    )
