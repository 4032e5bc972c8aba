"""``headrace serve`` as a process of its own: started, waited for, stopped with SIGTERM."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence

_READY = re.compile(r"Headrace is ready .*http://(\S+)")
_STOP_TIMEOUT_S = 60
_WIDE = "500"  # lines are broken where they are shown, not where they are said
# The last lines are where the reason of an end is found.
_TOLD_LINES = 20


class NotServing(Exception):
    """The server ended before it was ready; the message has what it said last."""


class Serving:
    """A server that runs, and where it answers."""

    def __init__(self, process: subprocess.Popen[str], address: str) -> None:
        self.address = address
        self._process = process

    def stop(self) -> int:
        """Ask it to end, as an orchestrator would, and return its exit status."""
        self._process.terminate()
        return self._process.wait(_STOP_TIMEOUT_S)


def command(arguments: Sequence[str]) -> list[str]:
    """Return the command that serves on a free port."""
    return ["headrace", "serve", *arguments, "--port", "0"]


@contextlib.contextmanager
def serving(arguments: Sequence[str], said: Callable[[str], None]) -> Iterator[Serving]:
    """Start a server, pass on what it says until it is ready, and stop it at the end.

    Raises:
        NotServing: it ended first.
    """
    with subprocess.Popen(
        [sys.executable, "-m", *command(arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "COLUMNS": _WIDE},
    ) as process:
        try:
            address = _wait_until_ready(process, said)
            # What it says from now on is read too, or it would wait for room in the pipe.
            reader = threading.Thread(target=_drop_lines, args=(process,))
            reader.start()
            try:
                yield Serving(process, address)
            finally:
                process.terminate()
                reader.join()
        finally:
            process.terminate()


def _wait_until_ready(process: subprocess.Popen[str], said: Callable[[str], None]) -> str:
    last: deque[str] = deque(maxlen=_TOLD_LINES)
    for line in process.stdout or ():
        said(line.rstrip())
        last.append(line)
        if ready := _READY.search(line):
            return ready[1]
    raise NotServing(f"the server ended with status {process.wait()}:\n{''.join(last)}")


def _drop_lines(process: subprocess.Popen[str]) -> None:
    for _ in process.stdout or ():
        pass
