"""The one ASGI application: read the body, find the front, answer, count.

Whatever goes wrong on the way becomes a typed error here and nowhere else.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import structlog

from headrace.errors import HeadraceError, InternalError, QueueFull, RouteNotFound
from headrace.receiver import grpc, http
from headrace.receiver.catalog import Catalog
from headrace.receiver.contract import Infer, Receive
from headrace.receiver.exchange import Core, Exchange, Headers, Reply, smaller
from headrace.receiver.oip_grpc import OipGrpc
from headrace.receiver.routes import Routes
from headrace.receiver.tfserving_grpc import TfServingGrpc
from headrace.settings import ServerSettings

Send = Callable[[dict[str, Any]], Any]


class Application:
    """Answers every request of every protocol; for ASGI scopes of type ``http``."""

    def __init__(
        self,
        catalog: Catalog,
        infer: Infer,
        settings: ServerSettings,
        metrics_page: Callable[[], bytes],
        refused: Counter[str],
    ) -> None:
        core = Core(catalog, infer)
        self._methods = {**OipGrpc(core).methods(), **TfServingGrpc(core).methods()}
        self._routes = Routes(core, metrics_page)
        self._limit_bytes = int(settings.max_body_mib * 2**20)
        self._max_inflight = settings.max_inflight
        self._refused = refused
        self._inflight = 0
        self._log = structlog.get_logger("headrace.receiver")

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """ASGI 3, one request."""
        arrival_s = time.monotonic()
        headers: Headers = dict(scope["headers"])
        exchange = Exchange(headers, receive, arrival_s, None)
        is_grpc = headers.get(b"content-type", b"").startswith(grpc.CONTENT_TYPE)
        self._inflight += 1
        try:
            if self._inflight > self._max_inflight:
                raise QueueFull(f"{self._inflight - 1} requests are in the server already")
            if is_grpc:
                message = await self._grpc(exchange, scope["path"])
                self._count(exchange, "ok")
                await send(grpc.START)
                await send({"type": "http.response.body", "body": grpc.frame(message)})
                await send(grpc.OK_TRAILERS)
            else:
                reply = await self._http(exchange, scope["method"], scope["path"])
                self._count(exchange, "ok")
                await _respond(send, reply)
        except HeadraceError as error:
            await self._refuse(exchange, error, scope, send)
        except asyncio.CancelledError:
            self._count(exchange, "cancelled")
            raise
        except Exception as error:  # noqa: BLE001 - the border of a request
            self._log.exception("request_failed", path=scope["path"])
            wrapped = InternalError(f"a bug of the server: {type(error).__name__}: {error}")
            await self._refuse(exchange, wrapped, scope, send)
        finally:
            self._inflight -= 1

    async def _grpc(self, exchange: Exchange, path: str) -> bytes:
        headers = exchange.headers
        timeout = headers.get(b"grpc-timeout")
        if timeout is not None:
            exchange.timeout_s = grpc.read_timeout(timeout)
        handler = self._methods.get(path)
        if handler is None:
            raise RouteNotFound(f"unknown gRPC method {path}")
        body = await http.read_body(exchange.receive, headers, self._limit_bytes + 5)
        encoding = headers.get(b"grpc-encoding", b"identity")
        exchange.body = grpc.unframe(body, encoding, self._limit_bytes)
        message: bytes = await handler(exchange)
        return message

    async def _http(self, exchange: Exchange, method: str, path: str) -> Reply:
        headers = exchange.headers
        handler = self._routes.find(method, path)
        exchange.timeout_s = smaller(exchange.timeout_s, http.read_timeout(headers))
        if method != "GET":
            body = await http.read_body(exchange.receive, headers, self._limit_bytes)
            exchange.body = http.decode(body, headers, self._limit_bytes)
        return await handler(exchange)

    def _count(self, exchange: Exchange, outcome: str) -> None:
        served = exchange.served
        if served is None:
            if outcome != "ok":
                self._refused[outcome] += 1
            return
        metrics = served.metrics
        metrics.outcomes[outcome] += 1
        if exchange.answered_s:
            now_s = time.monotonic()
            metrics.encode.observe(now_s - exchange.answered_s)
            metrics.total.observe(now_s - exchange.arrival_s)

    async def _refuse(
        self, exchange: Exchange, error: HeadraceError, scope: dict[str, Any], send: Send
    ) -> None:
        self._count(exchange, error.code)
        if exchange.headers.get(b"content-type", b"").startswith(grpc.CONTENT_TYPE):
            await send(grpc.refusal(error))
            await send({"type": "http.response.body", "body": b""})
        else:
            await _respond(send, http.refusal(error, pretty=scope["path"].startswith("/v1/")))


async def _respond(send: Send, reply: Reply) -> None:
    headers = [*reply.headers, (b"content-length", str(len(reply.body)).encode())]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})
