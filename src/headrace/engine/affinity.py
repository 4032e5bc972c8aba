"""An engine keeps to the cores that it was given: all of its threads, and each lane to its own."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence

from headrace import priority
from headrace.errors import ModelLoadError
from headrace.topology import listed


def keep_process_to(cores: Sequence[Sequence[int]]) -> None:
    """Keep every thread of this process to the cores of its instances, if it was given any.

    What is started later does, too. Libraries count the cores that are theirs by this.

    Raises:
        ModelLoadError: the system does not let it.
    """
    union = {number for its in cores for number in its}
    if not union:
        return
    try:
        for task in priority.tasks(os.getpid()):
            with contextlib.suppress(ProcessLookupError):  # it has ended
                os.sched_setaffinity(task, union)
    except OSError as error:
        raise ModelLoadError(
            f"cannot keep to the cores {listed(union)}: {error.strerror}; say `placement: none`"
        ) from error


def keep_thread_to(cores: Iterable[int]) -> None:
    """Keep the thread that calls to these cores, of those of its process."""
    os.sched_setaffinity(0, cores)
