"""Several runs, one after the other, as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from headrace.load.result import Result
from headrace.load.share import unite


def join(results: Sequence[Result], warm_s: float) -> Result:
    """Put runs end to end, without their first ``warm_s`` seconds.

    Of answers none are kept: their numbers would not mean anything.
    """
    start_s = 0.0
    moved = []
    for result in results:
        moved.append(_moved(result, warm_s, start_s))
        start_s += result.duration_s - warm_s
    return replace(unite(moved), duration_s=start_s, concurrency=results[0].concurrency)


def _moved(result: Result, warm_s: float, start_s: float) -> Result:
    counted = (result.intended_s >= warm_s) & (result.intended_s < result.duration_s)
    by_s = start_s - warm_s
    return replace(
        result,
        intended_s=np.asarray(result.intended_s[counted] + by_s),
        sent_s=np.asarray(result.sent_s[counted] + by_s),
        done_s=np.asarray(result.done_s[counted] + by_s),
        outcome=result.outcome[counted],
        answers={},
        queued_s=np.asarray(result.queues_s[counted]),
    )
