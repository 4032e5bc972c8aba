"""What the one function asks of every request: is it traced, and then by which plan."""

from __future__ import annotations

import itertools
from typing import Any

from headrace.observe.phases import ID_CHARACTERS
from headrace.receiver.tracing.plan import Sampler
from headrace.receiver.tracing.record import Trace
from headrace.receiver.tracing.writer import Writer
from headrace.values import Request


class Tracer:
    """Samples requests and hands their traces to the writer; for the receiver's one thread.

    While ``on`` is false nothing else of it is touched by requests.
    """

    __slots__ = ("_ids", "_samplers", "_writer", "on")

    def __init__(self, writer: Writer) -> None:
        self.on = False
        self._samplers: dict[str, Sampler] = {}
        self._ids = itertools.count(1)
        self._writer = writer

    def put(self, samplers: dict[str, Sampler]) -> None:
        """Sample by these from now on: by model, and ``""`` for those that are not named."""
        self._samplers = samplers
        self._look()

    def begin(self, request: Request, name: str, version: int, now_s: float) -> Trace | None:
        """Trace this decoded request, if it is its turn."""
        sampler = self._samplers.get(name) or self._samplers.get("")
        if sampler is None or not sampler.take():
            return None
        if not sampler.on:
            self._look()
        head: dict[str, Any] = {
            "id": next(self._ids),
            "model_name": name,
            "model_version": version,
        }
        if request.id:
            head["request_id"] = request.id[:ID_CHARACTERS]
        trace = Trace(sampler.plan, head)
        trace.queued(request, now_s)
        return trace

    def end(self, trace: Trace, answered_s: float, now_s: float) -> None:
        """The request is over: have its trace written."""
        trace.ended(answered_s, now_s)
        self._writer.write(trace)

    def _look(self) -> None:
        self.on = any(sampler.on for sampler in self._samplers.values())
