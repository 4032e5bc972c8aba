"""The scribes seen from the supervisor: their socket, and a process for each receiver that calls.

The supervisor listens, so that a receiver can always connect. A connection is a call: it gets a
process of its own, which ends with it. What is sent before that process is there waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from pathlib import Path

import structlog

import headrace
from headrace.control import SCRIBE_NAME
from headrace.loader.lifecycle import Backoff
from headrace.server_settings import ServerSettings

SCRIBE = (sys.executable, "-P", "-m", "headrace.receiver.scribe.worker")
"""The program that is a scribe."""

MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(32 * 2**20), "MALLOC_TRIM_THRESHOLD_": str(64 * 2**20)}
"""For glibc: keep this much between one body and the next. New pages for each cost a third more."""

# Receivers are few, and each calls once.
_BACKLOG = 64


class ScribeProcesses:
    """Owns the scribe processes; ``run`` until it is cancelled."""

    def __init__(
        self, settings: ServerSettings, runtime_dir: Path, command: Sequence[str] = SCRIBE
    ) -> None:
        self._settings = settings
        self._path = runtime_dir / SCRIBE_NAME
        self._command = tuple(command)
        self._backoff = Backoff()
        self._not_before_s = 0.0
        self._log = structlog.get_logger("headrace")

    async def run(self) -> None:
        """Listen at once, and start a process for whoever connects."""
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.setblocking(False)  # noqa: FBT003 - positional only
            listener.bind(str(self._path))
            listener.listen(_BACKLOG)
            async with asyncio.TaskGroup() as group:
                while True:
                    try:
                        channel, _ = await loop.sock_accept(listener)
                    except OSError as error:  # no descriptor is left
                        self._died(f"its receiver cannot be heard: {error}")
                        await self._rest()
                    else:
                        group.create_task(self._serve(channel))

    async def _serve(self, channel: socket.socket) -> None:
        """Run one process from start to end, later where the last ones died at once."""
        with channel:
            channel.setblocking(True)  # noqa: FBT003 - positional only; for the process
            while True:
                await self._rest()
                try:
                    process = await self._start(channel.fileno())
                    break
                except (OSError, RuntimeError) as error:  # no process or thread is left
                    self._died(f"it cannot be started: {error}")
        try:
            status = await process.wait()
        finally:
            await _end(process)
        if status:  # else its receiver has gone
            self._died(f"it ended with status {status}")

    def _died(self, reason: str) -> None:
        now_s = asyncio.get_running_loop().time()
        delay_s = self._backoff.after_death(now_s)
        self._not_before_s = now_s + delay_s
        self._log.error("scribe_died", reason=reason, restart_in_s=delay_s)

    async def _rest(self) -> None:
        await asyncio.sleep(self._not_before_s - asyncio.get_running_loop().time())

    async def _start(self, descriptor: int) -> Process:
        # In a group of its own like the engines: Ctrl-C goes to the supervisor alone.
        return await asyncio.create_subprocess_exec(
            *self._command,
            str(descriptor),
            self._settings.log_level,
            self._settings.log_format,
            stdin=PIPE,
            pass_fds=(descriptor,),
            process_group=0,
            env={"OPENBLAS_NUM_THREADS": "1", **os.environ, **MEMORY, "PYTHONPATH": _python_path()},
        )


async def _end(process: Process) -> None:
    """End a process that may have ended: nothing in it is worth waiting for."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _python_path() -> str:
    """Where it finds the same Headrace that we are."""
    root = str(Path(headrace.__file__).resolve().parent.parent)
    return os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
