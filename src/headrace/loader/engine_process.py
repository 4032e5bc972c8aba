"""An engine's process: how it is started, told, heard and ended; and the path of its socket."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process, SubprocessStreamProtocol
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Protocol, cast

import headrace
from headrace.births import end_group
from headrace.errors import StartError

# What a signal mostly means that nobody has sent.
_WHY: dict[int, str] = {
    signal.SIGKILL: " (out of memory?)",
    signal.SIGSEGV: " (a library or the model's own code crashed)",
    signal.SIGABRT: " (a library or the model's own code gave up)",
    signal.SIGBUS: " (was a file cut short meanwhile?)",
}

# Its argument names the model, for those who look at `ps`. -P: what lies in the folder that one is
# in is not taken for a module.
ENGINE = (sys.executable, "-P", "-m", "headrace.engine.worker")
STATUS_UNKNOWN = 2**16
"""The exit status of a process whose parent has died before it."""

# A ready line carries the measurements of the whole warm-up.
LINE_LIMIT_BYTES = 64 * 2**20
# The kernel's limit for the path of a Unix socket, with the closing zero (unix(7)).
_SOCKET_PATH_BYTES = 108
# What an engine said last is read within this time of its end.
LAST_WORDS_S = 0.2
# Between asking an engine to end (SIGTERM) and ending it (SIGKILL).
_TERMINATE_TIMEOUT_S = 2.0


class NotStarted(Exception):
    """The system would not start the program; the cause says why."""


class Orders(Protocol):
    """Where an engine is told something: its standard input."""

    def write(self, data: bytes) -> None:
        """Send this, some time."""

    def is_closing(self) -> bool:
        """Whether nothing more will be sent."""

    def close(self) -> None:
        """Send the rest, then the end."""


class EngineProcess(Protocol):
    """An engine's process, whoever has made it: ``asyncio.subprocess.Process`` is one."""

    @property
    def pid(self) -> int:
        """Its process id."""

    @property
    def returncode(self) -> int | None:
        """Its exit status, or less than 0 a signal's number; None while it runs."""

    @property
    def stdin(self) -> Orders | None:
        """Where it is told."""

    @property
    def stdout(self) -> asyncio.StreamReader | None:
        """Where it is heard."""

    def terminate(self) -> None:
        """Ask it to end; ``ProcessLookupError`` where it has."""

    def kill(self) -> None:
        """End it; ``ProcessLookupError`` where it has."""

    async def wait(self) -> int:
        """Wait until it has ended; its ``returncode``."""


def socket_path(runtime_dir: Path, name: str, version: int, incarnation: int) -> str:
    """Return the path of an engine's socket; a name too long for the kernel is hashed.

    Raises:
        StartError: the folder alone is too long.
    """
    end = f"-{version}-{incarnation}.sock"
    path = runtime_dir / (name + end)
    if _fits(path):
        return str(path)
    path = runtime_dir / (hashlib.sha256(name.encode()).hexdigest()[:16] + end)
    check_socket_path(path)
    return str(path)


def socket_paths(runtime_dir: Path, name: str, version: int) -> Iterator[str]:
    """The paths of the sockets of one engine of a version after the other."""
    return map(partial(socket_path, runtime_dir, name, version), itertools.count(1))


def check_socket_path(path: Path) -> None:
    """Check that the kernel takes it for a socket.

    Raises:
        StartError: it is too long.
    """
    if not _fits(path):
        raise StartError(
            f"{path.parent} is too long for a socket's path; set TMPDIR to a shorter folder"
        )


def _fits(path: Path) -> bool:
    return len(os.fsencode(path)) < _SOCKET_PATH_BYTES


class _Pipes(SubprocessStreamProtocol):
    """Ends what a process leaves, and lets go of its pipes soon, in case a child of it does not.

    asyncio takes a process for ended when its pipes are, and user code in an engine may fork; what
    it forks may have left the group.
    """

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._process_transport = cast("asyncio.SubprocessTransport", transport)

    def process_exited(self) -> None:
        super().process_exited()
        end_group(self._process_transport.get_pid())
        asyncio.get_running_loop().call_later(LAST_WORDS_S, self._let_go)

    def _let_go(self) -> None:
        end_group(self._process_transport.get_pid(), signal.SIGKILL)
        for descriptor in (0, 1):
            pipe = self._process_transport.get_pipe_transport(descriptor)
            if pipe is not None:
                pipe.close()


async def start(*command: str) -> Process:
    """Start a program that is told on standard input and heard on standard output."""
    loop = asyncio.get_running_loop()
    # A group of its own: Ctrl-C goes to the supervisor alone, which drains first.
    transport, protocol = await loop.subprocess_exec(
        lambda: _Pipes(LINE_LIMIT_BYTES, loop),
        *command,
        stdin=PIPE,
        stdout=PIPE,
        stderr=None,
        env=environment(),
        process_group=0,
    )
    return Process(transport, protocol, loop)


async def start_engine(name: str) -> EngineProcess:
    """Start an engine, which is called so.

    Raises:
        OSError: the system will not start it.
    """
    return await start(*ENGINE, name)


def watch_children() -> None:
    """Have asyncio learn of ended children from the kernel, as it does from Python 3.12 on.

    Before that it starts a thread for each child, after the child: where no thread is left, that
    runs on and nobody knows of it.
    """
    if sys.version_info >= (3, 12):
        return
    with contextlib.suppress(AttributeError, OSError):  # not Linux, or not allowed
        os.close(os.pidfd_open(os.getpid()))
        asyncio.set_child_watcher(asyncio.PidfdChildWatcher())


def remove(path: str) -> None:
    """Remove a dead engine's socket."""
    Path(path).unlink(missing_ok=True)


def environment() -> dict[str, str]:
    """Our own environment, in which the engine finds the same Headrace that we are.

    Unless it says otherwise, numpy starts no threads: they would spin when it is imported, one for
    each core, and compute on cores that belong to other instances.
    """
    root = str(Path(headrace.__file__).resolve().parent.parent)
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"OPENBLAS_NUM_THREADS": "1", **os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def reports(process: EngineProcess) -> asyncio.StreamReader:
    """What it says, a line each."""
    if process.stdout is None:
        raise RuntimeError("an engine is started with a pipe for its reports")
    return process.stdout


def write(process: EngineProcess, text: bytes) -> None:
    """Tell it something, if it still hears."""
    if process.stdin is not None and not process.stdin.is_closing():
        process.stdin.write(text)  # small; when the engine is dead already its exit tells


async def end(process: EngineProcess) -> None:
    """End a process that may have ended: politely, then for certain."""
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(_TERMINATE_TIMEOUT_S):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def was_killed(status: int) -> bool:
    """Whether a process did not end by itself, as far as anybody knows."""
    return status < 0 or status == STATUS_UNKNOWN


def end_of(status: int) -> str:
    """Say how a process ended."""
    if status == STATUS_UNKNOWN:
        return "ended, and nobody knows how: the process that had forked it was no more"
    if status >= 0:
        return f"exited with status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    return f"was killed by {name}{_WHY.get(-status, '')}"
