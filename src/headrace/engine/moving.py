"""A warm-up beside models that serve keeps to half of the cores, now this half and now that.

A core that becomes idle takes over who waits on another one; a core that an idle-priority thread
holds never does, and then two lanes of a neighbour may wait for each other on one core for seconds
(Linux 6.18, with warm-up in one thread too). So every core is left alone every few milliseconds.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections.abc import Iterator, Sequence

from headrace import priority

# The longest that two lanes wait for each other; shorter ones cost more than they gain.
_TICK_S = 0.003
# Threads are listed this seldom: a new one begins where the one that started it is.
_LIST_TICKS = 16


@contextlib.contextmanager
def moving_about(*, beside: bool) -> Iterator[None]:
    """Inside it every thread of this process moves; after it each may run on any core again.

    Nothing moves without ``beside``, or where there is one core. Not for loading: libraries count
    the cores they may use, and start threads for so many.
    """
    cores = sorted(os.sched_getaffinity(0))
    if not beside or len(cores) == 1:
        yield
        return
    ended = threading.Event()
    mover = threading.Thread(target=_move, args=(cores, ended), name="mover", daemon=True)
    mover.start()
    try:
        yield
    finally:
        ended.set()
        mover.join()


def _move(cores: Sequence[int], ended: threading.Event) -> None:
    me, others = threading.get_native_id(), list[int]()
    priority.compete(me)  # where it may: it is late for what it is for otherwise
    for tick in itertools.count():
        if ended.wait(_TICK_S):
            break
        if tick % _LIST_TICKS == 0:
            others = [task for task in priority.tasks(os.getpid()) if task != me]
        for task in others:
            _confine(task, cores[tick % 2 :: 2])
    for _ in range(2):  # one may be started between being listed and being set
        for task in priority.tasks(os.getpid()):
            _confine(task, cores)


def _confine(task: int, cores: Sequence[int]) -> None:
    with contextlib.suppress(OSError):  # it has ended
        os.sched_setaffinity(task, cores)
