"""The streams of a compiled model: OpenVINO gives a run to any that waits, and does not tell which.

Their threads are known by their name: a thread begins with that of the one that made it (prctl(2),
``PR_SET_NAME``). While all of them sleep a run wakes up one, and it is that one's clock that goes
on.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import openvino as ov

_TASKS = Path("/proc/self/task")
# The clock of a thread is called so after its number (CPUCLOCK_PERTHREAD | CPUCLOCK_SCHED, Linux).
_CLOCK = 6
# A thread that was woken up for nothing does not compute for so long.
_LONG_S = 0.001
# Each run goes to the stream that has slept longest, but for a thread that was woken for nothing.
_RUNS = 16
# Unless others have the cores a thread sleeps this soon after its run.
_PAUSE_S, _PAUSES = 0.0001, 10_000

_numbers = itertools.count(1)


class Compiled(NamedTuple):
    """A compiled model and the threads that came with it."""

    model: ov.CompiledModel
    threads: tuple[int, ...]
    """Those of the streams, and one that calls back; none where nothing tells them."""


def with_threads(compiling: Callable[[], ov.CompiledModel]) -> Compiled:
    """Compile, and find the threads that this makes."""
    mine = _TASKS / str(threading.get_native_id()) / "comm"
    name = f"streams-{next(_numbers) % 10**6}".encode()  # the kernel keeps 15 letters
    try:
        before = mine.read_bytes()
        mine.write_bytes(name)
    except OSError:  # this system has no such names
        return Compiled(compiling(), ())
    try:
        model = compiling()
    finally:
        mine.write_bytes(before)
    return Compiled(model, tuple(_called(name)))


def _called(name: bytes) -> Iterator[int]:
    for task in _TASKS.iterdir():
        with contextlib.suppress(OSError):  # it has ended
            if (task / "comm").read_bytes().strip() == name:
                yield int(task.name)


class Streams:
    """Those of a compiled model, each a thread with a graph of its own; one may be whoever asks."""

    def __init__(self, compiled: Compiled) -> None:
        self.number: int = max(1, compiled.model.get_property("NUM_STREAMS"))
        self._threads = compiled.threads
        self._known: set[int] = set()  # to be of a stream

    def run_on_each(self, requests: Sequence[ov.InferRequest]) -> bool:
        """Run one on each stream; whether that is known of all of them, and every run went well.

        There is a request for each stream. Nothing else may run meanwhile.

        Raises:
            OSError: this system does not tell what threads do, or one has ended.
        """
        if self.number == 1:
            return _ended(requests[0].infer)
        well = _together(requests)  # builds kernels, on all that wake up for it
        before = self._clocks_s()
        well &= _together(requests)
        spent_s = self._since_s(before)
        reached = {one for one in self._known if spent_s[one] >= _LONG_S}
        for _ in range(_RUNS * self.number):
            if not well or len(reached) == self.number or not self._sleep():
                break
            before = self._clocks_s()
            well = _ended(requests[0].infer)
            spent_s = self._since_s(before)
            reached.add(max(spent_s, key=spent_s.__getitem__))
            self._known |= reached
        return well and len(reached) == self.number

    def _sleep(self) -> bool:
        """Wait until all threads sleep; whether they do, and there are enough."""
        awake = list(self._threads)
        for _ in range(_PAUSES):
            awake = list(filter(_is_awake, awake))
            if not awake:
                return len(self._threads) >= self.number
            time.sleep(_PAUSE_S)
        return False

    def _clocks_s(self) -> dict[int, float]:
        return {thread: time.clock_gettime(~thread << 3 | _CLOCK) for thread in self._threads}

    def _since_s(self, before: dict[int, float]) -> dict[int, float]:
        return {thread: now - before[thread] for thread, now in self._clocks_s().items()}


def _is_awake(thread: int) -> bool:
    """Whether it computes, or waits for a core (proc(5), ``stat``)."""
    stat = (_TASKS / str(thread) / "stat").read_text()
    state: str = stat.rpartition(")")[2].split()[0]
    return state == "R"


def _together(requests: Sequence[ov.InferRequest]) -> bool:
    """Whether all run without an error, at once."""
    began = [_ended(request.start_async) for request in requests]
    ended = [_ended(request.wait) for request, has in zip(requests, began, strict=True) if has]
    return all(began) and all(ended)


def _ended(run: Callable[[], object]) -> bool:
    """Whether it did without an error."""
    try:
        run()
    except RuntimeError:
        return False
    return True
