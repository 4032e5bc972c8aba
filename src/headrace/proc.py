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


def taken_bytes(pid: int | None = None) -> int:
    """How much memory a process takes, this one by default; 0: it ended.

    Of pages that it shares with others each has a part, so that all together take what is taken
    (proportional set size). The kernel walks the pages for it: 1 ms for half a gigabyte.
    """
    try:
        text = Path(f"/proc/{pid or 'self'}/smaps_rollup").read_bytes()
        return int(text.partition(b"\nPss:")[2].split(maxsplit=1)[0]) * 1024
    except (OSError, IndexError):  # it has ended, or the kernel does not say
        return resident_bytes(pid)


def cpu_s(pid: int) -> float:
    """The processor time that a process has taken, all threads together.

    Raises:
        OSError, IndexError: it has ended.
    """
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return (int(fields[_USER]) + int(fields[_SYSTEM])) / os.sysconf("SC_CLK_TCK")
