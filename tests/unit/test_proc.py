"""What the kernel tells of processes is what psutil makes of it."""

from __future__ import annotations

import os
import subprocess
import sys

import psutil
import pytest

from headrace.proc import cpu_s, resident_bytes


def test_memory_and_time_are_those_of_the_kernel() -> None:
    ours = psutil.Process()
    assert resident_bytes() == pytest.approx(ours.memory_info().rss, rel=0.05)
    assert resident_bytes(os.getpid()) == pytest.approx(resident_bytes(), rel=0.05)
    used = ours.cpu_times()
    assert cpu_s(os.getpid()) == pytest.approx(used.user + used.system, abs=0.1)


def test_one_that_has_ended_has_no_memory_and_no_time() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert resident_bytes(ended.pid) == 0
    with pytest.raises(OSError, match="No such file"):
        cpu_s(ended.pid)
