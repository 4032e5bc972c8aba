"""A run in slices of time: how many were asked and answered in each, and how fast."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headrace.load.arrivals import Times
from headrace.load.result import Kind, Result

_MOST_SLICES = 60
# With fewer answers a p99 is one of them by chance; the line is broken there.
_FEWEST = 5


@dataclass(frozen=True, slots=True, eq=False)
class Timeline:
    """One value a slice; a latency is NaN where hardly anything was answered.

    Attributes:
        middle_s: the middle of each slice, from the start of the run.
        offered_per_s: requests that were meant to be sent in it.
        kept_per_s: those of them that were answered, within the objective if there is one.
        p50_s: latency of the answers to them.
        p99_s: the same.
    """

    middle_s: Times
    offered_per_s: Times
    kept_per_s: Times
    p50_s: Times
    p99_s: Times


def slices(result: Result, slo_s: float | None = None) -> Timeline:
    """Cut a run into slices by the intended times of its requests."""
    count = int(np.clip(np.ceil(result.duration_s), 1, _MOST_SLICES))
    count = max(count, min(10, len(result) // _FEWEST))
    edges_s = np.linspace(0.0, result.duration_s, count + 1)
    width_s = float(edges_s[1])
    ok = result.is_kind(Kind.OK)
    waited_s = result.done_s - result.intended_s
    kept = ok & (waited_s <= (np.inf if slo_s is None else slo_s))
    offered, _ = np.histogram(result.intended_s, edges_s)
    answered, _ = np.histogram(result.intended_s[kept], edges_s)
    quantiles = np.full((count, 2), np.nan)
    places = np.searchsorted(edges_s, result.intended_s, side="right") - 1
    for number in range(count):
        inside = waited_s[ok & (places == number)]
        if inside.size >= _FEWEST:
            quantiles[number] = np.quantile(inside, (0.5, 0.99))
    return Timeline(
        middle_s=(edges_s[:-1] + edges_s[1:]) / 2,
        offered_per_s=offered / width_s,
        kept_per_s=answered / width_s,
        p50_s=quantiles[:, 0],
        p99_s=quantiles[:, 1],
    )
