"""One request on its way through a front, and the one function in which all fronts meet."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple, Protocol

from headrace.engine_control import SignatureMessage
from headrace.errors import NotAllowed
from headrace.observe.phases import Phases, Run
from headrace.observe.together import Topic
from headrace.order import Order
from headrace.receiver.catalog import Catalog, ServedModel
from headrace.receiver.codecs import json_tensor
from headrace.receiver.codecs.decoded import FIRST_ONLY, Dialect
from headrace.receiver.handover.client import ScribeClient
from headrace.receiver.handover.messages import AnswerHead, Reading
from headrace.receiver.sequence_calls import read_headers
from headrace.receiver.tracing.record import Trace
from headrace.receiver.tracing.tracer import Tracer
from headrace.values import Request, Response, SequenceCall, Signature

Event = dict[str, Any]

Receive = Callable[[], Awaitable[Event]]
"""ASGI's receive: after the body it tells, at once, whether the client is still there."""

Headers = dict[bytes, bytes]
"""Lower-case names; of a repeated header the last one counts."""


class Reply(NamedTuple):
    """An HTTP answer."""

    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ((b"content-type", b"application/json"),)


class Change(Protocol):
    """What a request changes, should it be answered: the state of its sequence."""

    async def make(self) -> None:
        """Make it, for its answer is written.

        Raises:
            Cancelled: its client has left, and nothing is changed.
        """

    def drop(self) -> None:
        """Leave all as it was."""


class Exchange:
    """What came in with one request, and what is noted for the metrics.

    ``timeout_s`` is what its headers allow, ``priority`` that of its request; ``load_s`` how long
    it waited for a model that was not in memory, which is not in the others; ``received_s``,
    ``decoded_s`` and ``answered_s`` say when its whole body, its tensors and its outputs were there
    (0: not yet), ``run`` what the last of its batches was; ``trace`` is its trace, if it has one,
    ``change`` what its front's border makes or drops when it knows if there is an answer.
    """

    __slots__ = (
        "answered_s",
        "arrival_s",
        "body",
        "change",
        "decoded_s",
        "headers",
        "id",
        "load_s",
        "priority",
        "receive",
        "received_s",
        "run",
        "served",
        "timeout_s",
        "trace",
    )

    def __init__(self, headers: Headers, receive: Receive, arrival_s: float) -> None:
        self.headers = headers
        self.receive = receive
        self.arrival_s = arrival_s
        self.timeout_s: float | None = None
        self.body: bytes | memoryview = b""
        self.served: ServedModel | None = None
        self.id = ""
        self.priority = 0
        self.load_s = 0.0
        self.received_s = 0.0
        self.decoded_s = 0.0
        self.run: Run | None = None
        self.answered_s = 0.0
        self.trace: Trace | None = None
        self.change: Change | None = None

    def phases(self, now_s: float) -> Phases:
        """Where its time has gone until now."""
        return Phases.of(self, now_s)

    def left_s(self) -> float | None:
        """What is left of the time that its headers allow."""
        if self.timeout_s is None:
            return None
        return self.timeout_s + self.arrival_s - time.monotonic()

    def listen(self) -> asyncio.Future[Event]:
        """Ask ``receive``, for whoever does other things until it answers.

        What pyvoy answers is a future only of a request that has a body.
        """
        answer = self.receive()
        return answer if asyncio.isfuture(answer) else asyncio.ensure_future(answer)

    async def make_change(self) -> None:
        """Its answer is written: what it changes counts from now on.

        Raises:
            Cancelled: its client has left, and nothing is changed.
        """
        if self.change is not None:
            await self.change.make()
            self.change = None

    def drop_change(self) -> None:
        """It is over: a change that was not made until now never is."""
        if self.change is not None:
            self.change.drop()
            self.change = None

    def begin_anew(self) -> None:
        """Its model is there: count as if it had come later by the wait for that.

        Its client's timeout goes on.
        """
        left_s = self.left_s()
        now_s = time.monotonic()
        received_s = self.received_s or self.arrival_s
        receive_s = received_s - self.arrival_s
        self.timeout_s = None if left_s is None else max(0.0, left_s) + receive_s
        self.load_s += now_s - received_s
        self.arrival_s, self.received_s = now_s - receive_s, now_s
        self.served = None


Infer = Callable[[Request, ServedModel, Exchange], Awaitable[Response]]
"""Validate, queue, run, process: one request in, its outputs back, or a ``HeadraceError``."""


Glance = Callable[[Exchange, bytes], None]
"""Look at the first chunk of a large message, and raise if the rest need not come."""

Foresee = Callable[[object, int, ServedModel, Exchange], None]
"""Raise what ``Infer`` would now for a request of a form and a priority, whose beginning is here.

Of a form that is not known nothing is foreseen.
"""


def nothing_foreseen(form: object, priority: int, served: ServedModel, exchange: Exchange) -> None:
    """Let everything come."""


Owner = Callable[[ServedModel, SequenceCall], ServedModel]
"""Which version has a sequence that goes on: the one asked, or another of its model."""


def whoever_is_asked(served: ServedModel, call: SequenceCall) -> ServedModel:  # noqa: ARG001
    """Take every sequence for one of the version asked."""
    return served


Command = Callable[[Order, Mapping[str, bytes]], Awaitable[None]]
"""Have the supervisor load, unload or reload models: returns when that is done, or raises why not.

With files (``1/model.onnx`` → content) a ``Load`` is of these, not of what lies where the model is.
"""


async def nobody(order: Order, files: Mapping[str, bytes]) -> None:  # noqa: ARG001
    """Refuse an order where there is no supervisor.

    Raises:
        NotAllowed: always.
    """
    raise NotAllowed(f"nobody is here to carry out the order {order.kind!r}")


Together = Callable[[Topic], Awaitable[str]]
"""What all receivers of the server have counted of a topic, as ``receiver.numbers`` writes it."""


async def nothing(topic: Topic) -> str:  # noqa: ARG001
    """Tell nothing, where nobody counts."""
    return ""


class Core(NamedTuple):
    """What every front works with: the models there are, and the one function that runs them.

    Without a ``scribe`` all JSON is decoded on the event loop. It is one of ``receivers``.
    """

    catalog: Catalog
    infer: Infer
    command: Command = nobody
    scribe: ScribeClient | None = None
    tracer: Tracer | None = None
    together: Together = nothing
    receivers: int = 1
    foresee: Foresee = nothing_foreseen
    owner: Owner = whoever_is_asked

    def find(self, exchange: Exchange, name: str, version: int | None) -> ServedModel:
        """Find the model of an inference and note it for the metrics.

        Raises:
            HeadraceError: it is unknown, not ready or failed.
        """
        served = exchange.served = self.catalog.find(name, version)
        return served

    def find_reader(self, exchange: Exchange, name: str, version: int | None) -> ServedModel:
        """As ``find``, for a body that is read by a signature: of who has its sequence.

        Raises:
            HeadraceError: as ``find``, or the headers of a sequence cannot be read.
        """
        served = self.find(exchange, name, version)
        return served if version is not None else self.reader(exchange, served)

    def reader(
        self, exchange: Exchange, served: ServedModel, call: SequenceCall | None = None
    ) -> ServedModel:
        """Who reads a request that names no version: who has its sequence, or else who is asked.

        Without a call its headers say which that is.

        Raises:
            MalformedRequest: they cannot be read.
        """
        if served.settings.sequence is None:
            return served
        call = call or read_headers(exchange.headers)
        if call is not None and not call.start:
            served = exchange.served = self.owner(served, call)
        return served

    async def parse(
        self,
        exchange: Exchange,
        dialect: Dialect,
        signature: Signature | None = None,
        *,
        text: memoryview | None = None,
    ) -> dict[str, Any]:
        """Parse a JSON body; of a large one the tensors come ``Decoded`` from the scribe, if awake.

        The Open Inference Protocol needs no signature: its bodies say what they are. ``text`` is
        the part of a body that is JSON, where that is not all.

        Raises:
            HeadraceError: it is no JSON object, or could not be decoded in time.
        """
        body = exchange.body if text is None else text
        if self.scribe is None or not self.scribe.takes(len(body)):
            return json_tensor.parse(body, first_only=dialect in FIRST_ONLY)
        wrapped = None if signature is None else SignatureMessage.of(signature)
        return await self.scribe.decode(body, dialect, wrapped, exchange.left_s())

    async def encode(
        self,
        exchange: Exchange,
        dialect: Dialect,
        response: Response,
        *,
        rows: bool = False,
        reading: Reading | None = None,
    ) -> bytes | None:
        """Encode a large answer beside the event loop; None for one that need not be.

        Raises:
            HeadraceError: it cannot be encoded, or could not in time.
        """
        outputs = response.outputs
        size = sum(
            0 if array.dtype.hasobject else json_tensor.written(array) * array.itemsize
            for array in outputs.values()
        )
        if self.scribe is None or not self.scribe.takes(size):
            return None
        head = AnswerHead(
            model=response.model,
            version=response.version,
            id=response.id,
            rows=rows,
            reading=reading,
        )
        return await self.scribe.encode(dialect, head, outputs, exchange.left_s())

    def run(self, exchange: Exchange, served: ServedModel, request: Request) -> Awaitable[Response]:
        """Run a decoded request: decoding ends here, which began when its body was there.

        Raises:
            HeadraceError: whatever kept it from being answered.
        """
        exchange.decoded_s = now_s = time.monotonic()
        exchange.id = request.id
        tracer = self.tracer
        if tracer is not None and tracer.on:
            exchange.trace = tracer.begin(request, served.name, served.version, now_s)
        return self.infer(request, served, exchange)


def smaller(first: float | None, second: float | None) -> float | None:
    """The shorter of two timeouts, either of which may not have been given."""
    if first is None or second is None:
        return second if first is None else first
    return min(first, second)
