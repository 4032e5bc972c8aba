"""Warm-up of what an earlier start has warmed up: its sizes are known, and its times."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.engine.backends.contract import Instance
from headrace.engine.item_shapes import Shapes, elements_of
from headrace.engine.warmup import Warm, run_everywhere

# A model that came back compiled has every kernel; its first run at a size only touches new memory.
# Measured after one run of one row, in time of the processor: ResNet-50 1.02 to 1.21 times the
# next runs (160 to 494 ms), MiniLM f32 1.08 to 1.32 times (96 to 556 ms). So longer runs than this
# are not worth half of a start; the first run of all costs twice the next, and is always made.
# What a client sees: its first request of 4 rows to ResNet-50 takes 0.46 s; with all warm, 0.43.
_LONG_RUN_S = 0.05


def warm_again(warm: Warm, instances: Sequence[Instance], *, compiled: bool) -> None:
    """Run what an earlier warm-up decided on, once on every instance.

    Of a model that came back ``compiled``, the smallest size and those whose runs are short.

    Raises:
        InferenceFailed: it does not run as it did.
    """
    for item in warm.shapes:
        sizes = _first_counts(warm, item) if compiled else warm.batch_sizes
        run_everywhere(warm.make, instances, [item], sizes)


def _first_counts(warm: Warm, item: Shapes) -> tuple[int, ...]:
    """The sizes at which the first run would take noticeably longer than the others."""
    elements = elements_of(item)
    longer = {
        point.rows
        for point in warm.measurements
        if point.elements == elements and point.median_s > _LONG_RUN_S
    }
    smallest, *others = warm.batch_sizes
    return (smallest, *(size for size in others if size not in longer))
