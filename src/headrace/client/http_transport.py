"""HTTP/1.1 connections that are kept alive, for threads and for an event loop.

httpcore speaks the protocol. Its own pool looks at every connection for each request, which at
sixty of them is most of the time a call takes: here the one used last is used next.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import threading
from collections.abc import Iterator
from typing import Any

import httpcore

from headrace.client.address import Address
from headrace.client.deadline import left
from headrace.client.http_aio_stream import AsyncBackend
from headrace.client.http_stream import Backend, Clock
from headrace.client.question import Answer, Question, Value
from headrace.client.trust import trusting
from headrace.errors import (
    ConnectionFailed,
    ConnectionLost,
    Expired,
    InvalidArgument,
)

CONNECTIONS = 128
"""Open at once; further calls wait for one within their time."""

_KEEP_S = 60.0
_TIMEOUT_HEADER = "headrace-timeout-ms"


class _Messages:
    """What both transports know of the server: how to write a request, and read an answer."""

    def __init__(self, address: Address) -> None:
        self.address = address
        host = address.host.encode()
        self.scheme, self.host = address.scheme.encode(), host
        self.origin = httpcore.Origin(self.scheme, host, address.port)
        always = {"host": address.authority, **address.headers}
        self._always = [(name.encode(), value.encode()) for name, value in always.items()]

    def tls(self) -> ssl.SSLContext | None:
        """How to encrypt, or None."""
        return trusting(self.address) if self.address.secure else None

    def write(self, question: Question[Value], left_s: float) -> dict[str, Any]:
        """The arguments of httpcore's ``request``."""
        headers = [
            *self._always,
            (_TIMEOUT_HEADER.encode(), b"%.3f" % (left_s * 1e3)),
            *[(name.encode(), value.encode()) for name, value in question.headers],
        ]
        if question.method != "GET":
            headers.append((b"content-length", b"%d" % len(question.body)))
        target = question.path.encode()
        return {
            "method": question.method,
            "url": httpcore.URL(
                scheme=self.scheme, host=self.host, port=self.address.port, target=target
            ),
            "headers": headers,
            "content": question.body or None,
        }


def _read(response: httpcore.Response) -> Answer:
    headers = {name.decode("latin-1").lower(): v.decode("latin-1") for name, v in response.headers}
    return Answer(response.status, headers, response.content)


@contextlib.contextmanager
def _typed(address: Address) -> Iterator[None]:
    """Make typed errors of the library's, and of the sockets'."""
    where = f"{address.scheme}://{address.authority}"
    try:
        yield
    except (TimeoutError, httpcore.TimeoutException) as error:
        raise Expired(f"no answer from {where} in time: raise timeout_s") from error
    except httpcore.ConnectError as error:
        raise ConnectionFailed(f"no connection to {where}: {error}") from error
    except httpcore.LocalProtocolError as error:
        raise InvalidArgument(f"the request cannot be sent: {error}") from error
    except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
        raise ConnectionLost(f"{where} ended the connection before its answer: {error}") from error


def _usable(connection: httpcore.HTTPConnection | httpcore.AsyncHTTPConnection) -> bool:
    return connection.is_available() and not connection.has_expired()


def _closed() -> InvalidArgument:
    return InvalidArgument("this client is closed: make another one")


class HttpTransport:
    """A transport for threads; see ``question.Transport``."""

    def __init__(self, address: Address) -> None:
        self._messages = _Messages(address)
        self._tls = self._messages.tls()
        self._pools = {os.getpid(): _Pool()}
        self._open = True

    def send(self, question: Question[Value], ends_s: float) -> Answer:
        """See ``question.Transport``."""
        if not self._open:
            raise _closed()
        pool = self._pools.get(os.getpid()) or self._begin()
        if not pool.free.acquire(timeout=left(ends_s)):
            raise Expired(f"none of {CONNECTIONS} connections was free in time")
        try:
            connection = pool.take() or _Connection(self._messages.origin, self._tls)
            try:
                with _typed(self._messages.address):
                    request = self._messages.write(question, left(ends_s))
                    answer = _read(connection.request(ends_s, request))
            except BaseException:
                connection.http.close()
                raise
            pool.put(connection)
            if not self._open:
                pool.close()
        finally:
            pool.free.release()
        return answer

    def close(self) -> None:
        """See ``question.Transport``."""
        self._open = False
        for pool in list(self._pools.values()):
            pool.close()

    def _begin(self) -> _Pool:
        """A pool for this process, which was forked: its parent goes on with the other."""
        ours = self._pools.setdefault(os.getpid(), _Pool())
        for pool in list(self._pools.values()):
            if pool is not ours:
                pool.close()
        return ours


class _Pool:
    """The connections of one process that rest, and how many it may have."""

    def __init__(self) -> None:
        self._idle: list[_Connection] = []
        self.free = threading.Semaphore(CONNECTIONS)

    def take(self) -> _Connection | None:
        """The one that was used last and can be used again."""
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return None
            if _usable(connection.http):
                return connection
            connection.http.close()

    def put(self, connection: _Connection) -> None:
        """Keep one that has its answer."""
        self._idle.append(connection)
        # Who is used last is taken next, so after a burst nobody else looks at the others.
        with contextlib.suppress(IndexError, ValueError):  # another thread has just taken it
            while not _usable((coldest := self._idle[0]).http):
                self._idle.remove(coldest)
                coldest.http.close()

    def close(self) -> None:
        """Close them: only our descriptors, other processes that have the same go on."""
        while self._idle:
            with contextlib.suppress(IndexError):  # a call in another thread took the last one
                self._idle.pop().http.close()


class _Connection:
    """One connection: httpcore's, over streams that know when the call must end."""

    def __init__(self, origin: httpcore.Origin, tls: ssl.SSLContext | None) -> None:
        self._clock = Clock()
        self.http = httpcore.HTTPConnection(
            origin,
            ssl_context=tls,
            keepalive_expiry=_KEEP_S,
            network_backend=Backend(self._clock),
        )

    def request(self, ends_s: float, request: dict[str, Any]) -> httpcore.Response:
        """Send and wait for the whole answer."""
        self._clock.ends_s = ends_s
        return self.http.request(**request)


class AsyncHttpTransport:
    """A transport for an event loop; see ``question.AsyncTransport``."""

    def __init__(self, address: Address) -> None:
        self._messages = _Messages(address)
        self._tls = self._messages.tls()
        self._idle: list[httpcore.AsyncHTTPConnection] = []
        self._free = asyncio.Semaphore(CONNECTIONS)
        self._open = True

    async def send(self, question: Question[Value], ends_s: float) -> Answer:
        """See ``question.AsyncTransport``."""
        if not self._open:
            raise _closed()
        with _typed(self._messages.address):
            async with asyncio.timeout(left(ends_s)), self._free:
                connection = await self._take(ends_s)
                try:
                    request = self._messages.write(question, left(ends_s))
                    answer = _read(await connection.request(**request))
                except BaseException:
                    await connection.aclose()
                    raise
        self._idle.append(connection)
        if not self._open:
            await self.close()
        while self._idle and not _usable(self._idle[0]):  # as above
            await self._idle.pop(0).aclose()
        return answer

    async def close(self) -> None:
        """See ``question.AsyncTransport``."""
        self._open = False
        while self._idle:
            await self._idle.pop().aclose()

    async def _take(self, ends_s: float) -> httpcore.AsyncHTTPConnection:
        while self._idle:
            connection = self._idle.pop()
            if _usable(connection):
                return connection
            await connection.aclose()
        return httpcore.AsyncHTTPConnection(
            self._messages.origin,
            ssl_context=self._tls,
            keepalive_expiry=_KEEP_S,
            network_backend=AsyncBackend(ends_s),
        )
