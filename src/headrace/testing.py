"""For tests, demos and benchmarks: a real ``headrace serve`` in a process of its own.

::

    with Server("model.onnx", "--slo-ms", "50") as server:
        requests.post(f"{server.url}/predict", json={"input": [[1, 2, 3]]})
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

_READY = re.compile(r"Headrace is ready .*?(http://\S+)")
_ENDPOINT = re.compile(r"endpoint: (http://\S+)")
_ENGINE, _NURSERY = "headrace.engine.worker", "headrace.engine.nursery"
_RECEIVER = "envoy"
# Longer than the drain's own limit.
_STOP_TIMEOUT_S = 40.0


class ServerEnded(Exception):
    """The server ended, or did not say in time what was waited for; the message has its output."""


class Server:
    """Starts with the context on a free port, is ready inside it, is stopped with SIGTERM after it.

    ``arguments`` are those of ``headrace serve``; ``said`` is called with every line it prints,
    in a thread of ours.
    """

    def __init__(
        self,
        *arguments: str | Path,
        environment: Mapping[str, str] | None = None,
        said: Callable[[str], None] | None = None,
        timeout_s: float = 60.0,
    ) -> None:
        self._arguments = [str(argument) for argument in arguments]
        self._environment = dict(environment or {})
        self._said = said
        self._timeout_s = timeout_s
        self._lines: list[str] = []
        self._came = threading.Condition()
        self._ended = False
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self.url = ""
        self.started_s = 0.0
        self.ready_s = 0.0

    def __enter__(self) -> Self:
        self.start()
        try:
            self.wait_until_ready()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if self.process.poll() is None:
                self.stop()
        finally:
            self.kill()

    @property
    def process(self) -> subprocess.Popen[str]:
        """The supervisor."""
        if self._process is None:
            raise RuntimeError("not started")
        return self._process

    @property
    def address(self) -> str:
        """``127.0.0.1:PORT``, as gRPC clients want it."""
        return self.url.removeprefix("http://")

    @property
    def endpoints(self) -> list[str]:
        """Every endpoint it printed."""
        return _ENDPOINT.findall(self.output)

    @property
    def output(self) -> str:
        """Everything it printed so far."""
        with self._came:
            return "".join(self._lines)

    # -- its life ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Start it without waiting."""
        port = () if "--port" in self._arguments else ("--port", "0")
        self.started_s = time.monotonic()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "headrace", "serve", *self._arguments, *port],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",  # libraries print what a file holds, text or not
            env={**os.environ, "COLUMNS": "200", **self._environment},
        )
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()

    def wait_until_ready(self) -> None:
        """Wait for its ready line.

        Raises:
            ServerEnded: it ended first, or took too long.
        """
        self.wait_for(_READY, self._timeout_s)
        self.ready_s = time.monotonic()
        self.url = self.find(_READY)

    def wait_for(self, pattern: re.Pattern[str] | str, timeout_s: float = 60.0) -> None:
        """Wait until it has printed something that matches.

        Raises:
            ServerEnded: it ended without, or took too long.
        """
        with self._came:
            self._came.wait_for(
                lambda: bool(re.search(pattern, "".join(self._lines))) or self._ended, timeout_s
            )
            text = "".join(self._lines)
        if not re.search(pattern, text):
            raise ServerEnded(f"the server never printed {pattern!r}:\n{text}")

    def find(self, pattern: re.Pattern[str]) -> str:
        """Return the first group of the first match in its output.

        Raises:
            ServerEnded: nothing matches.
        """
        match = pattern.search(self.output)
        if match is None:
            raise ServerEnded(f"{pattern!r} is not in:\n{self.output}")
        return match.group(1)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def wait(self, timeout_s: float = _STOP_TIMEOUT_S) -> int:
        """Return its exit status once it has ended."""
        status = self.process.wait(timeout_s)
        if self._reader is not None:
            self._reader.join(timeout_s)
        return status

    def stop(self, timeout_s: float = _STOP_TIMEOUT_S) -> int:
        """Send SIGTERM, as an orchestrator would, and return its exit status."""
        self.process.terminate()
        return self.wait(timeout_s)

    def kill(self) -> None:
        """End it and every process it started, at once; nothing is left afterwards."""
        for pid in [*self.engines(), *self.receivers(), self.process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.wait()

    # -- its processes -----------------------------------------------------------------------------

    def engines(self) -> list[int]:
        """Process ids of the engines that run."""
        return self._children(_ENGINE)

    def receivers(self) -> list[int]:
        """Process ids of the receivers that run."""
        return self._children(_RECEIVER)

    def _children(self, name: str) -> list[int]:
        children = [(pid, _command(pid)) for pid in _children(self.process.pid)]
        for nursery in [pid for pid, command in children if _NURSERY in command]:
            children += [(pid, _command(pid)) for pid in _children(nursery)]
        return [pid for pid, command in children if name in command]

    def _read(self, process: subprocess.Popen[str]) -> None:
        for line in process.stdout or ():
            with self._came:
                self._lines.append(line)
                self._came.notify_all()
            if self._said is not None:
                self._said(line.rstrip("\n"))
        if process.stdout is not None:
            process.stdout.close()
        with self._came:
            self._ended = True
            self._came.notify_all()


def _children(pid: int) -> Iterator[int]:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # Behind the program's name, which may hold anything: state, parent.
            parent = stat.read_text().rpartition(")")[2].split()[1]
        except OSError:  # it has just ended
            continue
        if int(parent) == pid:
            yield int(stat.parent.name)


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""
