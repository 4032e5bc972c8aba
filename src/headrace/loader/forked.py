"""An engine's process that the nursery forked: told, heard and ended like one that was started."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from typing import Self

from headrace.births import end_group
from headrace.loader.engine_process import LAST_WORDS_S, LINE_LIMIT_BYTES, STATUS_UNKNOWN


class _Hearing(asyncio.StreamReaderProtocol):
    """Tells when there is nothing more to hear."""

    def __init__(self, reader: asyncio.StreamReader, on_end: Callable[[], None]) -> None:
        super().__init__(reader)
        self._on_end = on_end

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._on_end()


class Ends:
    """Our ends of the pipes that are an engine's standard input and output."""

    def __init__(self) -> None:
        self.reports = asyncio.StreamReader(LINE_LIMIT_BYTES)
        self.heard_all = asyncio.Event()
        self.orders: asyncio.WriteTransport | None = None
        self._hearing: asyncio.ReadTransport | None = None

    @classmethod
    async def connect(cls, orders: int, reports: int) -> Self:
        """Take these descriptors."""
        loop, ends = asyncio.get_running_loop(), cls()
        ends._hearing, _ = await loop.connect_read_pipe(
            lambda: _Hearing(ends.reports, ends.heard_all.set), os.fdopen(reports, "rb", 0)
        )
        ends.orders, _ = await loop.connect_write_pipe(
            asyncio.BaseProtocol, os.fdopen(orders, "wb", 0)
        )
        return ends

    def close(self) -> None:
        """Let go of both."""
        for end in (self.orders, self._hearing):
            if end is not None:
                end.close()


class Forked:
    """The process; ``descriptor`` is of it (pidfd_open(2)), and its own."""

    def __init__(self, pid: int, descriptor: int, ends: Ends) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self.stdin = ends.orders
        self.stdout = ends.reports
        self._descriptor = descriptor
        self._ends = ends
        self._ended = asyncio.Event()

    def terminate(self) -> None:
        """Ask it to end.

        Raises:
            ProcessLookupError: it has ended.
        """
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it.

        Raises:
            ProcessLookupError: it has ended.
        """
        self._signal(signal.SIGKILL)

    async def wait(self) -> int:
        """Wait until it has ended and said all; its status, or less than 0 a signal's number."""
        await self._ended.wait()
        await self._ends.heard_all.wait()
        return STATUS_UNKNOWN if self.returncode is None else self.returncode

    def end(self, status: int) -> None:
        """Hear that it has ended, and let go of its pipes, in case a child of it does not."""
        self.returncode = status
        os.close(self._descriptor)
        self._ended.set()
        asyncio.get_running_loop().call_later(LAST_WORDS_S, self._let_go)

    def _let_go(self) -> None:
        end_group(self.pid, signal.SIGKILL)
        self._ends.close()

    def watch(self) -> None:
        """Find out when it ends, for nobody will say."""
        asyncio.get_running_loop().add_reader(self._descriptor, self._found_ended)

    def _found_ended(self) -> None:
        asyncio.get_running_loop().remove_reader(self._descriptor)
        end_group(self.pid)
        status = STATUS_UNKNOWN
        with contextlib.suppress(ChildProcessError):  # ours only as the first process
            status = os.waitstatus_to_exitcode(os.waitpid(self.pid, os.WNOHANG)[1])
        self.end(status)

    def _signal(self, number: signal.Signals) -> None:
        if self.returncode is not None:
            raise ProcessLookupError
        signal.pidfd_send_signal(self._descriptor, number)
