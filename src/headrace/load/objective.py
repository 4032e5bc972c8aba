"""Whether a run kept an objective, and as early as can be said whether it still can: pure.

A rate holds when 99 of 100 requests were answered within the objective of their intended time.
Those that were refused, given up or never sent count as missed: p99 of the answered alone would
praise a server for refusing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headrace.load.arrivals import Times
from headrace.load.result import Kind, Result
from headrace.load.rows import Rows
from headrace.load.search import Held

# So many times more than may be missed: a second try would say the same. A machine that stops for a
# moment in a run of seconds does not miss so many.
_CLEARLY = 5


@dataclass(frozen=True, slots=True)
class Objective:
    """Answered within ``slo_s``, but for ``missable`` of the requests."""

    slo_s: float
    missable: float = 0.01

    def is_lost(self, senders: Sequence[Rows], planned: int, warm_s: float, at_s: float) -> bool:
        """Whether a run of so many counted requests has failed clearly already.

        No guess: whatever comes, the run will have missed too many.
        """
        missed = sum(self._missed_so_far(rows, warm_s, at_s) for rows in senders)
        return missed > _CLEARLY * self.missable * planned

    def _missed_so_far(self, rows: Rows, warm_s: float, at_s: float) -> int:
        due = np.asarray(rows.intended_s)[: rows.count]
        first, last = np.searchsorted(due, (warm_s, at_s - self.slo_s)).tolist()
        intended_s, _, done_s, outcome = rows.columns(first)
        known = slice(0, max(last - first, 0))
        kept = (done_s > 0) & (outcome == 0) & (done_s - intended_s <= self.slo_s)
        return int(np.count_nonzero(~kept[known]))

    def share_missed(self, result: Result, warm_s: float) -> float:
        """The share of the counted requests that were not answered in time; 1: none counted."""
        return self._share(result, result.intended_s, warm_s)

    def judge(self, result: Result, warm_s: float) -> Held:
        """Say whether a run kept it; one that was cut short because it was lost has not.

        Where none counted nothing held, but another try may have some.
        """
        missed = self.share_missed(result, warm_s)
        if missed <= self.missable:
            return Held.YES
        if not _counted(result, warm_s).any():
            return Held.NO
        return Held.CLEARLY_NOT if missed > _CLEARLY * self.missable else Held.NO

    def was_the_sender(self, result: Result, warm_s: float) -> bool:
        """Whether the requests would have kept it, had the sender been punctual.

        That all connections were waiting for answers is not its fault.
        """
        gone_s = result.sent_s - result.queues_s
        since_s = np.where(np.isnan(gone_s), result.intended_s, gone_s)
        return self._share(result, since_s, warm_s) <= self.missable

    def _share(self, result: Result, since_s: Times, warm_s: float) -> float:
        inside = _counted(result, warm_s)
        if not inside.any():
            return 1.0
        kept: NDArray[np.bool_] = result.is_kind(Kind.OK) & (result.done_s - since_s <= self.slo_s)
        return float(np.count_nonzero(~kept & inside) / np.count_nonzero(inside))


def _counted(result: Result, warm_s: float) -> NDArray[np.bool_]:
    return np.asarray((result.intended_s >= warm_s) & (result.intended_s < result.duration_s))
