"""What a process has in memory."""

from __future__ import annotations

import os
from pathlib import Path


def resident_bytes(pid: int) -> int:
    """Its resident size, shared pages included (statm, in proc(5)); 0 when it is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_bytes().split()[1])
    except (OSError, IndexError):  # it ends just now
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
