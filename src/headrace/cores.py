"""How many cores this process may use: its affinity, and the quota of its container."""

from __future__ import annotations

import os
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def usable_cores(quota: Path = _QUOTA) -> int:
    """Return the cores that may run us at once, at least 1; ``quota`` is cgroup 2's ``cpu.max``.

    A container with a quota sees all cores of its host; taking an instance for each would only make
    them wait for each other.
    """
    cores = len(os.sched_getaffinity(0))
    try:
        allowed, period = quota.read_text().split()
        return max(1, min(cores, int(allowed) // int(period)))
    except (OSError, ValueError):  # no cgroup 2 here, or "max": no quota
        return cores
