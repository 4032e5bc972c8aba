"""From a request to its outputs: the one function all fronts meet in, and the loop behind it.

``Dispatcher.infer`` validates, admits and waits; ``_pump`` asks the scheduler for batches whenever
an arrival, a completion or the clock may have made one possible, and hands them to the engine. All
of it runs on the receiver's one thread.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import structlog

from headrace.engine.client import EngineClient, Padding
from headrace.errors import (
    Cancelled,
    EngineLost,
    Expired,
    HeadraceError,
    InternalError,
    Shed,
)
from headrace.receiver.catalog import ServedModel
from headrace.receiver.exchange import Exchange, Receive
from headrace.receiver.run.departures import Departures
from headrace.receiver.run.shapes import Fit, Shaper, crop
from headrace.receiver.run.validate import refuse_wide, validate, wide_inputs
from headrace.receiver.tracing.record import Trace
from headrace.results import Processor
from headrace.scheduler import Batch, Drop, DropReason, Entry, Scheduler
from headrace.values import Array, Request, Response

# Forms of requests whose checks are remembered; fronts keep fewer.
_FORMS_KEPT = 1024

Outputs = Mapping[str, Array]


class Work:
    """What an entry carries: its inputs, how they fit, and the future its request waits on.

    ``trace`` is that of its request, if it has one.
    """

    __slots__ = ("fit", "future", "inputs", "receive", "trace")

    def __init__(
        self,
        inputs: Mapping[str, Array],
        fit: Fit,
        future: asyncio.Future[Outputs],
        receive: Receive,
        trace: Trace | None,
    ) -> None:
        self.inputs = inputs
        self.fit = fit
        self.future = future
        self.receive = receive
        self.trace = trace


class Dispatcher:
    """Runs the requests of one served version; for the event loop's thread."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        served: ServedModel,
        scheduler: Scheduler,
        processor: Processor,
        departures: Departures,
    ) -> None:
        self.served = served
        self.socket_path = ""  # where its engine listens
        self._loop = loop
        self._scheduler = scheduler
        self._processor = processor
        self._departures = departures
        self._shaper = Shaper(served.profile.signature.unwrap(), served.settings)
        self._model_signature = served.profile.signature.unwrap()
        self._wide = wide_inputs(self._model_signature, served.profile.integer_bits)
        self._slo_s = math.inf if served.settings.slo_ms is None else served.settings.slo_ms / 1e3
        self._max_rows = max(served.profile.batch_sizes, default=1)
        self._engine: EngineClient | None = None
        self._running: dict[int, Batch] = {}
        self._known: dict[object, tuple[int, Fit]] = {}
        self._on_empty: Callable[[], None] | None = None  # set when it takes no more requests
        self._pump_due = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        self._log = structlog.get_logger("headrace.receiver")

    # -- a request ---------------------------------------------------------------------------------

    async def infer(self, request: Request, exchange: Exchange) -> Response:
        """Run one request.

        Raises:
            HeadraceError: whatever kept it from being answered; see ``errors``.
        """
        served = self.served
        rows, fit = self._known.get(request.form) or self._check(request)
        if self._wide:
            refuse_wide(self._wide, request.inputs)
        deadline_s = request.arrival_s + (
            self._slo_s if request.timeout_s is None else min(self._slo_s, request.timeout_s)
        )
        if rows <= self._max_rows:
            # No name for the entry: its future holds the error that it raises here, whose traceback
            # holds this frame, and that would be a cycle.
            outputs = await self._submit(
                request, request.inputs, rows, fit, deadline_s, exchange
            ).payload.future
        else:
            outputs = await self._split(request, rows, fit, deadline_s, exchange)
        started_s = time.monotonic()
        if request.timeout_s is not None and started_s > request.arrival_s + request.timeout_s:
            raise Expired(f"the answer came after the client's timeout of {request.timeout_s:g} s")
        if exchange.trace is not None:
            exchange.trace.computed(outputs)
        outputs = self._processor.run(outputs, request.outputs)
        exchange.answered_s = ended_s = time.monotonic()
        served.metrics.results.observe(ended_s - started_s)
        return Response(served.name, served.version, request.id, outputs)

    def _check(self, request: Request) -> tuple[int, Fit]:
        """Check a request against the signature; return its rows and how its shapes are run."""
        self._processor.check(request.outputs)
        rows = validate(self._model_signature, request.inputs)
        known = rows, self._shaper.fit(request.inputs)
        if request.form is not None:
            if len(self._known) >= _FORMS_KEPT:
                self._known.clear()
            self._known[request.form] = known
        return known

    def _submit(
        self,
        request: Request,
        inputs: Mapping[str, Array],
        rows: int,
        fit: Fit,
        deadline_s: float,
        exchange: Exchange,
    ) -> Entry:
        """Queue one entry; its future has its outputs or its error.

        Raises:
            OverloadError: it was refused at arrival.
        """
        future: asyncio.Future[Outputs] = self._loop.create_future()
        entry = Entry(
            deadline_s=deadline_s,
            rows=rows,
            bucket=fit.bucket,
            elements=fit.elements,
            arrival_s=request.arrival_s,
            priority=request.priority,
            payload=Work(inputs, fit, future, exchange.receive, exchange.trace),
        )
        self._scheduler.admit(entry, time.monotonic())
        self._departures.watch(self, entry)
        if request.timeout_s is not None:  # the client may not look at its own clock
            left_s = request.arrival_s + request.timeout_s - time.monotonic()
            timer = self._loop.call_later(left_s, self._overdue, entry, request.timeout_s)
            future.add_done_callback(lambda _: timer.cancel())
        self._schedule()
        return entry

    async def _split(
        self, request: Request, rows: int, fit: Fit, deadline_s: float, exchange: Exchange
    ) -> Outputs:
        """Run a request of more rows than a batch may have as several entries.

        At most half the queue is its own at a time: the rest come as those before them are done.
        """
        entries: list[Entry] = []
        most = max(1, self.served.settings.max_queue // 2)
        try:
            for number, start in enumerate(range(0, rows, self._max_rows)):
                if number >= most:
                    await entries[number - most].payload.future
                part = {k: v[start : start + self._max_rows] for k, v in request.inputs.items()}
                size = min(self._max_rows, rows - start)
                entries.append(self._submit(request, part, size, fit, deadline_s, exchange))
            parts = await asyncio.gather(*[entry.payload.future for entry in entries])
        except (HeadraceError, asyncio.CancelledError):
            for entry in entries:  # the rest of what cannot be whole is not worth running
                self._scheduler.cancel(entry)
                self._departures.forget(entry)
                future: asyncio.Future[Outputs] = entry.payload.future
                if not future.cancel() and not future.cancelled():
                    future.exception()  # the first is told; nobody asks for the others
            entries.clear()  # as above
            raise
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def leave(self, entry: Entry) -> None:
        """The client of this entry has gone: drop it if it still waits."""
        self._scheduler.cancel(entry)
        self._fail(entry, Cancelled("the client closed the connection"))

    def _overdue(self, entry: Entry, timeout_s: float) -> None:
        """The client's own time has run out, whether the entry waits or runs."""
        self._scheduler.cancel(entry)
        self._fail(entry, Expired(f"the client's deadline of {timeout_s:g} s has passed"))

    # -- batches -----------------------------------------------------------------------------------

    def _pump(self) -> None:
        self._pump_due = False
        now_s = time.monotonic()
        while self._engine is None or self._engine.free_slots:
            batch, drops = self._scheduler.cut(now_s)
            for drop in drops:
                self._drop(drop, now_s)
            if batch is None:
                break
            self._start(batch, now_s)
        self._set_timer(now_s)
        if self._on_empty is not None:
            self._look_empty()

    def _start(self, batch: Batch, now_s: float) -> None:
        engine = self._engine
        if engine is None:  # the scheduler is paused without an engine
            raise RuntimeError("a batch was cut while no engine is connected")
        metrics = self.served.metrics
        parts = []
        traces: tuple[Trace, ...] = ()  # of most batches none: nothing is made for them
        padding = None
        for entry in batch.entries:
            metrics.queue.observe(now_s - entry.arrival_s)
            work: Work = entry.payload
            parts.append(work.inputs)
            if work.trace is not None:
                traces = (*traces, work.trace)
            if padding is None and work.fit.item_shapes:  # another may fill its bucket as it is
                padding = Padding(work.fit.item_shapes, self.served.settings.pad_values)
        self._running[batch.id] = batch
        started_s = time.monotonic()
        try:
            engine.run(batch.id, batch.rows, parts, padding)
        except HeadraceError as error:
            self._failed(batch.id, error)
            return
        except Exception as error:  # noqa: BLE001 - the border of a batch: nobody waits forever
            self._log.error("batch_not_assembled", exc_info=error)
            self._failed(batch.id, InternalError(f"a bug of the server: {error}"))
            return
        assemble_s = time.monotonic() - started_s
        for trace in traces:
            trace.started(now_s, started_s + assemble_s)
        metrics.assemble.observe(assemble_s)
        metrics.runs.assembled(batch.rows, len(batch.entries), assemble_s)
        metrics.rows.observe(batch.rows)

    def _done(self, batch_id: int, infer_s: float, outputs: Mapping[str, Array]) -> None:
        batch = self._running.pop(batch_id)
        now_s = time.monotonic()
        self._scheduler.finish(batch_id, now_s, infer_s)
        self.served.metrics.infer.observe(infer_s)
        self.served.metrics.runs.ended(batch.rows, len(batch.entries), infer_s, now_s)
        batched = self._model_signature.batched
        row = 0
        for entry in batch.entries:
            self._departures.forget(entry)
            work: Work = entry.payload
            if work.trace is not None:
                work.trace.ran(now_s)
            end = row + entry.rows
            if not work.future.done():
                mine = {n: a[row:end] for n, a in outputs.items()} if batched else outputs
                work.future.set_result(crop(mine, work.fit.crops) if work.fit.crops else mine)
            row = end
        self._pump()

    def _failed(self, batch_id: int, error: HeadraceError) -> None:
        """The backend refused a batch: run its entries alone, so that only the bad one fails."""
        batch = self._running.pop(batch_id)
        now_s = time.monotonic()
        self._scheduler.finish(batch_id, now_s, None)
        if len(batch.entries) == 1:
            self._fail(batch.entries[0], type(error)(error.message))
        else:
            for entry in batch.entries:
                self._alone(entry)
        self._schedule()

    def _alone(self, entry: Entry) -> None:
        if entry.payload.future.done():
            return  # nobody waits for it any more
        entry.bucket = (entry.bucket, id(entry))
        self._scheduler.restore(entry)

    def _drop(self, drop: Drop, now_s: float) -> None:
        waited_ms = (now_s - drop.entry.arrival_s) * 1e3
        if drop.reason is DropReason.SHED:
            error: HeadraceError = Shed(
                f"dropped after {waited_ms:.0f} ms in the queue: it would have missed its deadline"
            )
        else:
            error = Expired(f"the deadline passed after {waited_ms:.0f} ms in the queue")
        self._fail(drop.entry, error)

    def _fail(self, entry: Entry, error: HeadraceError) -> None:
        self._departures.forget(entry)
        future: asyncio.Future[Outputs] = entry.payload.future
        if not future.done():
            future.set_exception(error)

    # -- the engine comes and goes -----------------------------------------------------------------

    async def connect(self, socket_path: str, slot_count: int) -> None:
        """Connect to the engine that listens there and let batches run."""
        engine = EngineClient(
            self._loop,
            self.served.profile,
            self.served.settings,
            slot_count=slot_count,
            on_done=self._done,
            on_failed=self._failed,
            on_lost=self._lost,
        )
        await engine.connect(socket_path)
        if self._engine is not None:  # it died, though its end has not been heard yet
            self._engine.close()
            self._lost()
        self._engine, self.socket_path = engine, socket_path
        self._scheduler.resume()
        self._schedule()

    def retire(self, on_empty: Callable[[], None]) -> None:
        """Take no more requests; call ``on_empty`` once when those it has are answered."""
        self._on_empty = on_empty
        if self._engine is None:
            self._give_up()
        self._schedule()

    def _give_up(self) -> None:
        """Without an engine, and no other will come: nobody may wait for one."""
        self.close(EngineLost("the engine died while its model was being unloaded"))

    def _look_empty(self) -> None:
        on_empty = self._on_empty
        if on_empty is not None and not self._running and not self._scheduler.statistics().waiting:
            self._on_empty = None
            on_empty()

    def _lost(self) -> None:
        """The engine died: what ran in it is tried once more, alone, if its deadline allows."""
        self._engine = None
        if self._on_empty is not None:  # no other engine will come
            self._give_up()
            self._look_empty()
            return
        self._scheduler.pause()
        now_s = time.monotonic()
        batches, self._running = list(self._running.values()), {}
        for batch in batches:
            self._scheduler.finish(batch.id, now_s, None)
            for entry in batch.entries:
                if entry.attempts == 0 and entry.deadline_s > now_s:
                    entry.attempts = 1
                    self._alone(entry)
                else:
                    self._fail(entry, EngineLost("the engine died while it ran this request"))
        self._schedule()

    def close(self, error: HeadraceError) -> None:
        """End it: everything waiting or running fails with this error."""
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()
        if self._timer is not None:
            self._timer.cancel()
        self._scheduler.pause()
        batches, self._running = list(self._running.values()), {}
        for entry in (*self._scheduler.drain(), *(e for b in batches for e in b.entries)):
            self._fail(entry, type(error)(error.message))

    # -- the clock ---------------------------------------------------------------------------------

    def _schedule(self) -> None:
        """Pump after what the loop has ready now, and after what that makes ready.

        Two turns of the loop cost nothing when it is idle, and let the requests that came together
        share a batch when it is not: 8 % more requests/s at 256 concurrent.
        """
        if not self._pump_due:
            self._pump_due = True
            self._loop.call_soon(self._loop.call_soon, self._pump)

    def _set_timer(self, now_s: float) -> None:
        at = self._scheduler.wake_at(now_s)
        if at is None:
            return
        if self._timer is not None:
            if self._timer_at <= at and self._timer_at > now_s:
                return  # it will look again, and set the next one then
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_later(max(at - now_s, 0.0), self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._timer_at = math.inf
        self._pump()

    def statistics(self) -> Any:
        """The scheduler's numbers."""
        return self._scheduler.statistics()
