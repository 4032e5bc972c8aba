"""A warm-up beside others leaves every core alone now and then, and none for ever."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

import pytest

from headrace.engine.moving import moving_about

CORES = os.sched_getaffinity(0)
several = pytest.mark.skipif(len(CORES) == 1, reason="one core")


def seen_until(done: Callable[[set[frozenset[int]]], bool]) -> set[frozenset[int]]:
    """The cores this thread may use, as they change, until that is so or 10 s have passed."""
    seen: set[frozenset[int]] = set()
    end_s = time.monotonic() + 10
    while not done(seen) and time.monotonic() < end_s:
        seen.add(frozenset(os.sched_getaffinity(0)))
    return seen


@several
def test_beside_others_a_thread_has_one_half_of_the_cores_and_then_the_other() -> None:
    with moving_about(beside=True):
        halves = seen_until(lambda seen: len(seen - {frozenset(CORES)}) == 2)
    halves.discard(frozenset(CORES))
    assert len(halves) == 2
    assert frozenset.union(*halves) == CORES
    assert not frozenset.intersection(*halves)


@several
def test_afterwards_every_thread_may_run_anywhere_those_started_meanwhile_too() -> None:
    hold = threading.Event()
    threads = []
    try:
        with moving_about(beside=True):
            for _ in range(3):
                threads.append(threading.Thread(target=hold.wait))
                threads[-1].start()
            seen_until(lambda seen: len(seen) > 1)
        tasks = [threading.get_native_id(), *(thread.native_id or 0 for thread in threads)]
        assert [os.sched_getaffinity(task) for task in tasks] == [CORES] * 4
    finally:
        hold.set()
        for thread in threads:
            thread.join()


def test_alone_nothing_moves() -> None:
    with moving_about(beside=False):
        assert not any(thread.name == "mover" for thread in threading.enumerate())
        assert os.sched_getaffinity(0) == CORES
