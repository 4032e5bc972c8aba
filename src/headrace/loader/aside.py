"""Calls that may hang, on a file system that is not there, each in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import threading
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


def aside(call: Callable[[], Result]) -> asyncio.Future[Result]:
    """Run a call beside the event loop; the end of the process does not wait for it.

    It does for ``asyncio.to_thread``, whatever becomes of the task that awaits it.

    Raises:
        OSError: there is no thread left; it is raised where the call is awaited.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()

    def end(result: Result | None, error: Exception | None) -> None:
        if future.done():  # nobody waits any more
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, error = None, None
        try:
            result = call()
        except Exception as raised:  # noqa: BLE001 - it is raised where it is awaited
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(end, result, error)

    try:
        threading.Thread(target=run, name="headrace-aside", daemon=True).start()
    except RuntimeError:  # it says no more
        future.set_exception(
            OSError(errno.EAGAIN, "no thread can be started: a limit of processes")
        )
    return future
