"""``ModelStreamInfer``: requests in, answers out as they are there, on one stream.

Source: Triton's grpc_service.proto. Requests run beside each other, so that they share batches, and
are answered in the order in which they end; those of one ``sequence_id`` keep theirs. What is wrong
with one request is told in its answer, and the stream goes on.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, NamedTuple

from headrace.errors import HeadraceError, NotResident
from headrace.receiver.codecs import wire
from headrace.receiver.codecs.protobuf import message, read_parameters
from headrace.receiver.exchange import Exchange
from headrace.receiver.oip.grpc import SCAN_BYTES, InferResponse, OipGrpc, parse
from headrace.receiver.stream import Border, Stream, StreamHandler

INFLIGHT = 128
"""Requests of one stream that may run or wait; the next is read when one of them is answered."""

FINAL = "triton_final_response"
WANTS_FINAL = "triton_enable_empty_final_response"
SEQUENCE = "sequence_id"

_StreamResponse = message("inference.ModelStreamInferResponse")
_INFER_RESPONSE_TAG = b"\x12"  # field 2, length-delimited
# Whether a small request must be looked into is told by these bytes: decoding it twice costs more.
# Of a large one decoding is the cheaper: it copies no tensors, and does not look through them.
_MARKS = (SEQUENCE.encode(), WANTS_FINAL.encode())


class Wishes(NamedTuple):
    """What a request says that concerns the stream."""

    sequence: object = None
    final: bool = False


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
        room = Room(stream.border)
        last: dict[object, asyncio.Task[None]] = {}

        def leave(sequence: object, task: asyncio.Task[None]) -> None:
            room.leave()
            if last.get(sequence) is task:
                del last[sequence]

        async for body in stream.messages():
            await room.enter()
            wishes = _wishes(body)
            task = group.create_task(self._answer(stream, body, wishes, last.get(wishes.sequence)))
            if wishes.sequence:
                last[wishes.sequence] = task
            task.add_done_callback(partial(leave, wishes.sequence))

    async def _answer(
        self, stream: Stream, body: bytes, wishes: Wishes, before: asyncio.Task[None] | None
    ) -> None:
        """Run one request, send what came of it, and count it, however it ends."""
        exchange = stream.item()
        exchange.body = body
        try:
            if before is not None:
                await asyncio.wait({before})
            outcome = await self._outcome(stream, body, wishes, exchange)
        except asyncio.CancelledError:
            stream.border.count(exchange, stream.cut_off_as)
            raise
        stream.border.count(exchange, outcome)

    async def _outcome(
        self, stream: Stream, body: bytes, wishes: Wishes, exchange: Exchange
    ) -> str:
        outcome = "ok"
        try:
            try:
                response = await self._oip.infer(exchange)
            except NotResident as absent:
                on_demand = stream.border.on_demand
                response = await on_demand.answer(self._oip.infer, exchange, absent.key)
            if wishes.final:
                response += _final(is_final=False)
            answer = _wrap(response)
            await exchange.make_change()
        except Exception as error:  # noqa: BLE001 - the border of a request
            typed = stream.border.translate(error)
            outcome = typed.code
            answer = _refusal(body, typed)
            del typed  # its traceback holds this frame: a cycle
        finally:
            exchange.drop_change()
        try:
            await stream.send(answer)
            if wishes.final and outcome == "ok":
                await stream.send(_wrap(_closing(body)))
        except HeadraceError as error:  # the client has left; the reader hears of it too
            outcome = error.code
        return outcome


def _wishes(body: bytes) -> Wishes:
    if len(body) < SCAN_BYTES and not any(mark in body for mark in _MARKS):
        return Wishes()
    try:
        parameters = read_parameters(parse(body)[0].parameters)
    except HeadraceError:
        return Wishes()  # whoever decodes it to run it says what is wrong
    return Wishes(parameters.get(SEQUENCE) or None, parameters.get(WANTS_FINAL) is True)


def _wrap(response: bytes) -> bytes:
    return b"".join((_INFER_RESPONSE_TAG, wire.varint(len(response)), response))


def _final(*, is_final: bool) -> bytes:
    """The flag, as bytes that may follow those of a response: protobuf joins messages so."""
    response = InferResponse()
    response.parameters[FINAL].bool_param = is_final
    return bytes(response.SerializeToString())


def _closing(body: bytes) -> bytes:
    """The empty response that says that there is no more for this request."""
    request: Any = parse(body)[0]
    response = InferResponse(
        id=request.id, model_name=request.model_name, model_version=request.model_version
    )
    response.parameters[FINAL].bool_param = True
    return bytes(response.SerializeToString())


def _refusal(body: bytes, error: HeadraceError) -> bytes:
    """An error, with the request's id where it has one."""
    answer = _StreamResponse(error_message=error.message)
    try:
        answer.infer_response.id = parse(body)[0].id
    except HeadraceError:
        answer.infer_response.id = ""
    answer.infer_response.parameters["headrace-error"].string_param = error.code
    return bytes(answer.SerializeToString())
