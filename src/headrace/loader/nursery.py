"""Engines are born in a nursery, a process that has imported what they need: at once.

It is started first of all, while the supervisor imports the rest and finds out what to load. Where
it cannot be had, or has died again and again, each engine is a program that starts by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import sys
from asyncio.subprocess import DEVNULL, Process
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from headrace.births import REPORT_BYTES, Born, Ended, NotBorn, unpack
from headrace.early_signals import EarlySignals
from headrace.loader.engine_process import EngineProcess, end, environment, start_engine
from headrace.loader.forked import Ends, Forked

NURSERY = (sys.executable, "-P", "-m", "headrace.engine.nursery")

# It imports first, perhaps from a slow disk. After this time an engine need not wait for it.
_BIRTH_TIMEOUT_S = 60.0
# What will be so the next time, too.
_NEVER = {
    errno.EDEADLK: "a library has started threads in the nursery",
    errno.ENOSYS: "the system has no descriptors of processes",
    errno.EPERM: "the system gives no descriptors of processes",
}
# One that dies so often is not started again.
_STARTS = 3


class Beginning(NamedTuple):
    """What was begun before the rest of the program was even imported, and the loop it lives in.

    ``imported`` is to be called when the rest is.
    """

    runner: asyncio.Runner
    nursery: Nursery
    signals: EarlySignals
    imported: Callable[[], None] = lambda: None


class _Expected(NamedTuple):
    """An engine that the nursery has been asked for."""

    born: asyncio.Future[Forked]
    ends: Ends


class Nursery:
    """Owns the process, and has an engine made whenever one is wanted."""

    def __init__(self) -> None:
        self._process: Process | None = None
        self._socket: socket.socket | None = None  # while it lives
        self._expected: deque[_Expected] = deque()
        self._engines: dict[int, Forked] = {}
        self._starts = 0
        self._starting = asyncio.Lock()

    async def start(self) -> None:
        """Start the process, where there can be one; the first engine may wait for it."""
        if not hasattr(os, "pidfd_open"):  # not Linux
            return
        self._starts += 1
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its:
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *NURSERY,
                    stdin=its.fileno(),
                    stdout=DEVNULL,
                    env=environment(),
                    process_group=0,
                )
            except OSError:  # an engine will say why
                ours.close()
                return
        ours.settimeout(0)
        self._socket = ours
        asyncio.get_running_loop().add_reader(ours, self._hear, ours)

    async def engine(self, name: str) -> EngineProcess:
        """Begin an engine; it is called so where people look at processes.

        Raises:
            OSError: the system will not start it.
        """
        async with self._starting:
            if self._socket is None and self._starts < _STARTS:
                await self.start()
        if self._socket is not None:
            try:
                return await self._bear(self._socket, name)
            except TimeoutError:
                _warn("engine_not_forked", engine=name, reason="the nursery does not answer")
                self._kill()
            except OSError as error:
                _warn(
                    "engine_not_forked",
                    engine=name,
                    reason=_NEVER.get(error.errno or 0, str(error)),
                )
                if error.errno in _NEVER:
                    await self.end()
        return await start_engine(name)

    async def end(self) -> None:
        """End the process, for good; engines that it has had go on."""
        self._starts = _STARTS
        if self._socket is not None:
            self._lose(self._socket)
        process, self._process = self._process, None
        if process is not None:
            await end(process)

    async def _bear(self, nursery: socket.socket, name: str) -> Forked:
        """Have the nursery fork an engine.

        Raises:
            OSError: it cannot, or is no more.
            TimeoutError: it does not answer.
        """
        with contextlib.ExitStack() as its:
            with contextlib.ExitStack() as ours:
                heard, orders = os.pipe()
                its.callback(os.close, heard)
                ours.callback(os.close, orders)
                reports, said = os.pipe()
                its.callback(os.close, said)
                ours.callback(os.close, reports)
                ours.pop_all()
            ends = await Ends.connect(orders, reports)
            born: asyncio.Future[Forked] = asyncio.get_running_loop().create_future()
            try:
                socket.send_fds(nursery, [name.encode()], [heard, said])
                self._expected.append(_Expected(born, ends))
                async with asyncio.timeout(_BIRTH_TIMEOUT_S):
                    return await born
            except BaseException:
                ends.close()  # if it is born all the same, it ends
                raise

    def _hear(self, nursery: socket.socket) -> None:
        try:
            packet, descriptors, _, _ = socket.recv_fds(nursery, REPORT_BYTES, 1)
        except BlockingIOError:
            return
        except OSError:
            packet = b""
        if not packet:
            _warn("nursery_died")
            self._lose(nursery)
            return
        match unpack(packet):
            case Born(pid):
                self._take(pid, descriptors)
            case NotBorn(number):
                _refuse(self._expected.popleft(), OSError(number, os.strerror(number)))
            case Ended(pid, status) if pid in self._engines:
                self._engines.pop(pid).end(status)

    def _take(self, pid: int, descriptors: Sequence[int]) -> None:
        expected = self._expected.popleft()
        if not descriptors:  # we have no room for more: it ends with its pipes
            _refuse(expected, OSError(errno.EMFILE, os.strerror(errno.EMFILE)))
            return
        engine = self._engines[pid] = Forked(pid, descriptors[0], expected.ends)
        if not expected.born.done():  # somebody waits for it still
            expected.born.set_result(engine)

    def _kill(self) -> None:
        if self._socket is not None:
            self._lose(self._socket)
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    def _lose(self, nursery: socket.socket) -> None:
        asyncio.get_running_loop().remove_reader(nursery)
        nursery.close()
        self._socket = None
        for expected in self._expected:
            _refuse(expected, ConnectionResetError("the nursery has died"))
        self._expected.clear()
        for engine in self._engines.values():
            engine.watch()
        self._engines.clear()


def _refuse(expected: _Expected, error: OSError) -> None:
    if not expected.born.done():
        expected.born.set_exception(error)


def _warn(event: str, **fields: str) -> None:
    import structlog  # noqa: PLC0415 - this module is imported before the rest

    structlog.get_logger("headrace.loader").warning(event, **fields)
