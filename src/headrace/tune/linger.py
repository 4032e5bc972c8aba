"""Whether batches that wait a while for more rows can do more, and how long is tried. Pure.

A run costs so much whatever its rows, and so much a row. Who waits shares the first with more rows.
That is worth it only where it is a large part of a run, where lanes take less than pays by
themselves, and where the objective leaves the time.
"""

from __future__ import annotations

from typing import NamedTuple

from headrace.plan.machine import Machine

# Of what a row costs alone, so much must be saved in the largest batch.
_SAVED = 1 / 3
# Batches that are so near to the largest are full without waiting.
_FULL = 0.8
# How long is tried, in what a run costs whatever its rows: shorter gathers nobody, longer costs
# every request more than a run of its own would.
_TRIED = (0.5, 2.0)
# A wait longer than this part of the objective leaves too little for the run and for the lane.
_MOST = 0.25
# The clock that wakes a scheduler is no finer.
_LEAST_MS = 0.1
_MS = 1e3


class Lingers(NamedTuple):
    """The waits to try in milliseconds, or why none is."""

    tried_ms: tuple[float, ...] = ()
    why_not: str = ""


def lingers(here: Machine, batch: float, slo_s: float) -> Lingers:
    """Say what to try on a machine whose batches have so many rows on average without."""
    latency, rows = here.known.latency(), here.largest()
    alone_s, full_s = (latency.expect(here.elements, size) for size in (1, rows))
    if 1 - full_s / rows / alone_s < _SAVED:
        return Lingers(why_not="a row costs hardly less in a larger batch")
    if batch >= _FULL * rows:
        return Lingers(why_not="batches are full without")
    fixed_ms = _MS * max(alone_s - (full_s - alone_s) / (rows - 1), 0.0)
    if fixed_ms < _LEAST_MS:
        return Lingers(why_not="a run is over sooner than more have come")
    tried = (float(f"{share * fixed_ms:.2g}") for share in _TRIED)
    within = tuple(one for one in tried if _LEAST_MS <= one <= _MS * _MOST * slo_s)
    return Lingers(within, "" if within else "the objective leaves no time for it")
