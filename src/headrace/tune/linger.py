"""Whether batches that wait a while for more rows can do more, and how long is tried. Pure.

A run costs so much whatever its rows, and so much a row. Who waits shares the first with more rows.
That is worth it only where it is a large part of a run, and where lanes have time to wait while
the objective is at its limit: those that are always busy find their batches full. So it is where
an objective is as short as two or three runs, or lanes slow each other down.
"""

from __future__ import annotations

from typing import NamedTuple

from headrace.plan.machine import Machine

# Of what a row costs alone, so much must be saved in the largest batch.
_SAVED = 1 / 3
# Lanes that do so much of all they could are always busy: in simulations of some fifty machines no
# wait gained anything there, and elsewhere up to 1.8 times as much was in time.
_BUSY = 0.95
# How long is tried, in what a run costs whatever its rows: with less hardly anybody has come.
_TRIED = (1.0, 4.0)
# A wait longer than this part of the objective leaves too little for the run and for the lane.
_MOST = 0.25
# The clock that wakes a scheduler is no finer.
_LEAST_MS = 0.1
_MS = 1e3


class Lingers(NamedTuple):
    """The waits to try in milliseconds, or why none is."""

    tried_ms: tuple[float, ...] = ()
    why_not: str = ""


def lingers(here: Machine, used: float, slo_s: float) -> Lingers:
    """Say what to try on a machine that does this share of all it could within its objective."""
    latency, rows = here.known.latency(), here.largest()
    alone_s, full_s = (latency.expect(here.elements, size) for size in (1, rows))
    if 1 - full_s / rows / alone_s < _SAVED:
        return Lingers(why_not="a row costs hardly less in a larger batch")
    if used >= _BUSY:
        return Lingers(why_not="lanes are always busy at its highest rate, and batches fill")
    fixed_ms = _MS * max(alone_s - (full_s - alone_s) / (rows - 1), 0.0)
    if fixed_ms < _LEAST_MS:
        return Lingers(why_not="a run is over sooner than more have come")
    most_ms = _MS * _MOST * slo_s
    tried = (float(f"{min(share * fixed_ms, most_ms):.2g}") for share in _TRIED)
    return Lingers(tuple(dict.fromkeys(tried)))
