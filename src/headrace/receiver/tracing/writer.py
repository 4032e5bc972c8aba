"""Writes traces, in a thread: a slow disk delays no request.

A file is a whole JSON array after every trace: the next one goes where the closing bracket was.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import threading
from pathlib import Path

import structlog

from headrace.errors import Unsupported
from headrace.receiver.tracing.files import Files
from headrace.receiver.tracing.record import Trace

# Traces that wait to be written; at most a few MB, unless texts are long.
_WAITING = 256
# Stopping waits no longer for the disk.
_STOP_S = 5.0
_END = b"\n]\n"


class Writer:
    """One folder of traces. Without a folder there is nothing to write to, and no thread."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._waiting: queue.Queue[Trace | None] = queue.Queue(_WAITING)
        self._files = Files()
        self._thread: threading.Thread | None = None
        self._dropped = 0
        self._failing = False
        self._log = structlog.get_logger("headrace.receiver")

    def check(self, name: str) -> None:
        """See that a file of this name could be written.

        Raises:
            Unsupported: there is no folder for traces, or it cannot be written to.
        """
        folder = self._folder
        if folder is None:
            raise Unsupported(
                "traces are not written here: server.trace_dir must name a folder for them"
            )
        if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
            raise Unsupported(
                "server.trace_dir is no folder that the server may write to: create it, or change "
                "its owner"
            )
        path = folder / name
        if path.is_symlink() or (
            path.exists() and not (path.is_file() and os.access(path, os.W_OK))
        ):
            raise Unsupported(
                f"{name} in server.trace_dir is no file that the server may write: name another "
                "trace_file"
            )

    def start(self) -> None:
        """Start the thread, if it does not run yet."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="traces", daemon=True)
            self._thread.start()

    def write(self, trace: Trace) -> None:
        """Have a trace written; when too many wait it is dropped, which is logged."""
        try:
            self._waiting.put_nowait(trace)
        except queue.Full:
            self._dropped += 1

    def stop(self) -> None:
        """Write what waits and end the thread; blocks, but not for ever."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        with contextlib.suppress(queue.Full):  # the disk is stuck, and the thread is a daemon
            self._waiting.put(None, timeout=_STOP_S)
            thread.join(_STOP_S)

    def _run(self) -> None:
        while (trace := self._waiting.get()) is not None:
            try:
                self._append(trace)
            except Exception as error:  # noqa: BLE001 - the border of a trace: the next one may do
                if not self._failing:
                    self._log.error("trace_not_written", error=f"{type(error).__name__}: {error}")
                self._failing = True
            else:
                self._failing = False
            if self._dropped:
                dropped, self._dropped = self._dropped, 0
                self._log.warning("traces_dropped", count=dropped)

    def _append(self, trace: Trace) -> None:
        if self._folder is None:
            return
        place = self._files.place(trace.plan)
        objects = ",\n".join(json.dumps(one) for one in trace.objects()).encode()
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | (os.O_TRUNC if place.fresh else 0)
        descriptor = os.open(self._folder / place.name, flags, 0o640)
        try:
            size = os.fstat(descriptor).st_size
            if size > len(_END):
                _replace(descriptor, size - len(_END), b",\n" + objects + _END)
            else:
                _replace(descriptor, 0, b"[\n" + objects + _END)
        finally:
            os.close(descriptor)


def _replace(descriptor: int, at: int, text: bytes) -> None:
    """Write the end of a file anew from here; when the disk is full it ends as it did."""
    try:
        _write(descriptor, at, text)
    except OSError:
        os.ftruncate(descriptor, at)
        if at:
            _write(descriptor, at, _END)
        raise


def _write(descriptor: int, at: int, text: bytes) -> None:
    left = memoryview(text)
    while left:
        written = os.pwrite(descriptor, left, at)
        at, left = at + written, left[written:]
