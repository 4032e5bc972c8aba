"""One request on its way through a front: what came in, and what is noted for the metrics."""

from __future__ import annotations

import time
from typing import NamedTuple

from headrace.receiver.catalog import Catalog, ServedModel
from headrace.receiver.contract import Infer, Receive
from headrace.values import Request, Response

Headers = dict[bytes, bytes]
"""Lower-case names; of a repeated header the last one counts."""


class Reply(NamedTuple):
    """An HTTP answer."""

    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ((b"content-type", b"application/json"),)


class Exchange:
    """What a front needs of one request; ``timeout_s`` is what its headers allow."""

    __slots__ = ("answered_s", "arrival_s", "body", "headers", "receive", "served", "timeout_s")

    def __init__(
        self, headers: Headers, receive: Receive, arrival_s: float, timeout_s: float | None
    ) -> None:
        self.headers = headers
        self.receive = receive
        self.arrival_s = arrival_s
        self.timeout_s = timeout_s
        self.body: bytes | memoryview = b""
        self.served: ServedModel | None = None
        self.answered_s = 0.0


class Core(NamedTuple):
    """What every front works with: the models there are, and the one function that runs them."""

    catalog: Catalog
    infer: Infer

    def find(self, exchange: Exchange, name: str, version: int | None) -> ServedModel:
        """Find the model and note it for the metrics.

        Raises:
            HeadraceError: it is unknown, not ready or failed.
        """
        served = exchange.served = self.catalog.find(name, version)
        return served

    async def run(self, exchange: Exchange, served: ServedModel, request: Request) -> Response:
        """Run a decoded request; decoding ends, and encoding begins, here.

        Raises:
            HeadraceError: whatever kept it from being answered.
        """
        served.metrics.decode.observe(time.monotonic() - exchange.arrival_s)
        response = await self.infer(request, served, exchange.receive)
        exchange.answered_s = time.monotonic()
        return response


def smaller(first: float | None, second: float | None) -> float | None:
    """The shorter of two timeouts, either of which may not have been given."""
    if first is None or second is None:
        return second if first is None else first
    return min(first, second)
