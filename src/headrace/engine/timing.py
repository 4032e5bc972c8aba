"""How long a run takes, without what others on the machine took of it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from headrace.engine.backends.contract import Instance
from headrace.values import Array

RUNS = 5
"""About so many runs of a size are timed: four times as many of short ones, fewer of long ones."""

_BUDGET_S = 0.15  # of timing one size
_TASKS = Path("/proc/self/task")


def timed(instance: Instance, inputs: Mapping[str, Array]) -> list[float]:
    """How long runs take, in seconds, without the time in which others had the cores it wanted."""
    times: list[float] = []
    end = time.perf_counter() + _BUDGET_S
    for done in range(RUNS * 4):
        before, started = _waits_s(), time.perf_counter()
        if done >= 3 and started > end:  # noqa: PLR2004
            break
        instance.run(inputs)
        wall_s = time.perf_counter() - started
        # A run is as long as the thread that is done last; libraries run it in threads of theirs.
        waited_s = max((now - before.get(task, now) for task, now in _waits_s().items()), default=0)
        times.append(max(wall_s - waited_s, 0.0))
    return times


def _waits_s() -> dict[str, float]:
    """How long each thread of this process has waited for a core (schedstats, in proc(5))."""
    waits: dict[str, float] = {}
    for task in _TASKS.iterdir():
        try:
            waits[task.name] = int((task / "schedstat").read_bytes().split()[1]) / 1e9
        except (OSError, ValueError, IndexError):  # it has ended, or this kernel keeps no account
            continue
    return waits
