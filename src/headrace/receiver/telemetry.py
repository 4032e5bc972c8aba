"""What the receiver tells Prometheus: of versions, of their lives, and of processes."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest

from headrace.observe.gpu import GpuCollector
from headrace.observe.lives import Life, LifeCollector
from headrace.observe.metrics import Collector, ModelMetrics
from headrace.observe.processes import ProcessCollector, ProcessUse, processes
from headrace.receiver.catalog import Catalog
from headrace.receiver.plain.models import load_parts


class Telemetry:
    """The metrics of one receiver, whose parent is the supervisor."""

    def __init__(self, catalog: Catalog, refused: Counter[str]) -> None:
        self._catalog = catalog
        self._supervisor = os.getppid()
        self._registry = CollectorRegistry()
        self._registry.register(Collector(self.metrics, refused))
        self._registry.register(LifeCollector(self._lives, catalog.moves))
        self._registry.register(ProcessCollector(self._processes))
        self._registry.register(GpuCollector(self._processes))

    def page(self) -> bytes:
        """Write what Prometheus reads, in its text format."""
        return generate_latest(self._registry)

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
