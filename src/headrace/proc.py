"""What the kernel tells of processes: proc(5)."""

from __future__ import annotations

import contextlib
import os

# Of /proc/PID/stat, after the name in brackets: user time, system time.
_USER, _SYSTEM = 11, 12


def read(pid: int | str, name: str) -> bytes:
    """What the kernel tells of a process under this name, or of this one (``self``).

    Raises:
        OSError: it has ended.
    """
    # Without pathlib, which takes as long as the kernel: somebody may ask every second.
    with open(f"/proc/{pid}/{name}", "rb", 0) as file:  # noqa: PTH123
        return file.read()


def children(pid: int) -> list[int]:
    """The processes that its threads have started and that have not ended."""
    found: list[int] = []
    with contextlib.suppress(OSError):  # it has ended
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - the same
            with contextlib.suppress(OSError):  # a thread that has ended
                found += map(int, read(pid, f"task/{thread}/children").split())
    return sorted(found)


def resident_bytes(pid: int | None = None) -> int:
    """How much memory a process has, this one by default, shared pages included; 0: it ended."""
    try:
        pages = int(read(pid or "self", "statm").split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def taken_bytes(pid: int | None = None) -> int:
    """How much memory a process takes, this one by default; 0: it ended.

    Of pages that it shares with others each has a part, so that all together take what is taken
    (proportional set size). The kernel walks the pages for it: 1 ms for half a gigabyte.
    """
    try:
        text = read(pid or "self", "smaps_rollup")
        return int(text.partition(b"\nPss:")[2].split(maxsplit=1)[0]) * 1024
    except (OSError, IndexError):  # it has ended, or the kernel does not say
        return resident_bytes(pid)


def cpu_s(pid: int) -> float:
    """The processor time that a process has taken, all threads together.

    Raises:
        OSError, IndexError: it has ended.
    """
    fields = read(pid, "stat").rpartition(b")")[2].split()
    return (int(fields[_USER]) + int(fields[_SYSTEM])) / os.sysconf("SC_CLK_TCK")
