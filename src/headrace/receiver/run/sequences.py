"""Models with a memory: a request goes through here with what its sequence remembers, and back.

It stands before the dispatcher of one version. What is remembered lies here, not in the engine, so
the death of an engine takes nothing with it; and requests of different sequences share batches like
any others, for what they remember travels with them as inputs do.
"""

from __future__ import annotations

import asyncio
import math
import time
import weakref
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from headrace import settings as cards
from headrace.engine.samples import Sample
from headrace.engine_control import Profile
from headrace.errors import (
    Expired,
    HeadraceError,
    InferenceFailed,
    InvalidInput,
    SequenceNotStarted,
)
from headrace.receiver.catalog import ServedModel
from headrace.receiver.exchange import Exchange
from headrace.receiver.run.departures import refuse_the_gone
from headrace.receiver.run.dispatch import Dispatcher
from headrace.receiver.run.owners import Owners
from headrace.receiver.run.sequence_table import Limits, SequenceTable, State, Turn
from headrace.receiver.run.validate import validate
from headrace.receiver.sequence_calls import read_headers
from headrace.values import Array, Request, RequestedOutput, Response, SequenceCall, Signature


class Remembered(NamedTuple):
    """One tensor that goes from request to request: rows first where the model is batched."""

    input: str
    output: str
    first: Array
    """What one row of a new sequence begins with."""
    batch_axis: int

    def with_rows(self, rows: int) -> tuple[int, ...]:
        """The shape of so many rows, in the layout of a model that runs one at a time."""
        shape = self.first.shape
        return (*shape[: self.batch_axis], rows, *shape[self.batch_axis + 1 :])


class Answer:
    """A turn whose answer is being written: what it remembers counts only if somebody reads it."""

    __slots__ = ("_after", "_exchange", "_sequences", "_turn")

    def __init__(self, sequences: Sequences, turn: Turn, after: State, exchange: Exchange) -> None:
        self._sequences = sequences
        self._turn = turn
        self._after = after
        self._exchange = exchange

    async def make(self) -> None:
        """Remember it.

        Raises:
            Cancelled: the client has left.
        """
        await refuse_the_gone(self._exchange)
        self._sequences.finish(self._turn, self._after)

    def drop(self) -> None:
        """Forget it."""
        self._sequences.abandon(self._turn)


class Sequences:
    """Runs the requests of one served version that has state; for the event loop's thread."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        dispatcher: Dispatcher,
        card: cards.Sequence,
        owners: Owners[Sequences],
    ) -> None:
        served = dispatcher.served
        self.served = served
        self._loop = loop
        self._dispatcher = dispatcher
        self._owners = owners
        self._model_signature = served.profile.signature.unwrap()
        self._signature = card.visible(self._model_signature)
        self._remembered = tuple(_remembered(self._model_signature, one) for one in card.state)
        self._states = tuple(RequestedOutput(one.output) for one in card.state)
        self._slo_s = math.inf if served.settings.slo_ms is None else served.settings.slo_ms / 1e3
        limits = Limits(card.idle_s, card.max_streams, served.settings.max_queue)
        self._max_rows = card.max_streams
        table = self._table = SequenceTable(served.name, limits, _forgetting(self, owners))
        self._timer: asyncio.TimerHandle | None = None
        served.metrics.gauges["sequences"] = lambda: len(table)
        served.metrics.sequences_expired = lambda: table.expired

    # -- a request ---------------------------------------------------------------------------------

    async def infer(self, request: Request, exchange: Exchange) -> Response:
        """Run one request; without an id it is a sequence of its own.

        Raises:
            HeadraceError: whatever kept it from being answered; see ``errors``.
        """
        call = request.sequence or read_headers(exchange.headers)
        if call is None:
            rows = self._check(request)
            response, _ = await self._run(request, exchange, self._beginning(rows))
            return response
        return await self._owners.route(self, call, request.version).go_on(call, request, exchange)

    def owner(self, call: SequenceCall) -> ServedModel:
        """Which version goes on with a sequence, if none is named."""
        return self._owners.route(self, call, None).served

    def foresee(self, form: object, priority: int, exchange: Exchange) -> None:
        """Let everything come: whom it belongs to is known when it is whole."""

    async def go_on(self, call: SequenceCall, request: Request, exchange: Exchange) -> Response:
        """Run one request of a sequence of this version, after those before it.

        The next one's turn comes when the border has made or dropped ``exchange.change``.

        Raises:
            HeadraceError: as ``infer``; what the sequence remembers is then as it was.
        """
        exchange.served = self.served
        if exchange.trace is not None:
            exchange.trace.head["model_version"] = self.served.version
        turn = Turn(call)
        try:
            turn.rows = rows = self._check(request)
            self._table.enter(turn, time.monotonic())
            if not turn.running:
                await self._wait(turn, request)
                await refuse_the_gone(exchange)
            state = self._table.begin(turn) or self._beginning(rows)
            self._check_rows(call.id, rows, state)
            response, after = await self._run(request, exchange, state)
        except BaseException:
            self.abandon(turn)
            raise
        exchange.change = Answer(self, turn, after, exchange)
        return response

    def finish(self, turn: Turn, after: State) -> None:
        """Remember this from now on: the request is as good as answered."""
        if turn.call.start:
            self._owners.settle(self, turn.call.id)
        self._wake(self._table.finish(turn, after, time.monotonic()))

    def abandon(self, turn: Turn) -> None:
        """Leave what is remembered as it was: the request is not answered."""
        turn.payload = None  # its error holds the frame of who waited for it: a cycle
        self._wake(self._table.abandon(turn, time.monotonic()))
        if turn.call.id not in self._table:
            self._owners.drop(self, turn.call.id)

    def _check(self, request: Request) -> int:
        """Check what the client may send and ask for; return the rows."""
        for want in request.outputs:
            if self.served.signature.output(want.name) is None:
                names = ", ".join(spec.name for spec in self.served.signature.outputs)
                raise InvalidInput(f"unknown output {want.name!r}; outputs: {names}")
        rows = validate(self._signature, request.inputs)
        if rows > self._max_rows:
            raise InvalidInput(
                f"the request has {rows} rows, each with a state of its own, and the model may "
                f"keep {self._max_rows}: send fewer at once, or raise sequence.max_streams"
            )
        return rows

    def _check_rows(self, identity: str, rows: int, state: State) -> None:
        if not self._signature.batched:
            return  # run one by one: a state may have no axes
        kept = len(state[self._remembered[0].input])
        if kept != rows:
            raise InvalidInput(
                f"sequence {identity} has {kept} rows, this request {rows}: send as many as in the "
                "first request, or start it anew with sequence_start"
            )

    def _beginning(self, rows: int) -> State:
        """What a new sequence begins with; its rows are one, seen many times: they cost nothing."""
        if not self._signature.batched:
            return {one.input: one.first for one in self._remembered}
        return {
            one.input: np.broadcast_to(one.first, (rows, *one.first.shape))
            for one in self._remembered
        }

    async def _run(
        self, request: Request, exchange: Exchange, state: State
    ) -> tuple[Response, State]:
        """Run it with this state; return the answer without, and the state after."""
        outputs = (*request.outputs, *self._states) if request.outputs else ()
        inputs = {**request.inputs, **state}
        response = await self._dispatcher.infer(
            request._replace(inputs=inputs, outputs=outputs), exchange
        )
        answer = dict(response.outputs)
        # Copies: the arrays are views of those of a whole batch.
        after = {one.input: answer.pop(one.output).copy() for one in self._remembered}
        self._check_state(request, state, after)
        return response._replace(outputs=answer), after

    def _check_state(self, request: Request, before: State, after: State) -> None:
        shape = request.inputs[self._signature.inputs[0].name].shape
        rows = shape[0] if shape else 1
        for one in self._remembered:
            was, now = before[one.input], after[one.input]
            if was.shape == now.shape and was.dtype == now.dtype:
                continue
            # Only its answer tells rows from another axis that is free, as time may be.
            if not self._signature.batched and now.shape == one.with_rows(rows):
                raise InvalidInput(
                    f"the request has {rows} rows, and the model remembers one, for its requests "
                    "run one by one: send a row at a time"
                )
            raise InferenceFailed(
                f"output {one.output!r} has shape {list(now.shape)}, which cannot become input "
                f"{one.input!r} of {list(was.shape)}: correct the card's sequence"
            )

    # -- turns -------------------------------------------------------------------------------------

    async def _wait(self, turn: Turn, request: Request) -> None:
        """Wait for the requests before it, but not past the deadline."""
        allowed_s = min(self._slo_s, math.inf if request.timeout_s is None else request.timeout_s)
        turn.payload = self._loop.create_future()
        timer = None
        if allowed_s < math.inf:
            left_s = request.arrival_s + allowed_s - time.monotonic()
            timer = self._loop.call_later(max(left_s, 0.0), _late, turn, allowed_s)
        try:
            await turn.payload
        finally:
            if timer is not None:
                timer.cancel()

    def _wake(self, following: Turn | None) -> None:
        """Let the next request of a sequence run, and see to those nobody goes on with."""
        if following is not None and not following.payload.done():
            following.payload.set_result(None)
        self._arm()

    def _arm(self) -> None:
        at = self._table.next_expiry()
        if self._timer is None and at is not None:
            left_s = max(at - time.monotonic(), 0.0)
            self._timer = self._loop.call_later(left_s, self._expire)

    def _expire(self) -> None:
        self._timer = None
        self._table.expire(time.monotonic())
        self._arm()

    # -- the engine comes and goes -----------------------------------------------------------------

    @property
    def socket_path(self) -> str:
        """Where its engine listens."""
        return self._dispatcher.socket_path

    @property
    def samples(self) -> tuple[Sample, ...]:
        """The requests kept, with what was remembered as inputs, for a version to take over."""
        return self._dispatcher.samples

    async def connect(self, socket_path: str, profile: Profile) -> None:
        """Connect to an engine; what is remembered stays when one dies."""
        await self._dispatcher.connect(socket_path, profile)

    def retire(self, on_empty: Callable[[], None]) -> None:
        """Answer what runs and forget the sequences; call ``on_empty`` once when that is done."""
        self._forget(SequenceNotStarted("its version is being unloaded: start the sequence anew"))
        self._dispatcher.retire(on_empty)

    def close(self, error: HeadraceError) -> None:
        """End it: sequences are forgotten, everything waiting or running fails with this error."""
        self._forget(error)
        self._dispatcher.close(error)

    def _forget(self, error: HeadraceError) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._owners.remove(self)
        for turn in self._table.clear():
            if not turn.payload.done():
                turn.payload.set_exception(type(error)(error.message))


def _remembered(signature: Signature, state: cards.StateTensor) -> Remembered:
    spec = signature.input(state.input)
    if spec is None:
        raise RuntimeError(f"the engine has no input {state.input!r}")  # it has checked the card
    dims = spec.shape[1:] if signature.batched else spec.shape
    shape = [dim if isinstance(dim, int) else 1 for dim in dims]
    first = np.full(shape, state.initial, spec.dtype.numpy)
    return Remembered(state.input, state.output, first, state.batch_axis)


def _forgetting(one: Sequences, owners: Owners[Sequences]) -> Callable[[str], None]:
    """Tell the owners who is gone; weakly, for the table of a version that has left is a cycle."""
    owner = weakref.ref(one)

    def gone(identity: str) -> None:
        if (there := owner()) is not None:
            owners.drop(there, identity)

    return gone


def _late(turn: Turn, allowed_s: float) -> None:
    if not turn.payload.done():
        turn.payload.set_exception(
            Expired(
                f"the deadline of {allowed_s:g} s passed while it waited for the requests before "
                f"it in sequence {turn.call.id}"
            )
        )
