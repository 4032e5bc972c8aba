"""The caller's side of a run: start the sender process, wait for it, read what came of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

from headrace.errors import StartError
from headrace.load.parcel import read_result, write_order
from headrace.load.plan import Plan, Target
from headrace.load.result import Result


def run(plan: Plan, target: Target) -> Result:
    """Run a plan against a target from a process of its own.

    Raises:
        StartError: the target does not answer, or the sender died.
    """
    with Sending(plan, target) as sending:
        return sending.result()


class Sending:
    """A run under way, for callers who do something to the server meanwhile; ends with the context.

    ::

        with Sending(plan, target) as sending:
            sending.wait_started()
            os.kill(engine, signal.SIGKILL)
            result = sending.result()
    """

    def __init__(self, plan: Plan, target: Target) -> None:
        self._plan = plan
        self._target = target
        self._folder = TemporaryDirectory(prefix="headrace-load-")
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        order = Path(self._folder.name, "order.npz")
        write_order(order, self._plan, self._target)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "headrace.load.sender", str(order), str(self._result_path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        process = self._running
        process.kill()
        process.communicate()
        self._folder.cleanup()

    @property
    def _running(self) -> subprocess.Popen[str]:
        if self._process is None:
            raise StartError("the sender is not started: use it as a context")
        return self._process

    @property
    def _result_path(self) -> Path:
        return Path(self._folder.name, "result.npz")

    def wait_started(self) -> float:
        """Wait until all connections are open; return the start on the monotonic clock.

        Raises:
            StartError: the target does not answer, or the sender died.
        """
        pipe = self._running.stdout
        line = pipe.readline() if pipe is not None else ""
        if not line:
            raise self._failure()
        return float(line)

    def result(self) -> Result:
        """Wait for the end of the run.

        Raises:
            StartError: the target does not answer, or the sender died.
        """
        if self._running.wait() != 0:
            raise self._failure()
        return read_result(self._result_path)

    def _failure(self) -> StartError:
        _, said = self._running.communicate()
        words = said.strip() or f"exit status {self._running.returncode}"
        return StartError(f"the load could not be sent: {words}")
