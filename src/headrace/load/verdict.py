"""Whether a run can be believed, and until when: a server that goes away ends what is counted."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from headrace.load.report import Report, make_report
from headrace.load.result import CONNECTION_LOST, CONNECTION_REFUSED, Result

_GONE = frozenset({CONNECTION_REFUSED, CONNECTION_LOST})


@dataclass(frozen=True, slots=True)
class Verdict:
    """A run and what to think of it.

    Attributes:
        result: its rows, all of them.
        report: its numbers; None: there is nothing to count.
        warm_s: how much of the beginning is not in the report.
        gone_s: when the server went away and did not come back, in seconds; None: it stayed.
        interrupted: somebody ended the run early.
        rows: of each request; None: they differ, or nobody knows.
    """

    result: Result
    report: Report | None
    warm_s: float
    gone_s: float | None
    interrupted: bool
    rows: int | None = None

    @property
    def failure(self) -> str | None:
        """Why the numbers are not what was asked for; None: they are."""
        if self.gone_s is not None:
            return (
                f"the server went away {self.gone_s:.1f} s into the run and did not come back: the "
                "numbers are of what was before"
            )
        if self.report is None:
            return "the run ended before there was anything to count"
        if self.report.spoiled is not None:
            return self.report.spoiled
        if not self.report.ok:
            return "not one request was answered"
        return (
            "interrupted: the numbers are of what was sent until then" if self.interrupted else None
        )


def judge(
    result: Result,
    *,
    slo_s: float | None = None,
    warm_s: float = 0.0,
    lag_limit_s: float | None = None,
    interrupted: bool = False,
    rows: int | None = None,
) -> Verdict:
    """Sum up a run and judge it; see ``make_report`` for the limits."""
    gone_s = _gone(result)
    counted = result if gone_s is None else replace(result, duration_s=gone_s)
    report = None
    if counted.duration_s > warm_s:
        report = make_report(counted, slo_s=slo_s, warm_s=warm_s, lag_limit_s=lag_limit_s)
    return Verdict(result, report, warm_s, gone_s, interrupted, rows)


def _gone(result: Result) -> float | None:
    """When the server went away for good: since then no request had a connection.

    The last was refused one. Connections that were only lost may be the server's answer to a client
    that gives up too many requests.
    """
    without = np.array([outcome in _GONE for outcome in result.outcomes])[result.outcome]
    if not without.size or result.outcomes[result.outcome[-1]] != CONNECTION_REFUSED:
        return None
    with_one = np.flatnonzero(~without)
    first = with_one[-1] + 1 if with_one.size else 0
    return float(result.intended_s[first])
