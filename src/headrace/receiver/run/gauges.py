"""What the metrics read of a scheduler, whenever somebody scrapes."""

from __future__ import annotations

from collections.abc import Callable

from headrace.scheduler import Scheduler


def gauges(scheduler: Scheduler) -> dict[str, Callable[[], float]]:
    """Gauges by their names in ``observe.metrics.GAUGES``."""
    return {
        "queue_length": lambda: scheduler.statistics().waiting,
        "running_batches": lambda: scheduler.statistics().running_batches,
        "run_tail_ratio": lambda: scheduler.statistics().tail,
        "handover_seconds": lambda: scheduler.statistics().overhead_s,
        "device_share": lambda: scheduler.statistics().share,
    }
