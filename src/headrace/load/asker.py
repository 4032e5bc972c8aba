"""Requests at the demand of another thread, which is told of every end: for drivers of others."""

from __future__ import annotations

import select
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Generic, Self, TypeVar

from headrace.load.codec import Ended
from headrace.load.generator import CONNECT_S, make_pool
from headrace.load.plan import Target
from headrace.load.result import TIMEOUT, Outcome

# How soon a time-out, or the wish to end, is noticed.
_LOOK_S = 0.02

Token = TypeVar("Token")


class Asker(Generic[Token]):
    """Sends on connections of its own; ``told`` is called in its thread with what has ended.

    Of all that is submitted at most ``most`` are under way at once, the others wait their turn.

    Raises:
        StartError: the target does not answer.
    """

    def __init__(
        self, target: Target, most: int, told: Callable[[Sequence[tuple[Token, Outcome]]], None]
    ) -> None:
        self._target = target
        self._most = most
        self._told = told
        self._pool = make_pool(target, most)
        self._lock = threading.Lock()  # over everything below, and the pool
        self._waiting: deque[tuple[Token, int]] = deque()
        self._flights: dict[int, tuple[Token, float]] = {}  # the oldest first
        self._sent = 0
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        try:
            self._pool.open(CONNECT_S)
        except BaseException:
            self._pool.close()
            raise
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ending.set()
        self._thread.join()
        with self._lock:
            self._pool.close()

    def submit(self, wanted: Iterable[tuple[Token, int]]) -> None:
        """Ask, for each token, with the message of that place; after the end nobody is asked."""
        with self._lock:
            if self._ending.is_set():  # the other thread may not have heard of it yet
                return
            self._waiting.extend(wanted)
            self._send()

    def _send(self) -> None:
        messages, end_s = len(self._target.messages), time.monotonic() + self._target.timeout_s
        while self._waiting and self._pool.outstanding < self._most:
            token, place = self._waiting.popleft()
            number = self._sent * messages + place  # by which a codec finds the message
            self._sent += 1
            self._flights[number] = token, end_s
            self._pool.submit(number)
        self._pool.flush()

    def _serve(self) -> None:
        while not self._ending.is_set():
            select.select((self._pool,), (), (), _LOOK_S)
            with self._lock:
                ended = [one for _, some in self._pool.wait(0.0) for one in some]
                ended += self._expired()
                told = [(self._flights.pop(number)[0], outcome) for number, outcome in ended]
                self._send()
            if told:
                self._told(told)

    def _expired(self) -> list[Ended]:
        now_s, found = time.monotonic(), []
        for number, (_, end_s) in self._flights.items():
            if end_s > now_s:
                break
            if self._pool.cancel(number):
                found.append((number, TIMEOUT))
        return found
