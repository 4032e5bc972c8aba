"""The receiver process seen from the supervisor: start it, find its ports, drain it, stop it."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headrace.errors import StartError
from headrace.receiver.envoy import Address, launch
from headrace.settings import ServerSettings

# Envoy writes its admin address when its configuration has been read, some 0.3 s after the start.
_START_TIMEOUT_S = 30.0
_START_POLL_S = 0.02
_DRAIN_POLL_S = 0.05
# In flight at none, this often in a row: a request may be between the socket and Envoy's counter.
_QUIET_POLLS = 3
_STOP_TIMEOUT_S = 5.0


def refuse_taken(addresses: Sequence[Address]) -> None:
    """Check that the ports are free; Envoy itself would share them with another server of ours.

    Raises:
        StartError: a port is taken, or may not be bound.
    """
    for address in addresses:
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address.host, address.port))
                probe.listen()
            except OSError as error:
                raise StartError(
                    f"cannot listen on {address.host}:{address.port}: {error.strerror}; choose "
                    "another with --port or --listen (0 picks a free one)"
                ) from error


class ReceiverProcess:
    """One life of the receiver: ``start``, then ``wait``, ``drain`` and ``stop``."""

    def __init__(
        self, settings: ServerSettings, addresses: Sequence[Address], runtime_dir: Path
    ) -> None:
        self._settings = settings
        self._addresses = tuple(addresses)
        self._control_path = runtime_dir / "control.sock"
        self._admin_path = runtime_dir / "admin"
        self._admin: tuple[str, int] | None = None
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """The process id while there is one."""
        return None if self._process is None else self._process.pid

    async def start(self) -> tuple[Address, ...]:
        """Start Envoy and return the addresses it really listens on, in the order given.

        Raises:
            StartError: it ended at once or did not come up in time.
        """
        self._admin_path.unlink(missing_ok=True)
        how = launch(
            self._settings,
            self._addresses,
            control_path=self._control_path,
            admin_path=self._admin_path,
            environment=os.environ,
        )
        # A session of its own: Ctrl-C goes to the supervisor alone, which drains first.
        self._process = await asyncio.create_subprocess_exec(
            *how.arguments, env=dict(how.environment), start_new_session=True
        )
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                return await self._listening(self._process)
        except TimeoutError as error:
            await self.stop()
            raise StartError(
                f"the receiver did not come up within {_START_TIMEOUT_S:.0f} s; see its words above"
            ) from error

    async def wait(self) -> int:
        """Return the exit status when the process has ended."""
        if self._process is None:
            raise RuntimeError("the receiver has not been started")
        return await self._process.wait()

    async def drain(self, timeout_s: float) -> bool:
        """Close the listeners gracefully, wait for what is in flight; False when time ran out."""
        await self._ask("POST", "/drain_listeners?graceful")
        quiet = 0
        try:
            async with asyncio.timeout(timeout_s):
                while quiet < _QUIET_POLLS:
                    quiet = quiet + 1 if await self._in_flight() == 0 else 0
                    await asyncio.sleep(_DRAIN_POLL_S)
        except TimeoutError:
            return False
        return True

    async def stop(self) -> None:
        """End the process: politely, then for certain."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(_STOP_TIMEOUT_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    async def _listening(self, process: asyncio.subprocess.Process) -> tuple[Address, ...]:
        while True:
            if process.returncode is not None:
                raise StartError(
                    f"the receiver ended with status {process.returncode} while it started; see "
                    "its words above"
                )
            found = self._admin_path.read_text() if self._admin_path.exists() else ""
            if found:
                host, _, port = found.rpartition(":")
                self._admin = (host, int(port))
                addresses = _addresses(json.loads(await self._ask("GET", "/listeners?format=json")))
                if addresses:
                    return addresses
            await asyncio.sleep(_START_POLL_S)

    async def _in_flight(self) -> int:
        body = await self._ask("GET", "/stats?filter=^http.ingress_http.downstream_rq_active$")
        return int(body.rpartition(b":")[2] or 0)

    async def _ask(self, method: str, path: str) -> bytes:
        if self._admin is None:
            raise RuntimeError("the receiver has not been started")
        return await asyncio.to_thread(_request, self._admin, method, path)


def _request(address: tuple[str, int], method: str, path: str) -> bytes:
    connection = http.client.HTTPConnection(*address, timeout=5)
    try:
        connection.request(method, path)
        return connection.getresponse().read()
    except OSError as error:
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
