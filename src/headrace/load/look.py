"""A look at a run that goes on: what the last moments were like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from headrace.load.arrivals import Times
from headrace.load.result import Kind
from headrace.load.rows import KINDS, Rows

# An answer that took longer than this is not among those whose latency is shown meanwhile.
_LONGEST_S = 5.0


@dataclass(frozen=True, slots=True)
class Look:
    """A run at a moment.

    Attributes:
        at_s: seconds since its start.
        sent: requests so far.
        ended: how many have ended, by how.
        per_s: answers a second, of the window before the moment.
        p50_s: latency of these answers; None: there are none.
        p99_s: the same.
    """

    at_s: float
    sent: int
    ended: Mapping[Kind, int]
    per_s: float
    p50_s: float | None
    p99_s: float | None


def look(senders: Sequence[Rows], at_s: float, window_s: float) -> Look:
    """Look at the rows of senders at a moment, ``window_s`` back."""
    waited = [_waited(rows, at_s - window_s) for rows in senders]
    waited_s = np.concatenate(waited)
    p50_s, p99_s = np.quantile(waited_s, (0.5, 0.99)).tolist() if waited_s.size else (None, None)
    counts = sum(rows.ended_by_kind for rows in senders)
    return Look(
        at_s=at_s,
        sent=sum(rows.count for rows in senders),
        ended=dict(zip(KINDS, np.asarray(counts).tolist(), strict=True)),
        per_s=waited_s.size / min(window_s, max(at_s, 1e-9)),
        p50_s=p50_s,
        p99_s=p99_s,
    )


def _waited(rows: Rows, since_s: float) -> Times:
    """Latencies of the answers since a moment; outcome 0 is an answer."""
    intended_s = np.asarray(rows.intended_s)[: rows.count]
    first = int(np.searchsorted(intended_s, since_s - _LONGEST_S))
    intended_s, _, done_s, outcome = rows.columns(first)
    recent = (done_s >= max(since_s, 1e-12)) & (outcome == 0)
    waited_s: Times = (done_s - intended_s)[recent]
    return waited_s
