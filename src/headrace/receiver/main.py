"""The module Envoy loads: ``app`` is its ASGI callable."""

from __future__ import annotations

import headrace.startup  # before all else

# isort: split

import asyncio
import gc
import os
from collections.abc import Coroutine
from typing import Any

from headrace.control import CONTROL_VARIABLE
from headrace.outlets import open_outlets
from headrace.receiver.asgi import Application
from headrace.receiver.bodies import overlook_late_answers
from headrace.receiver.runtime import Runtime

# The hot path makes no reference cycles: collect rarely, and never look at what start-up made.
_GC_THRESHOLDS = (100_000, 50, 50)


class Entrance:
    """Starts the runtime with the lifespan, then hands every request to its application."""

    # asgiref's hint that this is ASGI 3 although ``__call__`` is no coroutine function.
    _asgi_single_callable = True

    def __init__(self) -> None:
        self._application: Application | None = None

    def __call__(
        self, scope: dict[str, Any], receive: Any, send: Any
    ) -> Coroutine[None, None, None]:
        """ASGI 3; a plain function, so that a request runs in one coroutine less."""
        if self._application is None:
            return self._live(receive, send)
        return self._application(scope, receive, send)

    async def _live(self, receive: Any, send: Any) -> None:
        await receive()
        open_outlets()
        loop = asyncio.get_running_loop()
        overlook_late_answers(loop)
        runtime = Runtime(loop, os.environ[CONTROL_VARIABLE])
        self._application = await runtime.start()
        headrace.startup.imported()
        gc.set_threshold(*_GC_THRESHOLDS)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await runtime.stop()
        await send({"type": "lifespan.shutdown.complete"})


app = Entrance()
