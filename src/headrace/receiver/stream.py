"""One gRPC stream: its messages as they come, the answers as they are sent, and its end.

Nothing is read ahead of whoever takes the messages but one chunk, so a client that sends faster
than it is served is held back by HTTP/2 itself; and ``send`` waits while a client does not read.
When the server drains, no further message is taken: what is in flight is answered, and the stream
ends as ``UNAVAILABLE``, so that a client which only listens does not hold up SIGTERM.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol

from headrace.errors import Cancelled, Draining, Expired, HeadraceError
from headrace.receiver import grpc
from headrace.receiver.catalog import Catalog
from headrace.receiver.codecs.frames import FrameDecoder
from headrace.receiver.exchange import Event, Exchange
from headrace.receiver.on_demand import OnDemand

Send = Callable[[dict[str, Any]], Any]

# How often whoever only listens is asked whether it is there: after the end of its body nothing
# tells us that it has left.
_PRESENCE_S = 1.0


class Border(Protocol):
    """What the application does at the border of each request, here of each message."""

    on_demand: OnDemand

    def translate(self, error: Exception) -> HeadraceError:
        """Make a typed error of whatever came."""

    def count(self, exchange: Exchange, outcome: str) -> None:
        """Count how it ended."""

    def take_place(self) -> bool:
        """Take a place for one more message beside a stream's first, if there is one for it."""

    def give_place(self) -> None:
        """Give it back."""


class Stream:
    """For handlers: ``messages`` to read, ``send`` to answer."""

    def __init__(
        self, exchange: Exchange, send: Send, limit_bytes: int, catalog: Catalog, border: Border
    ) -> None:
        self.exchange = exchange
        self.border = border
        self.started = False
        self._send = send
        self._limit_bytes = limit_bytes
        self._catalog = catalog
        self._encoding = exchange.headers.get(b"grpc-encoding")
        self._coding = grpc.answer_coding(exchange.headers, self._encoding or b"")
        self._pending: asyncio.Future[Event] | None = None
        self._body_ended = False
        self._gone = False

    async def messages(self) -> AsyncIterator[bytes]:
        """Every message of the client, until it has sent its last.

        Raises:
            Cancelled: the client has left.
            Draining: the server ends; nothing more is taken.
            HeadraceError: a frame that cannot be read.
        """
        decoder = FrameDecoder(self._limit_bytes)
        while not self._body_ended:
            event = await self._next()
            self._body_ended = not event.get("more_body")
            for compressed, message in decoder.feed(event.get("body", b"")):
                if compressed:
                    yield await grpc.decompress(message, self._encoding, self._limit_bytes)
                else:
                    yield message
        decoder.finish()

    async def send(self, message: bytes) -> None:
        """Send one message, and wait while the client does not read.

        Raises:
            Cancelled: the client has left.
        """
        await self.put(await self.pack(message))

    async def pack(self, message: bytes) -> bytes:
        """A message as it is ``put``, compressed if its client wants that."""
        coding = self._coding
        return grpc.frame(message) if coding is None else await grpc.pack(message, coding)

    def put(self, packed: bytes) -> Awaitable[None]:
        """Begin to send: messages leave in the order of the calls, nobody waits for the other.

        To be awaited at once; then it waits and raises as ``send`` does.
        """
        # Who is cut off meanwhile is not to cancel pyvoy's future: it answers it all the same.
        events = [{"type": "http.response.body", "body": packed, "more_body": True}]
        if not self.started:
            self.started = True
            events.insert(0, grpc.start(self._coding))
        return self._told([asyncio.shield(self._send(event)) for event in events])

    async def _told(self, sent: list[asyncio.Future[None]]) -> None:
        try:
            await (sent[0] if len(sent) == 1 else asyncio.gather(*sent))
        except OSError as error:
            self._gone = True
            raise Cancelled("the client closed the stream") from error
        finally:
            del sent  # an error's traceback holds this frame: a cycle

    async def changed(self, bell: asyncio.Future[None]) -> None:
        """Wait until it rings; what the client still sends is not looked at.

        Raises:
            Cancelled: the client has left.
            Draining: the server ends.
        """
        self._refuse_when_draining()
        while not bell.done():
            await asyncio.wait({bell}, timeout=_PRESENCE_S)
            self._skip()
            self._refuse_the_gone(await self._presence())
        self._refuse_when_draining()

    def item(self) -> Exchange:
        """An exchange for one message of this stream: its headers, and its own time of arrival."""
        exchange = Exchange(self.exchange.headers, self._presence, time.monotonic())
        exchange.received_s = exchange.arrival_s
        if self.exchange.timeout_s is not None:
            spent_s = exchange.arrival_s - self.exchange.arrival_s
            exchange.timeout_s = max(0.0, self.exchange.timeout_s - spent_s)
        return exchange

    @property
    def cut_off_as(self) -> str:
        """The outcome of a request that ends because its stream has."""
        return Cancelled.code if self._gone else Expired.code

    def _presence(self) -> asyncio.Future[Event]:
        """Tell at once whether the client is there, without taking anything from the stream."""
        pending = None if self._body_ended else self._receive()
        if not self._gone and (pending is None or _is_last(pending)):
            return self.exchange.listen()
        gone = self._gone or (pending is not None and _is_end(pending))
        answer: asyncio.Future[Event] = asyncio.get_running_loop().create_future()
        answer.set_result({"type": "http.disconnect" if gone else "http.request"})
        return answer

    def _skip(self) -> None:
        """Drop a chunk that nobody will read: behind it stands whether the client has left."""
        pending = self._pending
        if pending is not None and pending.done() and not _is_end(pending):
            self._pending = None
            self._body_ended = _is_last(pending)

    async def _next(self) -> Event:
        """The next chunk of the body, or the end that comes first."""
        while True:
            self._refuse_when_draining()
            event, bell = self._receive(), self._catalog.bell.listen()
            try:
                waited: set[asyncio.Future[Any]] = {event, bell}
                await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            finally:
                bell.cancel()
            if event.done():
                return self._take(event)

    def _receive(self) -> asyncio.Future[Event]:
        """The event that is waited for; it outlives who waits, for it cannot be asked for twice."""
        if self._pending is None:
            self._pending = self.exchange.listen()
        return self._pending

    def _take(self, event: asyncio.Future[Event]) -> Event:
        self._pending = None
        found = event.result()
        self._refuse_the_gone(found)
        return found

    def _refuse_the_gone(self, event: Event) -> None:
        if event["type"] != "http.request":
            self._gone = True
            raise Cancelled("the client closed the stream")

    def _refuse_when_draining(self) -> None:
        if self._catalog.draining:
            raise Draining("the server is shutting down: open the stream again, at another one")


def _is_last(event: asyncio.Future[Event]) -> bool:
    """Whether it came, and is the last chunk of the body."""
    if not event.done() or _is_end(event):
        return False
    return not event.result().get("more_body")


def _is_end(event: asyncio.Future[Event]) -> bool:
    """Whether it came, and says that the client has left."""
    return event.done() and event.result()["type"] != "http.request"


StreamHandler = Callable[[Stream], Awaitable[None]]
"""Reads a stream's messages and answers them; returning ends the stream well."""


async def serve(stream: Stream, handler: StreamHandler, send: Send) -> str:
    """Run a handler within the client's deadline and end its stream; return the outcome."""
    typed: HeadraceError | None = None
    try:
        async with asyncio.timeout(stream.exchange.timeout_s):
            await handler(stream)
    except TimeoutError:
        typed = Expired(f"the stream's deadline of {stream.exchange.timeout_s:g} s has passed")
    except Exception as error:  # noqa: BLE001 - the border of a request
        typed = stream.border.translate(error)
    outcome = "ok" if typed is None else typed.code
    if stream.started or typed is None:
        ends = [{"type": "http.response.body", "body": b""}, grpc.trailers(typed)]
        ends = ends if stream.started else [grpc.START, *ends]
    else:
        ends = [grpc.refusal(typed), {"type": "http.response.body", "body": b""}]
    del typed  # its traceback holds this frame: a cycle
    try:
        for end in ends:
            await send(end)
    except OSError:  # what ASGI raises when the client has left
        outcome = Cancelled.code
    return outcome
