"""The caller's side of a run: start the sender processes, look on, read what came of it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

from headrace.errors import StartError
from headrace.load.generator import LEAD_S, capacity
from headrace.load.parcel import read_result, write_order
from headrace.load.plan import Plan, Target
from headrace.load.result import Result
from headrace.load.rows import Rows
from headrace.load.share import divide, unite

SENDER = (sys.executable, "-P", "-m", "headrace.load.sender")


def run(plan: Plan, target: Target, senders: int = 1) -> Result:
    """Run a plan against a target from processes of their own.

    Raises:
        StartError: the target does not answer, or a sender died.
    """
    with Sending(plan, target, senders) as sending:
        return sending.result()


class Sender:
    """One sender process and the rows it writes."""

    def __init__(self, plan: Plan, target: Target, folder: Path, name: str) -> None:
        self._plan = plan
        self._target = target
        self._order_path = folder / f"order-{name}.npz"
        self._result_path = folder / f"result-{name}.npz"
        self._process: subprocess.Popen[str] | None = None
        self._rows: Rows | None = None

    def start(self) -> None:
        """Start it; it connects, and waits for ``go``."""
        write_order(self._order_path, self._plan, self._target)
        self._rows, descriptor = Rows.create(capacity(self._plan))
        try:
            self._process = subprocess.Popen(
                [
                    *SENDER,
                    *map(str, (self._order_path, self._result_path, descriptor)),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                pass_fds=(descriptor,),
            )
        finally:
            os.close(descriptor)

    @property
    def rows(self) -> Rows:
        """The rows as they are now."""
        if self._rows is None:
            raise StartError("the sender is not started: use it as a context")
        return self._rows

    @property
    def _running(self) -> subprocess.Popen[str]:
        if self._process is None:
            raise StartError("the sender is not started: use it as a context")
        return self._process

    def wait_ready(self) -> None:
        """Wait until its connections are open.

        Raises:
            StartError: the target does not answer, or the sender died.
        """
        pipe = self._running.stdout
        if pipe is None or not pipe.readline():
            raise self._failure()
        # It has been read, and what is in it (tokens, say) should not outlive a killed caller.
        self._order_path.unlink()

    def go(self, start_s: float) -> None:
        """Tell it when to start.

        Raises:
            StartError: it died.
        """
        pipe = self._running.stdin
        try:
            if pipe is not None:
                pipe.write(f"{start_s!r}\n")
                pipe.flush()
        except BrokenPipeError:
            raise self._failure() from None

    def stop(self) -> None:
        """Have it send no more."""
        self.rows.stop()

    def has_ended(self, timeout_s: float) -> bool:
        """Wait so long for its end; return whether it has."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._running.wait(timeout_s)
            return True
        return False

    def result(self) -> Result:
        """Wait for the end of the run.

        Raises:
            StartError: the sender died.
        """
        if self._running.wait() != 0:
            raise self._failure()
        return read_result(self._result_path, self.rows)

    def close(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()

    def _failure(self) -> StartError:
        _, said = self._running.communicate()
        words = said.strip() or f"exit status {self._running.returncode}"
        return StartError(f"the load could not be sent: {words}")


class Sending:
    """A run under way, for callers who do something to the server meanwhile; ends with the context.

    ::

        with Sending(plan, target) as sending:
            sending.wait_started()
            os.kill(engine, signal.SIGKILL)
            result = sending.result()
    """

    def __init__(self, plan: Plan, target: Target, senders: int = 1) -> None:
        parts = divide(plan, senders)
        self._folder = TemporaryDirectory(prefix="headrace-load-")
        folder = Path(self._folder.name)
        self._senders = [
            Sender(part, target, folder, str(number)) for number, part in enumerate(parts)
        ]
        self.started_s: float | None = None

    def __enter__(self) -> Self:
        try:
            for sender in self._senders:
                sender.start()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    def _close(self) -> None:
        for sender in self._senders:
            sender.close()
        self._folder.cleanup()

    def wait_started(self) -> float:
        """Wait until all connections are open; return the start on the monotonic clock.

        Raises:
            StartError: the target does not answer, or a sender died.
        """
        if self.started_s is None:
            for sender in self._senders:
                sender.wait_ready()
            self.started_s = time.monotonic() + LEAD_S
            for sender in self._senders:
                sender.go(self.started_s)
        return self.started_s

    def rows(self) -> list[Rows]:
        """The rows of each sender as they are now."""
        return [sender.rows for sender in self._senders]

    def stop(self) -> None:
        """Have no more sent; what is under way is waited for."""
        for sender in self._senders:
            sender.stop()

    def has_ended(self, timeout_s: float) -> bool:
        """Wait so long for the end; return whether all senders have."""
        end_s = time.monotonic() + timeout_s
        return all(sender.has_ended(max(0.0, end_s - time.monotonic())) for sender in self._senders)

    def result(self) -> Result:
        """Wait for the end of the run.

        Raises:
            StartError: the target does not answer, or a sender died.
        """
        self.wait_started()
        return unite([sender.result() for sender in self._senders])
