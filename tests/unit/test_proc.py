"""What the kernel tells of processes is what psutil makes of it."""

from __future__ import annotations

import os
import subprocess
import sys

import psutil
import pytest

from headrace.proc import cpu_s, resident_bytes, taken_bytes

SHARED_BYTES = 64 * 2**20


def test_memory_and_time_are_those_of_the_kernel() -> None:
    ours = psutil.Process()
    assert resident_bytes() == pytest.approx(ours.memory_info().rss, rel=0.05)
    assert resident_bytes(os.getpid()) == pytest.approx(resident_bytes(), rel=0.05)
    used = ours.cpu_times()
    assert cpu_s(os.getpid()) == pytest.approx(used.user + used.system, abs=0.1)


def test_one_that_has_ended_has_no_memory_and_no_time() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert resident_bytes(ended.pid) == taken_bytes(ended.pid) == 0
    with pytest.raises(OSError, match="No such file"):
        cpu_s(ended.pid)


FORKS = f"""
import os, sys
shared = os.urandom({SHARED_BYTES})
ours, its = os.pipe(), os.pipe()
pid = os.fork()
if pid == 0:
    os.close(its[1])
    os.write(ours[1], b"up")
    os.read(its[0], 1)  # until the other ends
    os._exit(0)
os.read(ours[0], 2)
print(pid, flush=True)
sys.stdin.read()
"""


def test_what_two_processes_share_is_taken_once() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", FORKS], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as one:
        assert one.stdin is not None
        assert one.stdout is not None
        other = int(one.stdout.readline())
        resident = resident_bytes(one.pid) + resident_bytes(other)
        taken = taken_bytes(one.pid) + taken_bytes(other)
        one.stdin.close()
    assert taken <= resident - 0.9 * SHARED_BYTES
    assert taken > SHARED_BYTES
