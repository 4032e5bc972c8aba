"""What the kernel tells of processes: proc(5)."""

from __future__ import annotations

import os
from pathlib import Path

# Of /proc/PID/stat, after the name in brackets: user time, system time.
_USER, _SYSTEM = 11, 12


def resident_bytes(pid: int | None = None) -> int:
    """How much memory a process has, this one by default, shared pages included; 0: it ended."""
    try:
        pages = int(Path(f"/proc/{pid or 'self'}/statm").read_bytes().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def cpu_s(pid: int) -> float:
    """The processor time that a process has taken, all threads together.

    Raises:
        OSError, IndexError: it has ended.
    """
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return (int(fields[_USER]) + int(fields[_SYSTEM])) / os.sysconf("SC_CLK_TCK")
