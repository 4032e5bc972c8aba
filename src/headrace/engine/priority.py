"""Loading stands back from serving: its threads want a core last of all.

``nice`` is a thread's own on Linux, and what a thread starts inherits it. Libraries start the
threads that will serve while they load, and to raise those again takes a privilege (CAP_SYS_NICE)
that containers seldom have; so it is found out first.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

_LAST = 19
_TASKS = Path("/proc/self/task")


@contextlib.contextmanager
def standing_back(nice: int, *, alone: bool) -> Iterator[None]:
    """Inside it this thread and those it starts yield to all others; after it all have ``nice``.

    Not where they could not be raised again, unless the model is ``alone``: runs in the thread that
    asks, which this must then not be.
    """
    raised = _can_raise(nice)
    if raised or alone:
        _set(threading.get_native_id(), _LAST)
    try:
        yield
    finally:
        if raised:
            for task in _TASKS.iterdir():
                _set(int(task.name), nice)


def _can_raise(nice: int) -> bool:
    """Whether a thread may go back; tried with one made for it, that cannot be left behind."""
    found: list[bool] = []

    def attempt() -> None:
        me = threading.get_native_id()
        found.append(_set(me, _LAST) and _set(me, nice))

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    return found == [True]


def _set(task: int, nice: int) -> bool:
    try:
        os.setpriority(os.PRIO_PROCESS, task, nice)
    except OSError:  # not allowed, or the thread has ended
        return False
    return True
