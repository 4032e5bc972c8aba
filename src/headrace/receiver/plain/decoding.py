"""Files are decoded in threads, so that nobody else waits for a large photo; within a bound.

The calls into the libraries are those that let go of Python's lock while they work.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

from headrace.errors import BodyTooLarge, Expired, QueueFull

# More threads than this only take the engines' cores.
_MOST_THREADS = 8
MOST_WAITING = 256
"""Files that may be decoded or wait for it; a few seconds' work of photos."""
_MOST_BYTES = 256 * 2**20
_TOO_LATE = "the deadline passed while the file was decoded or waited for it"


class Job(NamedTuple):
    """One file and what reads it."""

    read: Callable[[Any], Any]
    data: bytes | memoryview


class Decoding:
    """The threads, started with the first file."""

    def __init__(
        self,
        most_waiting: int = MOST_WAITING,
        most_bytes: int = _MOST_BYTES,
        most_threads: int = _MOST_THREADS,
    ) -> None:
        threads = min(os.cpu_count() or 1, most_threads)
        self._threads = ThreadPoolExecutor(threads, "headrace-media")
        self._most_waiting = most_waiting
        self._most_bytes = most_bytes
        self._waiting = 0

    async def run(self, jobs: Sequence[Job], deadline_s: float | None) -> list[Any]:
        """Return what was read of each file, in order.

        Raises:
            QueueFull: too many files wait already.
            Expired: the deadline passed before all were read.
            BodyTooLarge: what the files become is too much for one request.
            HeadraceError: a file cannot be read; the first to fail tells, the others are left.
        """
        if self._waiting + len(jobs) > self._most_waiting:
            raise QueueFull(f"{self._waiting} files wait to be decoded already", retry_after_s=1.0)
        loop = asyncio.get_running_loop()
        futures, room = [], _Room(self._most_bytes)
        for job in jobs:
            future = self._threads.submit(_run, job, deadline_s, room)
            self._waiting += 1
            # Counted until a thread is done with it, whether or not somebody still waits.
            future.add_done_callback(lambda done: self._note(loop, done))
            futures.append(future)
        left_s = None if deadline_s is None else deadline_s - time.monotonic()
        try:
            async with asyncio.timeout(left_s):
                return await asyncio.gather(*map(asyncio.wrap_future, futures))
        except TimeoutError as error:
            raise Expired(_TOO_LATE) from error
        finally:
            for future in futures:
                future.cancel()  # where a thread has not begun with it

    def _note(self, loop: asyncio.AbstractEventLoop, _: Future[Any]) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._forget_one)

    def _forget_one(self) -> None:
        self._waiting -= 1


class _Room:
    """What the files of one request may still become; for any number of threads."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = self._left_bytes = most_bytes
        self._lock = threading.Lock()

    def take(self, size_bytes: int) -> None:
        with self._lock:
            self._left_bytes -= size_bytes
            if self._left_bytes < 0:
                raise BodyTooLarge(
                    f"the files of this request become more than {self._most_bytes >> 20} MiB of "
                    "tensors: send fewer at once"
                )


def _run(job: Job, deadline_s: float | None, room: _Room) -> Any:
    if deadline_s is not None and time.monotonic() > deadline_s:
        raise Expired(_TOO_LATE)
    found = job.read(job.data)
    room.take(getattr(found, "nbytes", 0))  # text that stays text is no larger than its body
    return found
