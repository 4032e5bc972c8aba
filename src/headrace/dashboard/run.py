"""From the flags to the end: the servers to watch, the socket to listen on, and who may come.

The page has no login, so it listens to this machine alone unless it is told otherwise. There a page
of somebody else could still reach it, by a name of theirs that leads here; so only names of this
machine are answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import ipaddress
import socket
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType

from headrace.dashboard.limits import Limits
from headrace.dashboard.watch import Board, Watched
from headrace.errors import BackendMissing, StartError

_OWN_NAMES = ("localhost", "127.0.0.1", "::1", "[::1]")


def run_dashboard(urls: Sequence[str], host: str, port: int) -> int:
    """Show the servers until SIGTERM or Ctrl-C, and return the exit status.

    Raises:
        BackendMissing: NiceGUI is not installed.
        SettingsError: one of the addresses is none.
        StartError: the port cannot be had.
    """
    board = Board(tuple(Watched.of(url) for url in dict.fromkeys(urls)), Limits())
    served = _library()
    hosts = [*_OWN_NAMES, host] if is_own(host) else ["*"]
    with _listener(host, port) as listener:
        asyncio.run(served.serve(board, hosts, listener, lambda: _tell(listener, host)))
    return 0


def is_own(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _library() -> ModuleType:
    try:
        return importlib.import_module("headrace.dashboard.serve")
    except ImportError as error:
        raise BackendMissing(
            f"the dashboard needs NiceGUI: pip install 'headrace[dashboard]' ({error})"
        ) from error


@contextlib.contextmanager
def _listener(host: str, port: int) -> Iterator[socket.socket]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, _, _, _, address = found[0]
        listener = socket.create_server(address[:2], family=family)
    except (OSError, UnicodeError) as error:  # the latter of what is no name of a host
        reason = getattr(error, "strerror", None) or error
        raise StartError(
            f"cannot listen on {host}:{port}: {reason}; choose others with --host and --port"
        ) from error
    with listener:
        yield listener


def _tell(listener: socket.socket, host: str) -> None:
    """Say where it is, and who may come."""
    address, port = listener.getsockname()[:2]
    shown = f"[{address}]" if ":" in address else address
    sys.stdout.write(f"Headrace dashboard: http://{shown}:{port}\n")
    sys.stdout.flush()
    if not is_own(host):
        sys.stderr.write(
            "headrace: the dashboard has no login, and whoever can reach it can unload models: "
            f"leave --host {host} out, or let only people you trust reach it\n"
        )
