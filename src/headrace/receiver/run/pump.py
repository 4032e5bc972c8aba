"""The loop behind every request: batches are cut, handed to the engine, and answered.

``Pump`` asks the scheduler for batches whenever an arrival, a completion or the clock may have made
one possible. It holds the engine, which comes and goes. All of it runs on the receiver's one
thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping

import structlog

from headrace.engine.assembly import Padding
from headrace.engine.client import EngineClient, Listener
from headrace.engine.samples import Sample
from headrace.engine_control import Profile
from headrace.errors import (
    BodyTooLarge,
    EngineLost,
    Expired,
    HeadraceError,
    InferenceFailed,
    InternalError,
    InvalidInput,
    QueueFull,
    Shed,
)
from headrace.observe.phases import Run
from headrace.receiver.catalog import ServedModel
from headrace.receiver.run.departures import Departures
from headrace.receiver.run.notes import Common, Notes
from headrace.receiver.run.shapes import crop
from headrace.receiver.run.steering import Steering
from headrace.receiver.run.turns import Place
from headrace.receiver.run.validate import unequal_axes
from headrace.receiver.run.work import Outputs, Work
from headrace.receiver.tracing.record import Trace
from headrace.scheduler import Batch, Drop, DropReason, Entry, Scheduler
from headrace.scheduler.known import DEPTH
from headrace.values import Array


class Running:
    """A batch in the engine: since when, and how long it took to write its inputs."""

    __slots__ = ("assemble_s", "batch", "start_s")

    def __init__(self, batch: Batch, start_s: float) -> None:
        self.batch = batch
        self.start_s = start_s
        self.assemble_s = 0.0


class Pump:
    """Runs the entries of one served version; for the event loop's thread."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        served: ServedModel,
        scheduler: Scheduler,
        departures: Departures,
        on_common: Callable[[Common], None],
        place: Place | None = None,
    ) -> None:
        self.socket_path = ""  # where its engine listens
        self._loop = loop
        self._served = served
        self._scheduler = scheduler
        self._departures = departures
        self._place = place
        self._steering = Steering(loop, served, scheduler)
        self._batched = served.profile.signature.batched
        self._engine: EngineClient | None = None
        self._running: dict[int, Running] = {}
        self._on_empty: Callable[[], None] | None = None  # set when it takes no more requests
        self._more = 0  # requests of which only a part has been queued
        self.closed = False
        self._due = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        self._notes = Notes(served, on_common)
        self._log = structlog.get_logger("headrace.receiver")

    @property
    def samples(self) -> tuple[Sample, ...]:
        """The requests kept, for a version that is to take over."""
        return self._notes.samples

    # -- batches -----------------------------------------------------------------------------------

    def _fill(self) -> None:
        self._due = False
        now_s = time.monotonic()
        self._look(now_s)
        if self._place is not None:
            self._place.go_on(now_s)

    def _look(self, now_s: float) -> None:
        """Hand over the batches there are, if it is the turn of this model."""
        # Without an engine that takes batches it is paused, and tells whose deadline has passed.
        while (engine := self._engine) is None or engine.free_slots or not engine.attached:
            batch, drops = self._scheduler.cut(now_s)
            for drop in drops:
                self.drop(drop, now_s)
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
        parts = []
        traces: tuple[Trace, ...] = ()  # of most batches none: nothing is made for them
        padding = None
        for entry in batch.entries:
            work: Work = entry.payload
            parts.append(work.inputs)
            trace = work.exchange.trace
            if trace is not None:
                traces = (*traces, trace)
            if padding is None and work.fit.item_shapes:  # another may fill its bucket as it is
                padding = Padding(work.fit.item_shapes, self._served.settings.pad_values)
        running = self._running[batch.id] = Running(batch, now_s)
        started_s = time.monotonic()
        try:
            expected_s = batch.expected_finish_s - batch.start_s
            engine.run(batch.id, batch.rows, parts, padding, expected_s)
        except HeadraceError as error:
            self._failed(batch.id, error)
            return
        except Exception as error:  # noqa: BLE001 - the border of a batch: nobody waits forever
            self._log.error("batch_not_assembled", exc_info=error)
            self._failed(batch.id, InternalError(f"a bug of the server: {error}"))
            return
        running.assemble_s = assemble_s = time.monotonic() - started_s
        for trace in traces:
            trace.started(now_s, started_s + assemble_s)
        self._notes.assembled(batch, assemble_s)

    def _done(self, batch_id: int, infer_s: float, outputs: Mapping[str, Array]) -> None:
        running = self._running.pop(batch_id)
        batch = running.batch
        now_s = time.monotonic()
        self._scheduler.finish(batch_id, now_s, infer_s)
        self._notes.ran(batch, infer_s, outputs, now_s)
        requests = len(batch.entries)
        run = Run(running.start_s, running.assemble_s, infer_s, now_s, batch.rows, requests)
        row = 0
        for entry in batch.entries:
            self._departures.forget(entry)
            work: Work = entry.payload
            exchange = work.exchange
            exchange.run = run
            if exchange.trace is not None:
                exchange.trace.ran(now_s)
            end = row + entry.rows
            if not work.future.done():
                mine = {n: a[row:end] for n, a in outputs.items()} if self._batched else outputs
                work.future.set_result(crop(mine, work.fit.crops) if work.fit.crops else mine)
            row = end
        self._fill()

    def _failed(self, batch_id: int, error: HeadraceError) -> None:
        """The backend refused a batch: run its entries alone, so that only the bad one fails.

        One that a slot has no room for is halved, until there is.
        """
        batch = self._running.pop(batch_id).batch
        now_s = time.monotonic()
        self._scheduler.finish(batch_id, now_s, None)
        entries = batch.entries
        if len(entries) == 1:
            self.fail(entries[0], self._refusal(entries[0], error))
        else:
            together = (len(entries) + 1) // 2 if isinstance(error, BodyTooLarge) else 1
            for first in range(0, len(entries), together):
                self._apart(*entries[first : first + together])
        self.schedule()

    def _refusal(self, entry: Entry, error: HeadraceError) -> HeadraceError:
        """What the client of a run that failed is told: what it may have sent wrong, too."""
        if isinstance(error, InferenceFailed | InvalidInput):
            unlike = unequal_axes(self._served.profile.signature.unwrap(), entry.payload.inputs)
            if unlike is not None:
                return InvalidInput(f"{error.message.rstrip()}; perhaps because {unlike}")
        return type(error)(error.message)

    def _apart(self, *entries: Entry) -> None:
        """Run these once more, in batches with nobody else."""
        mark = id(entries[0])
        for entry in entries:
            if not entry.payload.future.done():  # somebody waits for it still
                entry.bucket = (entry.bucket, mark)
                self._scheduler.restore(entry)

    def drop(self, drop: Drop, now_s: float) -> None:
        """Answer an entry that has left the queue without a run."""
        waited_ms = (now_s - drop.entry.arrival_s) * 1e3
        if drop.reason is DropReason.SHED:
            error: HeadraceError = Shed(
                f"dropped after {waited_ms:.0f} ms in the queue: it would have missed its deadline"
            )
        elif drop.reason is DropReason.DISPLACED:
            error = QueueFull(
                f"dropped after {waited_ms:.0f} ms in the queue, which is full: a request of a "
                "higher priority came",
                retry_after_s=drop.retry_after_s,
            )
        else:
            error = Expired(f"the deadline passed after {waited_ms:.0f} ms in the queue")
        self.fail(drop.entry, error)

    def fail(self, entry: Entry, error: HeadraceError) -> None:
        """Answer an entry with an error, if it has no answer yet."""
        self._departures.forget(entry)
        future: asyncio.Future[Outputs] = entry.payload.future
        if not future.done():
            future.set_exception(error)

    # -- the engine comes and goes -----------------------------------------------------------------

    async def connect(self, socket_path: str, profile: Profile) -> None:
        """Connect to the engine that listens there and let batches run.

        ``profile`` is its own: it may pad to other sizes than the one before it.
        """
        engine = EngineClient(
            self._loop,
            profile,
            self._served.settings,
            DEPTH * profile.instances + 1,
            Listener(self._done, self._failed, self._lost, self._attached),
        )
        await engine.connect(socket_path)
        if self._engine is not None:  # it died, though its end has not been heard yet
            self._engine.close()
            self._lost()
        self._engine, self.socket_path = engine, socket_path
        self._steering.start(engine.set_lanes)
        if self._place is not None:
            self._place.join(self._look)
        if self._scheduler.shares:
            self._scheduler.beside(engine.others, time.monotonic())
        self._attached()

    def _attached(self) -> None:
        """Let batches run once the engine both is ours and has taken us in; either may be first."""
        engine = self._engine
        if engine is not None and engine.attached:
            self._scheduler.resume()
            self.schedule()

    def retire(self, on_empty: Callable[[], None]) -> None:
        """Take no more requests; call ``on_empty`` once when those it has are answered."""
        self._on_empty = on_empty
        if self._engine is None:
            self._give_up()
        self.schedule()

    def _give_up(self) -> None:
        """Without an engine, and no other will come: nobody may wait for one."""
        self.close(EngineLost("the engine died while its model was being unloaded"))

    def _look_empty(self) -> None:
        on_empty = self._on_empty
        if on_empty is None or self._more or self._running:
            return
        if not self._scheduler.statistics().waiting:
            self._on_empty = None
            on_empty()

    @contextlib.contextmanager
    def more(self) -> Iterator[None]:
        """A request is queued part by part: it is not empty before the last."""
        self._more += 1
        try:
            yield
        finally:
            self._more -= 1
            self.schedule()

    def _lost(self) -> None:
        """The engine died: what ran in it is tried once more, alone, if its deadline allows."""
        self._engine = None
        if self._on_empty is not None:  # no other engine will come
            self._give_up()
            self._look_empty()
            return
        self._scheduler.pause()
        now_s = time.monotonic()
        self._scheduler.beside(None, now_s)
        batches, self._running = [running.batch for running in self._running.values()], {}
        for batch in batches:
            self._scheduler.finish(batch.id, now_s, None)
            for entry in batch.entries:
                if entry.attempts == 0 and entry.deadline_s > now_s:
                    entry.attempts = 1
                    self._apart(entry)
                else:
                    self.fail(entry, EngineLost("the engine died while it ran this request"))
        self.schedule()

    def close(self, error: HeadraceError) -> None:
        """End it: everything waiting or running fails with this error."""
        self.closed = True
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()
        self._steering.stop()
        if self._timer is not None:
            self._timer.cancel()
        self._scheduler.pause()
        batches, self._running = [running.batch for running in self._running.values()], {}
        for entry in (*self._scheduler.drain(), *(e for b in batches for e in b.entries)):
            self.fail(entry, type(error)(error.message))
        if self._place is not None:
            self._place.leave()

    # -- the clock ---------------------------------------------------------------------------------

    def schedule(self) -> None:
        """Look for batches after what the loop has ready now, and after what that makes ready.

        Two turns of the loop cost nothing when it is idle, and let the requests that came together
        share a batch when it is not: 8 % more requests/s at 256 concurrent.
        """
        if not self._due:
            self._due = True
            self._loop.call_soon(self._loop.call_soon, self._fill)

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
        self._fill()
