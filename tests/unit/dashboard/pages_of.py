"""Pages of ``/metrics`` as a server writes them: with its own collectors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, generate_latest

from headrace.observe.lives import Life, LifeCollector
from headrace.observe.metrics import Collector, ModelMetrics, RefusalCollector
from tests.passed import passed


def metrics_page(
    versions: Iterable[ModelMetrics], refused: Counter[str] | None = None, memory_bytes: int = 1
) -> str:
    """Write the page."""
    known = list(versions)
    lives = [Life(one.model, one.version, "serving", memory_bytes, {"load": 1.0}) for one in known]
    registry = CollectorRegistry()
    registry.register(Collector(known))
    registry.register(RefusalCollector(refused or Counter()))
    registry.register(LifeCollector(lambda: lives, {}))
    return generate_latest(registry).decode()


def served(metrics: ModelMetrics, seconds: float, rows: int = 1, outcome: str = "ok") -> None:
    """Count a request that took so long, alone in its batch, all of it running."""
    metrics.outcomes[outcome] += 1
    passed(metrics.requests, seconds, outcome)
    metrics.infer.observe(seconds)
    metrics.rows.observe(rows)
