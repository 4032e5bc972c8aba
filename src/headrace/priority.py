"""Who loads stands back from who serves: it gets a core when nobody else wants it.

``SCHED_IDLE`` (sched(7)) and not ``nice``: a thread that wakes takes the core from an idle one at
once, from a nice one only when its slice is over. Beside a neighbour at half load that was a
millisecond and a half at every wake-up, and three times its p99.

To leave that policy takes a privilege (CAP_SYS_NICE, or a limit on nice values) that containers
seldom give; so it is found out first whether one has it.
"""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

_NO_PRIORITY = os.sched_param(0)


def stand_back(task: int) -> bool:
    """Let a thread, or a process that has only one yet, yield to all others.

    What it starts does, too. False when it is gone, or may not.
    """
    return _set(task, os.SCHED_IDLE)


def compete(task: int) -> bool:
    """Let a thread compete with others again; False when it is gone, or may not."""
    return _set(task, os.SCHED_OTHER)


def come_back(pid: int) -> None:
    """Let every thread of a process compete with others again."""
    for _ in range(2):  # one may be started between being listed and being set
        for task in tasks(pid):
            compete(task)


def may_come_back() -> bool:
    """Whether a thread may; tried with one made for it, which cannot be left behind."""
    found: list[bool] = []

    def attempt() -> None:
        me = threading.get_native_id()
        found.append(stand_back(me) and compete(me))

    thread = threading.Thread(target=attempt)
    try:
        thread.start()
    except RuntimeError:  # there is no thread left
        return False
    thread.join()
    return found == [True]


def tasks(pid: int) -> list[int]:
    """The threads of a process; none when it is gone."""
    with contextlib.suppress(OSError):
        return [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()]
    return []


def _set(task: int, policy: int) -> bool:
    try:
        os.sched_setscheduler(task, policy, _NO_PRIORITY)
    except OSError:  # not allowed, or it has ended
        return False
    return True
