"""What Prometheus reads of the lives of versions: states, memory, load times, moves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric


class Life(NamedTuple):
    """One version now; ``load_s`` is how long each part of its load took.

    ``instances`` are None of one that does not serve.
    """

    model: str
    version: int
    state: str
    memory_bytes: int | None
    load_s: Mapping[str, float]
    instances: int | None = None


class LifeCollector:
    """Hands them to ``prometheus_client``."""

    def __init__(
        self, lives: Callable[[], Iterable[Life]], moves: Mapping[tuple[str, str], int]
    ) -> None:
        self._lives = lives
        self._moves = moves

    def collect(self) -> Iterator[Metric]:
        """Yield every metric family."""
        which = ("model", "version")
        states = GaugeMetricFamily(
            "headrace_model_state",
            "1 for the state that a version is in.",
            labels=(*which, "state"),
        )
        memory = GaugeMetricFamily(
            "headrace_model_memory_bytes",
            "Memory that its engine takes; of what engines share, its part.",
            labels=which,
        )
        loads = GaugeMetricFamily(
            "headrace_model_load_seconds",
            "How long its load took: start of the process, load, warm.",
            labels=(*which, "part"),
        )
        instances = GaugeMetricFamily(
            "headrace_model_instances", "How many of its batches may run at once.", labels=which
        )
        for life in self._lives():
            labels = (life.model, str(life.version))
            if life.instances is not None:
                instances.add_metric(labels, life.instances)
            states.add_metric((*labels, life.state), 1)
            if life.memory_bytes is not None:
                memory.add_metric(labels, life.memory_bytes)
            for part, seconds in life.load_s.items():
                loads.add_metric((*labels, part), seconds)
        moves = CounterMetricFamily(
            "headrace_model_moves",
            "How often a version of a model came to a state.",
            labels=("model", "state"),
        )
        for (model, state), count in self._moves.items():
            moves.add_metric((model, state), count)
        yield from (states, memory, instances, loads, moves)
