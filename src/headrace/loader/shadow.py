"""What a version that is about to be loaded must agree with: requests of the one that serves.

Receivers keep them, and write them to a file in the folder of the run when they are asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from pathlib import Path

import structlog

from headrace.control import Recall, Recalled
from headrace.loader.store import FoundVersion
from headrace.message import Message

# The receiver has at most 16 MiB to write. One that is being restarted has kept nothing.
_ANSWER_TIMEOUT_S = 5.0


class Shadow:
    """Asks for the requests that were kept; ``tell`` sends to all of so many receivers."""

    def __init__(
        self,
        runtime_dir: Path,
        tell: Callable[[Message], None],
        receivers: Callable[[], int] = lambda: 1,
    ) -> None:
        self._runtime_dir = runtime_dir
        self._tell = tell
        self._receivers = receivers
        self._questions: dict[int, asyncio.Future[int]] = {}
        self._nothing: Counter[int] = Counter()  # answers to each that there is nothing
        self._files: set[int] = set()  # questions whose answers are still needed
        self._numbers = itertools.count(1)
        self._log = structlog.get_logger("headrace.loader")

    @contextlib.asynccontextmanager
    async def samples(
        self, found: FoundVersion, serving: Iterable[int], others: Sequence[int] = ()
    ) -> AsyncIterator[Path | None]:
        """A file of requests that a version has answered, as long as it is needed.

        It is the same version where that serves, else the newest of those that have answered any.
        None when nothing is to be compared, or nothing can be: then that is logged. ``others`` are
        those that there are, in memory or not.
        """
        rivals = _rivals(found, serving)
        if not found.settings.verify.shadow or not rivals:
            if found.settings.verify.shadow and others:
                self._nothing_to_compare(found, tuple(others), "none of them is in memory")
            yield None
            return
        number = next(self._numbers)
        path = self._path(number)
        self._files.add(number)
        try:
            count = await self._ask(
                Recall(question=number, name=found.name, versions=rivals, path=str(path))
            )
            if not count:
                silent = "the receiver does not answer"
                reason = silent if count is None else "no request has been kept yet"
                self._nothing_to_compare(found, rivals, reason)
            yield path if count else None
        finally:
            self._files.discard(number)
            path.unlink(missing_ok=True)

    def answer(self, recalled: Recalled) -> None:
        """Take an answer: the first with any requests, or the last; what is too late is removed."""
        number, future = recalled.question, self._questions.get(recalled.question)
        if number not in self._files:
            self._path(number).unlink(missing_ok=True)
        elif future is not None and not future.done():
            self._nothing[number] += not recalled.samples
            if recalled.samples or self._nothing[number] >= self._receivers():
                future.set_result(recalled.samples)

    def alone(self) -> None:
        """The receiver has gone: it answers nothing any more."""
        for future in self._questions.values():
            future.cancel()

    def _nothing_to_compare(
        self, found: FoundVersion, versions: tuple[int, ...], reason: str
    ) -> None:
        self._log.warning(
            "nothing_to_compare",
            model=found.name,
            version=found.version,
            with_versions=versions,
            reason=reason,
        )

    async def _ask(self, recall: Recall) -> int | None:
        """How many requests are in the file; None: no answer."""
        future = self._questions[recall.question] = asyncio.get_running_loop().create_future()
        try:
            self._tell(recall)
            await asyncio.wait({future}, timeout=_ANSWER_TIMEOUT_S)
            return future.result() if future.done() and not future.cancelled() else None
        finally:
            del self._questions[recall.question], self._nothing[recall.question]

    def _path(self, number: int) -> Path:
        return self._runtime_dir / f"samples-{number}"


def _rivals(found: FoundVersion, serving: Iterable[int]) -> tuple[int, ...]:
    versions = sorted(serving, reverse=True)
    return (found.version,) if found.version in versions else tuple(versions)
