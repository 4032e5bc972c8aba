"""``ModelStreamInfer``: requests in, answers out in the same order, on one stream.

Sources: Triton's grpc_service.proto, and its stream_infer_handler.cc for models that are not
decoupled: clients may pair answers with requests by their order, and read from
``triton_final_response`` that there is no further one. Requests run beside each other, so that they
share batches; those of one ``sequence_id`` run one after the other. What is wrong with one request
is told in its answer, and the stream goes on.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import NamedTuple

from headrace.errors import Cancelled, HeadraceError, NotResident
from headrace.receiver.codecs import wire
from headrace.receiver.codecs.protobuf import message, read_parameters
from headrace.receiver.exchange import Exchange
from headrace.receiver.oip.grpc import SCAN_BYTES, InferResponse, OipGrpc, parse
from headrace.receiver.stream import Border, Stream, StreamHandler

INFLIGHT = 128
"""Requests of one stream that run or wait; the next is read when the first of them is answered."""

FINAL = "triton_final_response"
SEQUENCE = "sequence_id"

_StreamResponse = message("inference.ModelStreamInferResponse")
_INFER_RESPONSE_TAG = b"\x12"  # field 2, length-delimited
# Bytes that may follow those of a response: protobuf joins messages so.
_LAST = InferResponse()
_LAST.parameters[FINAL].bool_param = True
_LAST_BYTES = bytes(_LAST.SerializeToString())
# Whether a small request must be looked into is told by these bytes: decoding it twice costs more.
# Of a large one decoding is the cheaper: it copies no tensors, and does not look through them.
_MARK = SEQUENCE.encode()


class Turn(NamedTuple):
    """What a request waits for before it runs and before it is answered, and what it then rings."""

    sequence: object
    runs_after: asyncio.Event | None
    answered_after: asyncio.Event | None
    ran: asyncio.Event
    answered: asyncio.Event


class Order:
    """The order of one stream: answers leave as requests came, a sequence runs so, too."""

    def __init__(self) -> None:
        self._answered: asyncio.Event | None = None
        self._ran: dict[object, asyncio.Event] = {}

    def queue(self, sequence: object) -> Turn:
        """The turn of the next request, which may be of a sequence."""
        ran, answered = asyncio.Event(), asyncio.Event()
        turn = Turn(sequence, self._ran.get(sequence), self._answered, ran, answered)
        self._answered = answered
        if sequence is not None:
            self._ran[sequence] = ran
        return turn

    def end(self, turn: Turn) -> None:
        """Let those after it go, however it ended."""
        turn.ran.set()
        turn.answered.set()
        if self._ran.get(turn.sequence) is turn.ran:
            del self._ran[turn.sequence]


class Room:
    """How many requests of one stream run or wait: the first has the stream's own place."""

    def __init__(self, border: Border) -> None:
        self._border = border
        self._inside = 0
        self._left = asyncio.Event()

    async def enter(self) -> None:
        """Wait for a place, until one of the others is answered: they end, so this does."""
        while self._inside and (self._inside == INFLIGHT or not self._border.take_place()):
            self._left.clear()
            await self._left.wait()
        self._inside += 1

    def leave(self) -> None:
        """One is answered."""
        self._inside -= 1
        if self._inside:
            self._border.give_place()
        self._left.set()


class OipStream:
    """The streaming half of the ``inference.GRPCInferenceService`` front."""

    def __init__(self, oip: OipGrpc) -> None:
        self._oip = oip

    def streams(self) -> dict[str, StreamHandler]:
        """Method path → handler of a stream."""
        return {"/inference.GRPCInferenceService/ModelStreamInfer": self.infer}

    async def infer(self, stream: Stream) -> None:
        """ModelStreamInfer.

        Raises:
            HeadraceError: what ended the stream, once all that was taken is answered.
        """
        end: HeadraceError | None = None
        try:
            async with asyncio.TaskGroup() as group:
                try:
                    await self._take(stream, group)
                except HeadraceError as error:  # not out of the group: it would cancel the others
                    # Anew: that one's traceback holds this frame, and with it all that was read.
                    end = type(error)(error.message)
        except asyncio.CancelledError as late:  # its traceback holds the frame of the group's end
            raise late.with_traceback(None)  # noqa: B904 - it is the same
        if end is not None:
            try:
                raise end
            finally:
                del end

    async def _take(self, stream: Stream, group: asyncio.TaskGroup) -> None:
        """Start a task for each request, as many as there is room for."""
        room, order = Room(stream.border), Order()

        def leave(turn: Turn, _: asyncio.Task[None]) -> None:
            order.end(turn)
            room.leave()

        async for body in stream.messages():
            await room.enter()
            turn = order.queue(_sequence(body))
            task = group.create_task(self._answer(stream, body, turn))
            task.add_done_callback(partial(leave, turn))

    async def _answer(self, stream: Stream, body: bytes, turn: Turn) -> None:
        """Run one request, send what came of it in its turn, and count it, however it ends."""
        exchange = stream.item()
        exchange.body = body
        try:
            if turn.runs_after is not None:
                await turn.runs_after.wait()
            outcome, answer = await self._run(stream, body, exchange)
            turn.ran.set()
            packed = await stream.pack(answer)
            if turn.answered_after is not None and outcome != Cancelled.code:  # nobody reads those
                await turn.answered_after.wait()
            try:
                sending = stream.put(packed)
                turn.answered.set()
                await sending
            except HeadraceError as error:  # the client has left; the reader hears of it too
                outcome = error.code
        except asyncio.CancelledError:
            stream.border.count(exchange, stream.cut_off_as)
            raise
        stream.border.count(exchange, outcome)

    async def _run(self, stream: Stream, body: bytes, exchange: Exchange) -> tuple[str, bytes]:
        """The outcome, and what to send."""
        try:
            try:
                response = await self._oip.infer(exchange)
            except NotResident as absent:
                on_demand = stream.border.on_demand
                response = await on_demand.answer(self._oip.infer, exchange, absent.key)
            answer = _wrap(response)
            await exchange.make_change()
        except Exception as error:  # noqa: BLE001 - the border of a request
            typed = stream.border.translate(error)
            code, refusal = typed.code, _refusal(body, typed)
            del typed  # its traceback holds this frame: a cycle
            return code, refusal
        finally:
            exchange.drop_change()
        return "ok", answer


def _sequence(body: bytes) -> object:
    """Which sequence a request is of, None: of none."""
    if len(body) < SCAN_BYTES and _MARK not in body:
        return None
    try:
        return read_parameters(parse(body)[0].parameters).get(SEQUENCE) or None
    except HeadraceError:
        return None  # whoever decodes it to run it says what is wrong


def _wrap(response: bytes) -> bytes:
    size = wire.varint(len(response) + len(_LAST_BYTES))
    return b"".join((_INFER_RESPONSE_TAG, size, response, _LAST_BYTES))


def _refusal(body: bytes, error: HeadraceError) -> bytes:
    """An error, with the request's id where it has one."""
    answer = _StreamResponse(error_message=error.message)
    try:
        answer.infer_response.id = parse(body)[0].id
    except HeadraceError:
        answer.infer_response.id = ""
    answer.infer_response.parameters["headrace-error"].string_param = error.code
    answer.infer_response.parameters[FINAL].bool_param = True
    return bytes(answer.SerializeToString())
