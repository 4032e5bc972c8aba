"""What httpcore reads from and writes to in threads: sockets that know when the call must end.

Its own timeouts count from byte to byte.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterable, Iterator
from typing import Any

import httpcore

from headrace.client.deadline import left
from headrace.client.sockets import connect, has_news


class Clock:
    """When the call that has the connection must end."""

    ends_s = 0.0


class Backend(httpcore.NetworkBackend):
    """Makes the streams of one connection."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002
        local_address: str | None = None,  # noqa: ARG002
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        """See httpcore."""
        with _typed(httpcore.ConnectTimeout, httpcore.ConnectError):
            places = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            connection = connect(places, self._clock.ends_s)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return _Stream(connection, self._clock)


class _Stream(httpcore.NetworkStream):
    """A socket that waits no longer than the call may; httpcore's own timeouts are not asked."""

    def __init__(self, connection: socket.socket, clock: Clock) -> None:
        self._socket = connection
        self._clock = clock

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        with _typed(httpcore.ReadTimeout, httpcore.ReadError):
            self._socket.settimeout(left(self._clock.ends_s))
            return self._socket.recv(max_bytes)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        rest = memoryview(buffer)
        # Where it fails httpcore reads on: an answer may have come before the end.
        with _typed(httpcore.WriteTimeout, httpcore.WriteError):
            while rest:
                self._socket.settimeout(left(self._clock.ends_s))
                rest = rest[self._socket.send(rest) :]

    def close(self) -> None:
        self._socket.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        try:
            with _typed(httpcore.ConnectTimeout, httpcore.ConnectError):
                self._socket.settimeout(left(self._clock.ends_s))
                secure = ssl_context.wrap_socket(self._socket, server_hostname=server_hostname)
        except BaseException:
            self._socket.close()
            raise
        return _Stream(secure, self._clock)

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":  # of a connection that rests, which has nothing to be told
            return has_news(self._socket.fileno())
        if info == "ssl_object":
            return self._socket if isinstance(self._socket, ssl.SSLSocket) else None
        return None


@contextlib.contextmanager
def _typed(late: type[Exception], failed: type[Exception]) -> Iterator[None]:
    """Make httpcore's errors of the socket's."""
    try:
        yield
    except TimeoutError as error:
        raise late(error) from error
    except OSError as error:
        raise failed(error) from error
