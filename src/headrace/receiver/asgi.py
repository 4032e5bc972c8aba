"""The one ASGI application: read the body, find the front, answer, count.

Whatever goes wrong on the way becomes a typed error here and nowhere else.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, NamedTuple

import structlog

from headrace.errors import (
    Cancelled,
    HeadraceError,
    InternalError,
    NotResident,
    QueueFull,
    RouteNotFound,
)
from headrace.receiver import grpc, http
from headrace.receiver.arrival import arrival_s
from headrace.receiver.bodies import Bodies
from headrace.receiver.codecs.compression import WORTH_BYTES
from headrace.receiver.codecs.frames import PREFIX
from headrace.receiver.codecs.limits import QUESTION_BYTES
from headrace.receiver.exchange import Core, Event, Exchange, Glance, Headers, Receive
from headrace.receiver.health import Health
from headrace.receiver.oip.extras import Extras
from headrace.receiver.oip.grpc import OipGrpc
from headrace.receiver.oip.repository import OipRepository
from headrace.receiver.oip.stream import OipStream
from headrace.receiver.on_demand import Ask, OnDemand
from headrace.receiver.plain.slowest import ASKS, passed, timing
from headrace.receiver.reflection import Reflection
from headrace.receiver.routes import Routes
from headrace.receiver.run.departures import PATIENCE_S
from headrace.receiver.spans import Spans, join_states
from headrace.receiver.stream import Send, Stream, serve
from headrace.receiver.tfserving.grpc import TfServingGrpc
from headrace.receiver.tfserving.reload import TfServingReload
from headrace.server_settings import ServerSettings

# gRPC methods that say how we are and run no model.
_QUESTIONS = ("Live", "Ready", "Metadata", "Status", "/Check", "/Watch")
# Whoever only listens, for hours, takes no place of those that ask.
_LISTENS = "/Watch"

_HTTP2 = "2"
_BODILESS = frozenset({"GET", "HEAD"})


class Methods(NamedTuple):
    """Every gRPC method, by its path; ``glances`` look at the first chunk of single messages."""

    single: dict[str, Any]
    glances: dict[str, Glance]
    streams: dict[str, Any]


def methods(core: Core, extras: Extras) -> Methods:
    """Every gRPC method there is."""
    oip, health = OipGrpc(core, extras), Health(core.catalog)
    single = {
        **oip.methods(),
        **OipRepository(core).methods(),
        **TfServingGrpc(core).methods(),
        **TfServingReload(core).methods(),
        **health.methods(),
    }
    streams = {**OipStream(oip).streams(), **health.streams(), **Reflection().streams()}
    return Methods(single, oip.glances(), streams)


class Application:
    """Answers every request of every protocol; for ASGI scopes of type ``http``.

    ``ask`` has a listed version loaded; ``refused`` counts, by reason, what reached no model.
    """

    def __init__(
        self,
        core: Core,
        extras: Extras,
        ask: Ask,
        settings: ServerSettings,
        refused: Counter[str],
    ) -> None:
        self.on_demand = OnDemand(ask, max(1, settings.max_inflight // 2))
        self._extras = extras
        self._spans = Spans.of(settings)
        self._catalog = core.catalog
        self._methods, self._glances, self._streams = methods(core, extras)
        self._routes = Routes(core, extras)
        self._limit_bytes = int(settings.max_body_mib * 2**20)
        self._max_inflight = settings.max_inflight
        self._bodies = Bodies()
        self._refused = refused
        self._inflight = 0
        self._log = structlog.get_logger("headrace.receiver")

    def __call__(
        self, scope: dict[str, Any], receive: Receive, send: Send
    ) -> Coroutine[None, None, None]:
        """ASGI 3, one request; gRPC is told from plain HTTP by its content type."""
        came = scope["headers"]
        headers: Headers = dict(came)
        if self._spans is not None and len(headers) < len(came):  # one came more than once
            join_states(headers, came)
        exchange = Exchange(headers, receive, arrival_s(headers, time.monotonic(), time.time()))
        if grpc.is_grpc(headers.get(b"content-type", b"")):
            return self._grpc(exchange, scope["path"], send, scope["http_version"])
        return self._http(exchange, scope["method"], scope["path"], send)

    def stop(self) -> None:
        """Have the traces written and sent that are not yet; blocks meanwhile."""
        self._extras.stop()
        if self._spans is not None:
            self._spans.stop()

    async def _grpc(self, exchange: Exchange, path: str, send: Send, http_version: str) -> None:
        places = 0 if path.endswith(_LISTENS) else 1
        self._inflight += places
        outcome = "ok"
        try:
            limit_bytes = QUESTION_BYTES
            if not path.endswith(_QUESTIONS):
                self._refuse_excess()
                limit_bytes = self._limit_bytes + PREFIX.size
            headers = exchange.headers
            timeout = headers.get(b"grpc-timeout")
            if timeout is not None:
                exchange.timeout_s = grpc.read_timeout(timeout)
            handler = self._methods.get(path)
            if handler is None:
                await self._stream(exchange, path, send, limit_bytes)
                return
            glance = self._glance(exchange, path, http_version)
            body = await http.read_body(exchange, self._bodies, limit_bytes, glance)
            exchange.received_s = time.monotonic()
            encoding = headers.get(b"grpc-encoding")
            exchange.body = grpc.unframe(body)
            if body[0]:
                inflated_bytes = min(limit_bytes, self._limit_bytes)
                exchange.body = await grpc.decompress(exchange.body, encoding, inflated_bytes)
            try:
                answer = await handler(exchange)
            except NotResident as absent:
                answer = await self.on_demand.answer(handler, exchange, absent.key)
            if encoding is None:
                start, body = grpc.START, grpc.frame(answer)
            else:
                start, body = await self._packed(answer, headers, encoding)
            await exchange.make_change()
        except Exception as error:  # noqa: BLE001 - the border of a request
            typed = self.translate(error)
            outcome = typed.code
            start, body = grpc.refusal(typed), b""
            del typed  # its traceback holds this frame: a cycle, with the body of the request in it
        finally:
            self._inflight -= places
            exchange.drop_change()
        start = _timed(start, exchange)
        try:
            await send(start)
            await send({"type": "http.response.body", "body": body})
            if outcome == "ok":
                await send(grpc.OK_TRAILERS)
        except OSError:  # what ASGI raises when the client has left before its answer
            outcome = Cancelled.code
        self.count(exchange, outcome)

    def _glance(
        self, exchange: Exchange, path: str, http_version: str
    ) -> Callable[[bytes], None] | None:
        """What looks at the first chunk of the body.

        In HTTP/1.1, which browsers may use, nothing stops a body but to close its connection.
        """
        glance = self._glances.get(path)
        if glance is None or http_version != _HTTP2:
            return None
        return partial(glance, exchange)

    async def _http(self, exchange: Exchange, method: str, path: str, send: Send) -> None:
        self._inflight += 1
        outcome = "ok"
        try:
            if method not in _BODILESS:  # who asks how we are is told, even when all is full
                self._refuse_excess()
            headers = exchange.headers
            handler = self._routes.find("GET" if method == "HEAD" else method, path)
            exchange.timeout_s = http.read_timeout(headers)
            if method not in _BODILESS:
                body = await http.read_body(exchange, self._bodies, self._limit_bytes)
                exchange.received_s = time.monotonic()
                encoding = headers.get(b"content-encoding")
                if encoding is not None:
                    body = await http.decode(body, encoding, self._limit_bytes)
                exchange.body = body
            try:
                reply = await handler(exchange)
            except NotResident as absent:
                reply = await self.on_demand.answer(handler, exchange, absent.key)
            if len(reply.body) >= WORTH_BYTES and b"accept-encoding" in headers:
                reply = await http.encode(reply, headers)
            await exchange.make_change()
        except Exception as error:  # noqa: BLE001 - the border of a request
            typed = self.translate(error)
            outcome = typed.code
            reply = http.refusal(typed, pretty=path[:4].lower() == "/v1/")
            del typed  # as above
        finally:
            self._inflight -= 1
            exchange.drop_change()
        if ASKS in exchange.headers:
            reply = reply._replace(headers=(*reply.headers, timing(exchange)))
        length = (b"content-length", b"%d" % len(reply.body))
        there = _asked(exchange)
        try:
            await send(
                {
                    "type": "http.response.start",
                    "status": reply.status,
                    "headers": [*reply.headers, length],
                }
            )
            body = b"" if method == "HEAD" else reply.body
            await send({"type": "http.response.body", "body": body})
            if there is not None and (await there)["type"] == "http.disconnect" and outcome == "ok":
                outcome = Cancelled.code
        except OSError:  # as above
            outcome = Cancelled.code
        self.count(exchange, outcome)

    async def _packed(
        self, answer: bytes, headers: Headers, encoding: bytes
    ) -> tuple[dict[str, Any], bytes]:
        """An answer for a client that compresses."""
        coding = grpc.answer_coding(headers, encoding)
        if coding is None:
            return grpc.START, grpc.frame(answer)
        return grpc.start(coding), await grpc.pack(answer, coding)

    async def _stream(self, exchange: Exchange, path: str, send: Send, limit_bytes: int) -> None:
        """A method of several messages; its handler's errors end the stream, not this call.

        Raises:
            RouteNotFound: there is no such method.
        """
        handler = self._streams.get(path)
        if handler is None:
            raise RouteNotFound(f"unknown gRPC method {path}")
        limit_bytes = min(limit_bytes, self._limit_bytes)
        stream = Stream(exchange, send, limit_bytes, self._catalog, self)
        self.count(exchange, await serve(stream, handler, send))

    def _refuse_excess(self) -> None:
        if self._inflight > self._max_inflight:
            raise QueueFull(
                f"{self._max_inflight} requests are in the server already", retry_after_s=1.0
            )

    def take_place(self) -> bool:
        """Take a place for one more message of a stream, if fewer than half are taken.

        A stream only waits for one; who asks once would be refused, and is left the other half.
        """
        if self._inflight >= self._max_inflight // 2:
            return False
        self._inflight += 1
        return True

    def give_place(self) -> None:
        """The message is answered."""
        self._inflight -= 1

    def translate(self, error: Exception) -> HeadraceError:
        """Make a typed error of whatever came."""
        if isinstance(error, HeadraceError):
            return error
        self._log.error("request_failed", exc_info=error)
        return InternalError(f"a bug of the server: {type(error).__name__}: {error}")

    def count(self, exchange: Exchange, outcome: str) -> None:
        """Count how a request ended."""
        served = exchange.served
        if served is None:
            if outcome != "ok":
                self._refused[outcome] += 1
            return
        metrics = served.metrics
        metrics.outcomes[outcome] += 1
        now_s = time.monotonic()
        waited_s = exchange.load_s + now_s - exchange.arrival_s
        if metrics.slowest.wants(waited_s, now_s):
            metrics.slowest.put(waited_s, passed(exchange, served, outcome, now_s), now_s)
        if self._spans is not None:
            self._spans.note(exchange, served, outcome, now_s)
        if exchange.trace is not None:
            self._extras.tracer.end(exchange.trace, exchange.answered_s, now_s)
        metrics.requests.ended(exchange, outcome, now_s)


def _asked(exchange: Exchange) -> Awaitable[Event] | None:
    """Ask after the client of a request that took long, just before its answer is sent.

    ``send`` does not tell of plain HTTP that nobody is there, and after the answer nobody is. What
    comes of it is looked at when the answer is on its way, so that it waits for nothing.
    """
    return exchange.receive() if exchange.answered_s - exchange.arrival_s > PATIENCE_S else None


def _timed(start: dict[str, Any], exchange: Exchange) -> dict[str, Any]:
    """The start of an answer, with where its time went if its client asked."""
    if ASKS not in exchange.headers:
        return start
    return {**start, "headers": [*start["headers"], timing(exchange)]}
