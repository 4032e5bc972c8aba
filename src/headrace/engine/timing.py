"""How long a run takes, without what others on the machine took of it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from headrace.engine.backends.contract import Instance
from headrace.values import Array

RUNS = 5
"""About so many runs of a size are timed: four times as many of short ones, fewer of long ones."""

_BUDGET_S = 0.15  # of timing one size
_TASKS = Path("/proc/self/task")


def timed(
    instance: Instance, inputs: Mapping[str, Array], budget_s: float = _BUDGET_S
) -> list[float]:
    """How long runs take, in seconds, without the time in which others had the cores it wanted."""
    times: list[float] = []
    end = time.perf_counter() + budget_s
    for done in range(RUNS * 4):
        first, before = time.perf_counter(), _accounts()
        cpu_s, started = time.thread_time(), time.perf_counter()
        if done >= 3 and started > end:  # noqa: PLR2004
            break
        instance.run(inputs)
        wall_s, cpu_s = time.perf_counter() - started, time.thread_time() - cpu_s
        spent = [now.since(before.get(task, now)) for task, now in _accounts().items()]
        around_s = time.perf_counter() - first - wall_s
        # A run is as long as the thread that is done last; libraries run it in threads of theirs.
        # What it waited while the accounts were read is not of the run.
        waited_s = max((one.waited_s for one in spent), default=0.0) - around_s
        # One that waited while others computed was not waited for: none ends before it has run.
        ran_s = max((one.ran_s for one in spent), default=0.0)
        times.append(max(wall_s - max(waited_s, 0.0), min(max(ran_s, cpu_s), wall_s)))
    return times


class _Account(NamedTuple):
    """How long a thread has been on a core, and has waited for one."""

    ran_s: float
    waited_s: float

    def since(self, before: _Account) -> _Account:
        return _Account(self.ran_s - before.ran_s, self.waited_s - before.waited_s)


def _accounts() -> dict[str, _Account]:
    """Those of every thread of this process (schedstats, in proc(5))."""
    accounts: dict[str, _Account] = {}
    for task in _TASKS.iterdir():
        try:
            ran, waited, *_ = (task / "schedstat").read_bytes().split()
            accounts[task.name] = _Account(int(ran) / 1e9, int(waited) / 1e9)
        except (OSError, ValueError):  # it has ended, or this kernel keeps no account
            continue
    return accounts
