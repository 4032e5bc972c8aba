"""How long runs of each size are beside those of others, as loads showed: pure.

Warm-up runs a size again and again, with nothing else in the caches. What every run of a request
pays besides, to wake up a lane or to get its weights there, is a larger part of a small one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from pydantic import PositiveFloat, PositiveInt

from headrace.plan.seen import Between
from headrace.scheduler.known import Known

Factors = tuple[tuple[PositiveInt, PositiveFloat], ...]
"""Rows, and how many times longer than warm-up said; the sizes between are as their neighbours."""

# Of a size that ran less often nothing is known, and one that ran so often is half believed.
_LEAST, _DOUBT = 5, 20


def factors(expect_s: Callable[[int], float], loads: Sequence[Between]) -> Factors:
    """Find them by least squares: each load slows all of its runs down, each size is as it is.

    Those that never ran in one load with others stay as warm-up said.
    """
    seen = [
        (load, rows, count, math.log(infer_s / count / expect_s(rows)))
        for load, between in enumerate(loads)
        for rows, count, infer_s in between.runs
        if count >= _LEAST and infer_s > 0
    ]
    sizes = sorted({rows for _, rows, _, _ in seen})
    if len(sizes) < 2:  # noqa: PLR2004 - there is nothing to compare
        return ()
    wide = len(loads) + len(sizes)
    weighted = []
    for load, rows, count, log in seen:
        line = np.zeros(wide + 1)
        line[[load, len(loads) + sizes.index(rows), wide]] = 1.0, 1.0, log
        weighted.append(line * math.sqrt(count))
    doubts = np.eye(wide, wide + 1)[len(loads) :] * math.sqrt(_DOUBT)
    table = np.vstack([weighted, doubts])
    found = np.linalg.lstsq(table[:, :-1], table[:, -1], rcond=None)[0][len(loads) :]
    return tuple(
        (rows, round(math.exp(log), 4)) for rows, log in zip(sizes, found.tolist(), strict=True)
    )


def corrected(known: Known, found: Factors) -> Known:
    """The same model with run times as they are."""
    if not found:
        return known
    sizes, times = zip(*found, strict=True)
    logs = np.log(sizes)
    changed = []
    for elements, rows, median_s, tail_s in known.measurements:
        factor = float(np.interp(math.log(rows), logs, times))
        changed.append((elements, rows, factor * median_s, factor * tail_s))
    return replace(known, measurements=tuple(changed))
