"""How much of this machine others use: what is measured beside them is of a machine they share."""

from __future__ import annotations

import os
import time
from pathlib import Path

_STAT = Path("/proc/stat")
_WINDOW_S = 1.0
# Fields of the first line, in ticks: user nice system idle iowait irq softirq steal (proc(5)).
_IDLE = (3, 4)
_FIELDS = 8


def cores_in_use(stat: Path = _STAT, window_s: float = _WINDOW_S) -> float | None:
    """The cores in use now, by whoever; None where the system does not say.

    Waits for as long as the window.
    """
    before = _busy_ticks(stat)
    time.sleep(window_s)
    after = _busy_ticks(stat)
    if before is None or after is None:
        return None
    return max(after - before, 0) / os.sysconf("SC_CLK_TCK") / window_s


def _busy_ticks(stat: Path) -> int | None:
    try:
        fields = [int(field) for field in stat.read_text().split("\n", 1)[0].split()[1:][:_FIELDS]]
    except (OSError, ValueError):
        return None
    if len(fields) <= max(_IDLE):
        return None
    return sum(fields) - sum(fields[place] for place in _IDLE)
