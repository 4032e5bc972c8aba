"""What the receiver tells Prometheus: of versions, of their lives, and of processes."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Iterator

from headrace.observe.families import Key
from headrace.observe.gpu import GpuCollector
from headrace.observe.lives import Life, LifeCollector
from headrace.observe.metrics import Collector, ModelMetrics, RefusalCollector
from headrace.observe.page import Begins, Page
from headrace.observe.processes import ProcessCollector, ProcessUse, processes
from headrace.receiver.catalog import Catalog
from headrace.receiver.plain.models import load_parts


class Telemetry:
    """The metrics of one receiver, whose parent is the supervisor."""

    def __init__(self, catalog: Catalog, refused: Counter[str]) -> None:
        self._catalog = catalog
        self._supervisor = os.getppid()
        self._of_server = (
            RefusalCollector(refused).collect,
            LifeCollector(self._lives, catalog.moves).collect,
            ProcessCollector(self._processes).collect,
            GpuCollector(self._processes).collect,
        )
        self._written: dict[Key, Begins] = {}

    async def page(self) -> str:
        """Write what Prometheus reads, in its text format; between models others have a turn."""
        page = Page(self._written)
        # The families are there before the first model is.
        of_models = [
            Collector(()).families,
            *(Collector((one,)).families for one in self.metrics()),
        ]
        for collect in (*of_models, *self._of_server):
            started_s = time.monotonic()
            page.add(collect())
            # As long as that took: what a request needs comes in several turns.
            await asyncio.sleep(time.monotonic() - started_s)
        self._written = page.lines
        return page.text()

    def metrics(self) -> list[ModelMetrics]:
        """Those of every version that serves."""
        return [model.metrics for model in self._catalog.served()]

    def _lives(self) -> Iterator[Life]:
        for entry in self._catalog.entries():
            state, served = entry.state, entry.served
            load = {} if served is None else load_parts(served.profile)
            lanes = None if served is None else served.profile.instances
            yield Life(state.name, state.version, state.state, entry.memory_bytes, load, lanes)

    def _processes(self) -> Iterator[ProcessUse]:
        return processes(self._supervisor)
