"""Loading stands back, and serving does not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from headrace.priority import come_back, may_come_back, stand_back, tasks

# Starts two threads before, and says so; ends with its standard input.
CHILD = """
import sys, threading
hold = threading.Event()
for _ in range(2):
    threading.Thread(target=hold.wait, daemon=True).start()
print("started", flush=True)
sys.stdin.read()
"""


def policies(pid: int) -> list[int]:
    return [os.sched_getscheduler(task) for task in tasks(pid)]


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-c", CHILD]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


@pytest.mark.skipif(not may_come_back(), reason="this user may not come back")
def test_what_a_process_that_stands_back_starts_does_too_until_all_come_back(
    child: subprocess.Popen[bytes],
) -> None:
    assert stand_back(child.pid)
    assert child.stdout is not None
    assert child.stdout.readline() == b"started\n"
    assert policies(child.pid) == [os.SCHED_IDLE] * 3
    come_back(child.pid)
    assert policies(child.pid) == [os.SCHED_OTHER] * 3


def test_asking_leaves_this_thread_as_it_is() -> None:
    before = os.sched_getscheduler(0)
    may_come_back()
    assert os.sched_getscheduler(0) == before


def test_a_process_that_is_gone_neither_stands_back_nor_comes_back(
    child: subprocess.Popen[bytes],
) -> None:
    child.kill()
    child.wait()
    assert not stand_back(child.pid)
    come_back(child.pid)
    assert tasks(child.pid) == []


WITHOUT_PRIVILEGE = """
import os
from headrace.priority import may_come_back
os.setuid(65534)
assert not may_come_back()
assert os.sched_getscheduler(0) == os.SCHED_OTHER
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="must be root to become somebody else")
def test_who_may_not_come_back_finds_it_out_unharmed() -> None:
    command = [sys.executable, "-c", WITHOUT_PRIVILEGE]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
