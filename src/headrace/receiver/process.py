"""The receiver process seen from the supervisor: start it, find its ports, drain it, stop it."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from headrace.errors import StartError
from headrace.receiver.envoy import DRAIN_S, Address, launch
from headrace.server_settings import ServerSettings

CONTROL_NAME = "control.sock"
"""The supervisor's socket, in the folder of the run."""

# Envoy writes its admin address when its configuration has been read, some 0.3 s after the start.
_START_TIMEOUT_S = 30.0
_START_POLL_S = 0.02
_DRAIN_POLL_S = 0.02
# In flight at none, this often in a row: a request may be between the socket and Envoy's counter.
_QUIET_POLLS = 3
_REQUESTS, _CONNECTIONS = "downstream_rq_active", "downstream_cx_active"
_STOP_TIMEOUT_S = 5.0
_ADMIN_TIMEOUT_S = 5.0


@contextlib.contextmanager
def claimed(addresses: Sequence[Address]) -> Iterator[Callable[[], None]]:
    """Have the addresses for ourselves; Envoy itself would share them with another server of ours.

    Until Envoy listens: from then on the port itself tells the others. So what is given here is
    called then, and who comes while this server ends need not wait for its last answer.

    Raises:
        StartError: a port is taken, named twice, or may not be bound.
    """
    with contextlib.ExitStack() as claims:
        for address in addresses:
            _claim(address, claims)
        _refuse_taken(addresses)
        yield claims.close


def _claim(address: Address, claims: contextlib.ExitStack) -> None:
    """Take a name that one process has at a time: Envoy binds the port long after it was free.

    Abstract names are Linux' own, and seen where its ports are (unix(7)).
    """
    if not address.port or sys.platform != "linux":
        return
    claim = claims.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
    try:
        claim.bind(f"\0headrace/{address.host}:{address.port}")
    except OSError as error:
        raise _not_ours(address, error) from error


def _refuse_taken(addresses: Sequence[Address]) -> None:
    with contextlib.ExitStack() as probes:
        for address in addresses:
            family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
            probe = probes.enter_context(socket.socket(family, socket.SOCK_STREAM))
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:  # as Envoy does: the same port of IPv4 is another one
                only = not address.has_ipv4(addresses)
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
            try:
                probe.bind((address.host, address.port))
                probe.listen()
            except OSError as error:
                raise _not_ours(address, error) from error


def _not_ours(address: Address, error: OSError) -> StartError:
    return StartError(
        f"cannot listen on {address.host}:{address.port}: {error.strerror}; choose another with "
        "--port or --listen (0 picks a free one)"
    )


class ReceiverProcess:
    """One life of the receiver: ``start``, then ``wait``, ``drain`` and ``stop``."""

    def __init__(
        self,
        settings: ServerSettings,
        addresses: Sequence[Address],
        runtime_dir: Path,
        number: int = 0,
    ) -> None:
        self._settings = settings
        self._addresses = tuple(addresses)
        self._control_path = runtime_dir / CONTROL_NAME
        self._admin_path = runtime_dir / f"admin-{number}.sock"
        # By this name ``observe.processes`` knows it.
        self._config_path = runtime_dir / f"receiver-{number}.json"
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """The process id while there is one."""
        return None if self._process is None else self._process.pid

    async def start(self) -> tuple[Address, ...]:
        """Start Envoy and return the addresses it really listens on, in the order given.

        Raises:
            StartError: it could not be started, ended at once or did not come up in time.
        """
        try:
            self._process = await self._launched()
            async with asyncio.timeout(_START_TIMEOUT_S):
                return await self._listening(self._process)
        except TimeoutError as error:
            await self.stop()
            raise StartError(
                f"the receiver did not come up within {_START_TIMEOUT_S:.0f} s; see its words above"
            ) from error
        # No descriptors, processes, threads or memory are left, for a while maybe.
        except (OSError, RuntimeError) as error:
            raise StartError(f"the receiver could not be started: {error}") from error
        finally:
            self._config_path.unlink(missing_ok=True)  # it has been read; there may be a secret

    async def _launched(self) -> asyncio.subprocess.Process:
        self._admin_path.unlink(missing_ok=True)
        how = launch(
            self._settings,
            self._addresses,
            control_path=self._control_path,
            admin_path=self._admin_path,
            config_path=self._config_path,
            environment=os.environ,
        )
        _write(self._config_path, how.configuration)
        # A group of its own: Ctrl-C goes to the supervisor alone, which drains first. Not a session
        # of its own, for the kernel shares out cores by session, and our priorities hold in one.
        return await asyncio.create_subprocess_exec(
            *how.arguments, env=dict(how.environment), process_group=0
        )

    async def wait(self) -> int:
        """Return the exit status when the process has ended."""
        if self._process is None:
            raise RuntimeError("the receiver has not been started")
        return await self._process.wait()

    async def drain(self, timeout_s: float, hurry: asyncio.Event) -> bool:
        """Close the listeners gracefully and wait for what is in flight, or until ``hurry``.

        False when something still is, or was when the receiver died.
        """
        told_s = time.monotonic() + DRAIN_S
        try:
            await self._ask("POST", "/drain_listeners?graceful")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._quiet(hurry, told_s)
                    # Nobody comes in after this; who did a moment ago is waited for.
                    await self._ask("POST", "/drain_listeners")
                    await self._quiet(hurry, told_s)
            requests, _ = await self._active()
        except StartError:
            return False
        return not requests

    async def stop(self) -> None:
        """End the process: politely, then for certain."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(_STOP_TIMEOUT_S):
                await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _listening(self, process: asyncio.subprocess.Process) -> tuple[Address, ...]:
        while True:
            if process.returncode is not None:
                raise StartError(
                    f"the receiver ended with status {process.returncode} while it started; see "
                    "its words above"
                )
            with contextlib.suppress(StartError):  # it does not answer yet
                addresses = _addresses(json.loads(await self._ask("GET", "/listeners?format=json")))
                if addresses:
                    return addresses
            await asyncio.sleep(_START_POLL_S)

    async def _quiet(self, hurry: asyncio.Event, told_s: float) -> None:
        """Wait until nothing is in flight; whoever is connected gets until ``told_s`` to hear."""
        quiet = 0
        while quiet < _QUIET_POLLS and not hurry.is_set():
            requests, connections = await self._active()
            told = not connections or time.monotonic() > told_s
            quiet = quiet + 1 if told and not requests else 0
            await asyncio.sleep(_DRAIN_POLL_S)

    async def _active(self) -> tuple[int, int]:
        """How many requests are in flight, and how many connections are open."""
        body = await self._ask(
            "GET", f"/stats?filter=^http.ingress_http.({_REQUESTS}|{_CONNECTIONS})$"
        )
        found = dict(text.rpartition(".")[2].split(": ") for text in body.decode().splitlines())
        return int(found.get(_REQUESTS, 0)), int(found.get(_CONNECTIONS, 0))

    async def _ask(self, method: str, path: str) -> bytes:
        try:
            return await asyncio.to_thread(_request, self._admin_path, method, path)
        except RuntimeError as error:  # there is no thread left
            raise StartError(f"the receiver cannot be asked: {error}") from error


class _AdminConnection(http.client.HTTPConnection):
    """HTTP to a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_ADMIN_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket instead of a host."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def _write(path: Path, text: str) -> None:
    """Write a file that nobody else may read."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)


def _request(admin_path: Path, method: str, path: str) -> bytes:
    connection = _AdminConnection(admin_path)
    try:
        connection.request(method, path)
        return connection.getresponse().read()
    except (OSError, http.client.HTTPException) as error:
        raise StartError(f"the receiver's admin interface does not answer: {error}") from error
    finally:
        connection.close()


def _addresses(listing: dict[str, Any]) -> tuple[Address, ...]:
    """Read Envoy's ``/listeners`` answer: the first address, then the additional ones."""
    for status in listing.get("listener_statuses", ()):
        found = [status["local_address"], *status.get("additional_local_addresses", ())]
        sockets = [one["socket_address"] for one in found]
        return tuple(Address(one["address"], one["port_value"]) for one in sockets)
    return ()
