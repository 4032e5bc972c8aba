"""What httpcore reads from and writes to in an event loop.

asyncio's own streams do not say whether something rests in them, and give nothing that came before
the server hung up on a request; anyio's, which httpcore would take, are twice as dear.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Iterable
from typing import Any

import httpcore

from headrace.client.sockets import connect_async, has_news

_AHEAD_BYTES = 1 << 20  # read before it is asked for


class AsyncBackend(httpcore.AsyncNetworkBackend):
    """Makes the streams of one connection, for a call that must end then."""

    def __init__(self, ends_s: float) -> None:
        self._ends_s = ends_s

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002, ASYNC109
        local_address: str | None = None,  # noqa: ARG002
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,  # noqa: ARG002
    ) -> httpcore.AsyncNetworkStream:
        """See httpcore."""
        loop = asyncio.get_running_loop()
        try:
            places = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            connection = await connect_async(places, self._ends_s)
            _, stream = await loop.create_connection(_Stream, sock=connection)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(error) from error
        except OSError as error:
            raise httpcore.ConnectError(error) from error
        return stream


class _Stream(asyncio.Protocol, httpcore.AsyncNetworkStream):
    """One connection; httpcore does one thing at a time with it, so that one task waits at most."""

    def __init__(self) -> None:
        self._transport: Any = None
        self._arrived: deque[bytes] = deque()
        self._arrived_bytes = 0
        self._full = False  # what is written waits here for the server
        self._ended = False
        self._failure: Exception | None = None
        self._change: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._arrived.append(data)
        self._arrived_bytes += len(data)
        if self._arrived_bytes > _AHEAD_BYTES:
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        self._ended = True
        self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        self._ended = True
        self._failure = error
        self._wake()

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._wake()

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002, ASYNC109
        """The next piece, of the size in which it came: httpcore takes larger ones, too."""
        while not self._arrived:
            if self._failure is not None:
                raise httpcore.ReadError(self._failure) from self._failure
            if self._ended:
                return b""
            await self._changed()
        piece = self._arrived.popleft()
        if self._arrived_bytes > _AHEAD_BYTES:
            self._transport.resume_reading()
        self._arrived_bytes -= len(piece)
        return piece

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002, ASYNC109
        if not self._ended:
            self._transport.write(buffer)
        while self._full and not self._ended:
            await self._changed()
        if self._ended:  # httpcore reads on: an answer may have come before the end
            raise httpcore.WriteError("the connection has ended")

    async def aclose(self) -> None:
        # Nothing is left to be said, and over TLS a polite end would outlive the event loop.
        self._transport.abort()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002, ASYNC109
    ) -> httpcore.AsyncNetworkStream:
        loop = asyncio.get_running_loop()
        try:
            self._transport = await loop.start_tls(
                self._transport, self, ssl_context, server_hostname=server_hostname
            )
        except OSError as error:
            raise httpcore.ConnectError(error) from error
        return self

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":  # of a connection that rests, which has nothing to be told
            return bool(self._arrived) or self._ended or self._has_news()
        return self._transport.get_extra_info(info)

    def _has_news(self) -> bool:
        """Whether there is something that the event loop had no time yet to fetch."""
        return has_news(self._transport.get_extra_info("socket").fileno())

    async def _changed(self) -> None:
        self._change = asyncio.get_running_loop().create_future()
        await self._change

    def _wake(self) -> None:
        if self._change is not None and not self._change.done():
            self._change.set_result(None)
