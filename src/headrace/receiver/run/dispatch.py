"""From a request to its outputs: the one function all fronts meet in.

``Dispatcher.infer`` validates, admits and waits; ``pump`` runs what it has admitted. All of it is
on the receiver's one thread.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from headrace.engine.samples import Sample
from headrace.engine_control import Profile
from headrace.errors import Cancelled, Expired, HeadraceError, InferenceFailed, NotReady
from headrace.receiver.catalog import ServedModel
from headrace.receiver.exchange import Exchange
from headrace.receiver.run.departures import Departures
from headrace.receiver.run.notes import Common
from headrace.receiver.run.pump import Pump
from headrace.receiver.run.shapes import Fit, Shaper
from headrace.receiver.run.turns import Place
from headrace.receiver.run.validate import (
    refuse_other_bytes,
    refuse_wide,
    text_inputs,
    validate,
    wide_inputs,
)
from headrace.receiver.run.work import Outputs, Work
from headrace.results import Processor
from headrace.scheduler import Entry, Scheduler
from headrace.values import Array, Request, Response

# Forms of requests whose checks are remembered; fronts keep fewer.
_FORMS_KEPT = 1024


class Dispatcher:
    """Runs the requests of one served version; for the event loop's thread."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        served: ServedModel,
        scheduler: Scheduler,
        processor: Processor,
        departures: Departures,
        on_common: Callable[[Common], None] = lambda _: None,
        place: Place | None = None,
    ) -> None:
        self.served = served
        self._loop = loop
        self._scheduler = scheduler
        self._processor = processor
        self._departures = departures
        self._shaper = Shaper(served.profile.signature.unwrap(), served.settings)
        self._model_signature = served.profile.signature.unwrap()
        self._wide = wide_inputs(self._model_signature, served.profile.integer_bits)
        self._texts = text_inputs(self._model_signature, text_only=served.profile.text_only)
        self._slo_s = math.inf if served.settings.slo_ms is None else served.settings.slo_ms / 1e3
        self._max_rows = max(served.profile.batch_sizes, default=1)
        self._known: dict[object, tuple[int, Fit]] = {}
        self._pump = Pump(loop, served, scheduler, departures, on_common, place)

    # -- a request ---------------------------------------------------------------------------------

    async def infer(self, request: Request, exchange: Exchange) -> Response:
        """Run one request.

        Raises:
            HeadraceError: whatever kept it from being answered; see ``errors``.
        """
        served = self.served
        exchange.priority = request.priority
        rows, fit = self._known.get(request.form) or self._check(request)
        if self._wide:
            refuse_wide(self._wide, request.inputs)
        if self._texts:
            refuse_other_bytes(self._texts, request.inputs)
        deadline_s = self._deadline_s(request.arrival_s, request.timeout_s)
        if rows <= self._max_rows:
            # No name for the entry: its future holds the error that it raises here, whose traceback
            # holds this frame, and that would be a cycle.
            outputs = await self._submit(
                request, request.inputs, rows, fit, deadline_s, exchange
            ).payload.future
        else:
            with self._pump.more():
                outputs = await self._split(request, rows, fit, deadline_s, exchange)
        started_s = time.monotonic()
        if request.timeout_s is not None and started_s > request.arrival_s + request.timeout_s:
            raise Expired(f"the answer came after the client's timeout of {request.timeout_s:g} s")
        if exchange.trace is not None:
            exchange.trace.computed(outputs)
        outputs = self._processor.run(outputs, request.outputs)
        exchange.answered_s = time.monotonic()
        return Response(served.name, served.version, request.id, outputs)

    def foresee(self, form: object, priority: int, exchange: Exchange) -> None:
        """Refuse a request of which only the beginning is here, if it would be refused now.

        Raises:
            OverloadError: it would.
        """
        known = self._known.get(form)
        if known is None or known[0] > self._max_rows:
            return
        rows, fit = known
        arrival_s = exchange.arrival_s
        deadline_s = self._deadline_s(arrival_s, exchange.timeout_s)
        entry = Entry(deadline_s, rows, fit.bucket, fit.elements, arrival_s, priority)
        self._scheduler.foresee(entry, time.monotonic())

    def _deadline_s(self, arrival_s: float, timeout_s: float | None) -> float:
        return arrival_s + (self._slo_s if timeout_s is None else min(self._slo_s, timeout_s))

    def _check(self, request: Request) -> tuple[int, Fit]:
        """Check a request against the signature; return its rows and how its shapes are run."""
        rows = validate(self._model_signature, request.inputs)
        self._processor.check(request.outputs, rows)
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
        *,
        anyway: bool = False,
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
            payload=Work(inputs, fit, future, exchange),
        )
        left = self._scheduler.admit(entry, time.monotonic(), anyway=anyway)
        if left is not None:
            self._pump.drop(left, time.monotonic())
        self._departures.watch(self, entry)
        if request.timeout_s is not None:  # the client may not look at its own clock
            left_s = request.arrival_s + request.timeout_s - time.monotonic()
            timer = self._loop.call_later(left_s, self._overdue, entry, request.timeout_s)
            future.add_done_callback(lambda _: timer.cancel())
        self._pump.schedule()
        return entry

    async def _split(
        self, request: Request, rows: int, fit: Fit, deadline_s: float, exchange: Exchange
    ) -> Outputs:
        """Run a request of more rows than a batch may have as several entries.

        At most half the queue is its own at a time: the rest come as those before them are done.
        """
        entries: list[Entry] = []
        most = max(1, self.served.settings.max_queue // 2)
        # An idle machine refuses none of them, or a table that is too slow would never learn.
        idle = self._scheduler.is_idle(time.monotonic())
        try:
            for number, start in enumerate(range(0, rows, self._max_rows)):
                if number >= most:
                    await entries[number - most].payload.future
                if self._pump.closed:  # where nothing that is queued would ever run
                    raise NotReady("the model has been unloaded")
                part = {k: v[start : start + self._max_rows] for k, v in request.inputs.items()}
                size = min(self._max_rows, rows - start)
                entries.append(
                    self._submit(request, part, size, fit, deadline_s, exchange, anyway=idle)
                )
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
        return {name: self._joined(name, [part[name] for part in parts]) for name in parts[0]}

    def _joined(self, name: str, parts: Sequence[Array]) -> Array:
        """Put the rows of one output together.

        Raises:
            InferenceFailed: they have other shapes in each batch, as of a model that pads them to
                the longest of those it sees.
        """
        other = next((one for one in parts if one.shape[1:] != parts[0].shape[1:]), None)
        if other is None:
            return np.concatenate(parts)
        raise InferenceFailed(
            f"the request has more rows than a batch ({self._max_rows}), and rows of output "
            f"{name!r} have the shape {list(parts[0].shape[1:])} in one batch and "
            f"{list(other.shape[1:])} in another: send at most {self._max_rows} rows at a time, "
            "or raise max_batch"
        )

    def leave(self, entry: Entry) -> None:
        """The client of this entry has gone: drop it if it still waits."""
        self._scheduler.cancel(entry)
        self._pump.fail(entry, Cancelled("the client closed the connection"))

    def _overdue(self, entry: Entry, timeout_s: float) -> None:
        """The client's own time has run out, whether the entry waits or runs."""
        self._scheduler.cancel(entry)
        self._pump.fail(entry, Expired(f"the client's deadline of {timeout_s:g} s has passed"))

    # -- the engine comes and goes -----------------------------------------------------------------

    @property
    def socket_path(self) -> str:
        """Where its engine listens."""
        return self._pump.socket_path

    @property
    def samples(self) -> tuple[Sample, ...]:
        """The requests kept, for a version that is to take over."""
        return self._pump.samples

    async def connect(self, socket_path: str, profile: Profile) -> None:
        """Connect to the engine that listens there, whose profile this is, and let batches run."""
        await self._pump.connect(socket_path, profile)

    def retire(self, on_empty: Callable[[], None]) -> None:
        """Take no more requests; call ``on_empty`` once when those it has are answered."""
        self._pump.retire(on_empty)

    def close(self, error: HeadraceError) -> None:
        """End it: everything waiting or running fails with this error."""
        self._pump.close(error)
