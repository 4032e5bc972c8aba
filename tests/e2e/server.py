"""A real `headrace serve` for tests: its own process, a free port, and what it printed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

_READY = re.compile(r"Headrace is ready .*?(http://\S+)")
_ENDPOINT = re.compile(r"endpoint: (http://\S+)")


class Server:
    """Starts with the context, is ready inside it, and is stopped with SIGTERM after it."""

    def __init__(self, *arguments: str | Path, environment: dict[str, str] | None = None) -> None:
        self._arguments = [str(argument) for argument in arguments]
        self._environment = environment or {}
        self._lines: list[str] = []
        self._came = threading.Condition()
        self._ended = False
        self.process: subprocess.Popen[str] | None = None
        self.url = ""

    def __enter__(self) -> Self:
        self.start()
        self.wait_for(_READY)
        self.url = self.find(_READY)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if self.running.poll() is None:
                self.stop()
        finally:
            for child in self.children():
                child.kill()
            self.running.kill()

    @property
    def running(self) -> subprocess.Popen[str]:
        """The supervisor process."""
        if self.process is None:
            raise RuntimeError("not started")
        return self.process

    @property
    def address(self) -> str:
        """``127.0.0.1:PORT``, as gRPC clients want it."""
        return self.url.removeprefix("http://")

    @property
    def endpoints(self) -> list[str]:
        """Every endpoint printed."""
        return _ENDPOINT.findall(self.output)

    @property
    def output(self) -> str:
        """Everything printed so far."""
        with self._came:
            return "".join(self._lines)

    def start(self) -> None:
        """Start without waiting."""
        port: Sequence[str] = () if "--port" in self._arguments else ("--port", "0")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "headrace", "serve", *self._arguments, *port],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "COLUMNS": "200", **self._environment},
        )
        threading.Thread(target=self._read, args=(self.process,), daemon=True).start()

    def _read(self, process: subprocess.Popen[str]) -> None:
        if process.stdout is None:
            raise RuntimeError("no pipe")
        for line in process.stdout:
            with self._came:
                self._lines.append(line)
                self._came.notify_all()
        process.stdout.close()
        with self._came:
            self._ended = True
            self._came.notify_all()

    def wait_for(self, pattern: re.Pattern[str] | str, timeout_s: float = 60) -> None:
        """Wait until a line was printed that matches; fail with the output if none comes."""
        with self._came:
            found = self._came.wait_for(
                lambda: bool(re.search(pattern, "".join(self._lines))) or self._ended, timeout_s
            )
            text = "".join(self._lines)
        if not found or not re.search(pattern, text):
            raise AssertionError(f"the server never printed {pattern!r}:\n{text}")

    def find(self, pattern: re.Pattern[str]) -> str:
        """The first group of the first match in the output."""
        match = pattern.search(self.output)
        if match is None:
            raise AssertionError(f"{pattern!r} not in:\n{self.output}")
        return match.group(1)

    def stop(self, timeout_s: float = 40) -> int:
        """SIGTERM, and the exit status."""
        self.running.send_signal(signal.SIGTERM)
        return self.running.wait(timeout_s)

    def children(self, name: str = "") -> list[psutil.Process]:
        """Child processes whose command line has ``name`` in it."""
        try:
            children = psutil.Process(self.running.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        return [child for child in children if name in " ".join(child.cmdline())]
