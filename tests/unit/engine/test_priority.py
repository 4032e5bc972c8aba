"""Loading stands back, and serving does not."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from headrace.engine.priority import standing_back

NICE = os.getpriority(os.PRIO_PROCESS, 0)
LAST = 19


def of_this_thread() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def test_a_model_that_runs_alone_loads_last_of_all_and_leaves_others_as_they_are() -> None:
    def load() -> int:
        with standing_back(NICE, alone=True):
            return of_this_thread()

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(load).result() == LAST
    assert of_this_thread() == NICE


def test_threads_that_loading_starts_serve_as_ever() -> None:
    """Whether or not they may be raised again."""

    def load() -> tuple[int, int]:
        with ThreadPoolExecutor(1) as theirs:
            with standing_back(NICE, alone=False):
                theirs.submit(of_this_thread).result()
            return theirs.submit(of_this_thread).result(), of_this_thread()

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(load).result() == (NICE, NICE)


WITHOUT_PRIVILEGE = """
import os, sys
from tests.unit.engine.test_priority import NICE, of_this_thread
from headrace.engine.priority import standing_back
os.setuid(65534)
with standing_back(NICE, alone=False):
    assert of_this_thread() == NICE
with standing_back(NICE, alone=True):
    assert of_this_thread() == 19
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="must be root to become somebody else")
def test_who_may_not_raise_threads_again_does_not_lower_them() -> None:
    command = [sys.executable, "-c", WITHOUT_PRIVILEGE]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
