"""The scribe seen from the supervisor: its socket, and a process behind it for ever.

The supervisor listens, so that a receiver can always connect: what it sends while there is no
process waits for the next one.
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

SCRIBE = (sys.executable, "-m", "headrace.receiver.scribe.worker")
"""The program that is the scribe."""

MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(32 * 2**20), "MALLOC_TRIM_THRESHOLD_": str(64 * 2**20)}
"""For glibc: keep this much between one body and the next. New pages for each cost a third more."""

# Two receivers may overlap for a moment while one is replaced.
_BACKLOG = 8


class ScribeProcess:
    """Owns the scribe processes, one after the other; ``run`` until it is cancelled."""

    def __init__(
        self, settings: ServerSettings, runtime_dir: Path, command: Sequence[str] = SCRIBE
    ) -> None:
        self._settings = settings
        self._path = runtime_dir / SCRIBE_NAME
        self._command = tuple(command)
        self._log = structlog.get_logger("headrace")

    async def run(self, wanted: asyncio.Event) -> None:
        """Listen at once; start a process when it is wanted, and another when it dies."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(str(self._path))
            listener.listen(_BACKLOG)
            await wanted.wait()
            backoff = Backoff()
            while True:
                try:
                    reason = await self._live(listener.fileno())
                except OSError as error:
                    reason = f"it cannot be started: {error}"
                delay_s = backoff.after_death(asyncio.get_running_loop().time())
                self._log.error("scribe_died", reason=reason, restart_in_s=delay_s)
                await asyncio.sleep(delay_s)

    async def _live(self, descriptor: int) -> str:
        """Run one process from start to end; return why it ended."""
        # In a group of its own like the engines: Ctrl-C goes to the supervisor alone.
        process = await asyncio.create_subprocess_exec(
            *self._command,
            str(descriptor),
            self._settings.log_level,
            self._settings.log_format,
            stdin=PIPE,
            pass_fds=(descriptor,),
            process_group=0,
            env={**os.environ, **MEMORY, "PYTHONPATH": _python_path()},
        )
        try:
            return f"it ended with status {await process.wait()}"
        finally:
            await _end(process)


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
