"""An engine keeps to its cores with every thread it has, and says so where it may not."""

from __future__ import annotations

import os
import threading

import pytest

from headrace.engine.affinity import keep_process_to
from headrace.errors import ModelLoadError

CORES = sorted(os.sched_getaffinity(0))


def test_every_thread_keeps_to_the_cores_and_so_do_later_ones() -> None:
    hold, found = threading.Event(), list[set[int]]()
    old = threading.Thread(target=hold.wait)
    old.start()
    try:
        keep_process_to([CORES[:1], CORES[:1]])
        new = threading.Thread(target=lambda: found.append(os.sched_getaffinity(0)))
        new.start()
        new.join()
        tasks = [os.sched_getaffinity(0), os.sched_getaffinity(old.native_id or 0), *found]
        assert tasks == [{CORES[0]}] * 3
    finally:
        keep_process_to([CORES])
        hold.set()
        old.join()


def test_without_cores_nothing_is_kept() -> None:
    keep_process_to([])
    assert sorted(os.sched_getaffinity(0)) == CORES


def test_cores_that_are_not_there_are_an_error_that_names_the_setting() -> None:
    with pytest.raises(ModelLoadError, match=r"cores 4000: .*placement: none"):
        keep_process_to([[4000]])
