"""A real ``headrace serve`` for tests: ``headrace.testing``'s, with a hand on its processes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import psutil

from headrace import testing

Found = TypeVar("Found")


class Server(testing.Server):
    """Starts with the context, is ready inside it, and is stopped with SIGTERM after it."""

    def children(self, name: str = "") -> list[psutil.Process]:
        """Child processes whose command line has ``name`` in it."""
        try:
            children = psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        return [child for child in children if name in _command(child)]

    def engine(self, model: str) -> psutil.Process:
        """The engine of a model; waits while it is being replaced."""
        return until(lambda: self.children(f"headrace.engine.worker {model}/"))[0]

    def receiver(self) -> psutil.Process:
        """The receiver; waits while it is being replaced."""
        return until(lambda: self.children("envoy --config-path"))[0]


def until(condition: Callable[[], Found], timeout_s: float = 45) -> Found:
    """Ask until the answer is true, and return it; fail when it never is.

    Of the time between two questions a second counts at most: a machine that stands still, as
    virtual ones do, has not been waited for.
    """
    waited_s, asked_s = 0.0, time.monotonic()
    while not (found := condition()):
        now_s = time.monotonic()
        waited_s += min(now_s - asked_s, 1.0)
        asked_s = now_s
        if waited_s > timeout_s:
            raise AssertionError(f"not within {timeout_s} s: {condition}")
        time.sleep(0.01)
    return found


@contextlib.contextmanager
def frozen(process: psutil.Process) -> Iterator[None]:
    """Let a process do nothing inside the context: the slowest model there is."""
    process.suspend()
    try:
        until(lambda: _states(process) <= {"T"})
        yield
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):  # a test may end it while it is frozen
            process.resume()


def _states(process: psutil.Process) -> set[str]:
    """The states of its threads, which a busy machine takes its time to stop."""
    stats = Path(f"/proc/{process.pid}/task").glob("*/stat")
    return {stat.read_text().rpartition(")")[2].split()[0] for stat in stats}


def has_ended(process: psutil.Process) -> bool:
    """Whether it has ended; who inherits an orphan may be slow to bury it."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:  # it ends while we look
        return ""
