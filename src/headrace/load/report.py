"""What a run says of the server, in numbers, and whether the run can be believed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from headrace.load.arrivals import Times
from headrace.load.result import Kind, Result

# A sender this late measures itself: what it adds must be small beside what it measures.
LAG_LIMIT_S = 1e-3
LAG_SHARE = 0.05
_MS = 1e3


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Order statistics: the smallest value that so many were not above."""

    p50_s: float
    p90_s: float
    p99_s: float
    p999_s: float

    @classmethod
    def of(cls, values: Times) -> Quantiles | None:
        """Return those of some values, None of none."""
        if not values.size:
            return None
        wanted = np.quantile(values, (0.5, 0.9, 0.99, 0.999), method="inverted_cdf")
        return cls(*wanted.tolist())

    def in_ms(self) -> dict[str, float]:
        """As JSON."""
        names = ("p50", "p90", "p99", "p99.9")
        values = (self.p50_s, self.p90_s, self.p99_s, self.p999_s)
        return {name: round(value * _MS, 3) for name, value in zip(names, values, strict=True)}


@dataclass(frozen=True, slots=True)
class Report:
    """A run in numbers, its warm-up cut off.

    Attributes:
        window_s: the time measured: from the end of the warm-up to the end of the plan.
        concurrency: callers of a closed loop; None: an open loop.
        planned: requests intended in the window; everything below is about these.
        sent: those that went.
        ok: those answered.
        offered_per_s: planned requests per second.
        per_s: answers that came in the window, per second.
        goodput_per_s: answered within the objective of the intended time, per second.
        latency: of the answers, from the intended time.
        refusal_latency: of the refusals.
        refusal_after_send: the same from when each was really sent: what the server took for it.
        refused: told to come back later. late: given up for time, here or there. failed: the rest.
        not_sent: the bound on outstanding requests was reached.
        outcomes: how many ended in which other way than ok, the most frequent first.
        lag_p99_s: how late requests were sent, but for the wait for a connection.
        queued_p99_s: how long they waited for one, while all were waiting for answers.
        sender_cpu: cores the sender used.
        spoiled: why the numbers are not to be believed; None: they are.
    """

    window_s: float
    concurrency: int | None
    slo_s: float | None
    planned: int
    sent: int
    ok: int
    offered_per_s: float
    per_s: float
    goodput_per_s: float | None
    latency: Quantiles | None
    refusal_latency: Quantiles | None
    refusal_after_send: Quantiles | None
    refused: int
    late: int
    failed: int
    not_sent: int
    outcomes: tuple[tuple[str, int], ...]
    lag_p99_s: float | None
    queued_p99_s: float | None
    sender_cpu: float
    spoiled: str | None

    @property
    def has_queued(self) -> bool:
        """Whether the wait for a connection is much of what was measured in an open loop."""
        waited_s = 0.0 if self.queued_p99_s is None else self.queued_p99_s
        return self.concurrency is None and waited_s > lag_limit(self.slo_s)

    def to_json(self) -> bytes:
        """Write it as one JSON object, in milliseconds."""
        return orjson.dumps(to_document(self), option=orjson.OPT_INDENT_2)


def make_report(
    result: Result,
    *,
    slo_s: float | None = None,
    warm_s: float = 0.0,
    lag_limit_s: float | None = None,
) -> Report:
    """Sum up a run: ``warm_s`` is cut off its beginning, ``slo_s`` is the objective.

    ``lag_limit_s`` is how late the sender may be at p99; None: see ``lag_limit``.
    """
    window_s = result.duration_s - warm_s
    if window_s <= 0:
        raise ValueError(f"a warm-up of {warm_s:g} s leaves nothing of {result.duration_s:g} s")
    inside = (result.intended_s >= warm_s) & (result.intended_s < result.duration_s)
    ok = result.is_kind(Kind.OK)
    waited_s = result.done_s - result.intended_s
    came = ok & (result.done_s >= warm_s) & (result.done_s < result.duration_s)
    good = ok & inside & (waited_s <= (np.inf if slo_s is None else slo_s))
    sent = ~np.isnan(result.sent_s)
    # Of a request that was not sent, how late that was decided: a late sender is late in this too.
    given_up = result.is_kind(Kind.NOT_SENT)
    gone_s = np.where(sent, result.sent_s, np.where(given_up, result.done_s, np.nan))
    lag_s = (gone_s - result.intended_s - result.queues_s)[inside]
    lag = Quantiles.of(lag_s[~np.isnan(lag_s)])
    queued = Quantiles.of(result.queues_s[inside & sent])
    counts = {kind: int(np.count_nonzero(result.is_kind(kind) & inside)) for kind in Kind}
    refused = result.is_kind(Kind.REFUSED) & inside
    return Report(
        window_s=window_s,
        concurrency=result.concurrency,
        slo_s=slo_s,
        planned=int(np.count_nonzero(inside)),
        sent=int(np.count_nonzero(sent & inside)),
        ok=counts[Kind.OK],
        offered_per_s=float(np.count_nonzero(inside) / window_s),
        per_s=float(np.count_nonzero(came) / window_s),
        goodput_per_s=None if slo_s is None else float(np.count_nonzero(good) / window_s),
        latency=Quantiles.of(waited_s[ok & inside]),
        refusal_latency=Quantiles.of(waited_s[refused]),
        refusal_after_send=Quantiles.of((result.done_s - result.sent_s)[refused]),
        refused=counts[Kind.REFUSED],
        late=counts[Kind.LATE],
        failed=counts[Kind.FAILED],
        not_sent=counts[Kind.NOT_SENT],
        outcomes=_outcomes(result, inside),
        lag_p99_s=None if lag is None else lag.p99_s,
        queued_p99_s=None if queued is None else queued.p99_s,
        sender_cpu=result.cpu_s / max(result.duration_s, float(result.done_s.max(initial=0.0))),
        spoiled=None
        if lag is None
        else _spoiled(result, lag.p99_s, lag_limit(slo_s) if lag_limit_s is None else lag_limit_s),
    )


def _outcomes(result: Result, inside: NDArray[np.bool_]) -> tuple[tuple[str, int], ...]:
    counts = np.bincount(result.outcome[inside], minlength=len(result.outcomes)).tolist()
    named: Counter[str] = Counter()
    for outcome, count in zip(result.outcomes[1:], counts[1:], strict=True):
        if count:
            named[str(outcome)] += count
    return tuple(named.most_common())


def lag_limit(slo_s: float | None) -> float:
    """How late a sender may be at p99: 1 ms, or 5 % of the objective where that is less."""
    return LAG_LIMIT_S if slo_s is None else min(LAG_LIMIT_S, LAG_SHARE * slo_s)


def _spoiled(result: Result, lag_p99_s: float, limit_s: float) -> str | None:
    """Judge the sender; callers in a closed loop have no time at which they meant to send."""
    if result.concurrency is not None or lag_p99_s <= limit_s:
        return None
    return (
        f"the sender was {lag_p99_s * _MS:.2f} ms late at p99, over {limit_s * _MS:g} ms: it "
        "needs a core of its own, a lower rate, or more senders"
    )


def to_document(report: Report) -> dict[str, Any]:
    """Write it for JSON, in milliseconds; what a late sender has measured says nothing: null."""

    def in_ms(value_s: float | None) -> float | None:
        return None if value_s is None else round(value_s * _MS, 3)

    measured = {
        "per_s": round(report.per_s, 1),
        "goodput_per_s": report.goodput_per_s and round(report.goodput_per_s, 1),
        "latency_ms": report.latency and report.latency.in_ms(),
        "refusal_latency_ms": report.refusal_latency and report.refusal_latency.in_ms(),
        "refusal_after_send_ms": report.refusal_after_send and report.refusal_after_send.in_ms(),
    }
    return {
        "window_s": report.window_s,
        "concurrency": report.concurrency,
        "slo_ms": in_ms(report.slo_s),
        "planned": report.planned,
        "sent": report.sent,
        "ok": report.ok,
        "refused": report.refused,
        "late": report.late,
        "failed": report.failed,
        "not_sent": report.not_sent,
        "outcomes": dict(report.outcomes),
        "offered_per_s": round(report.offered_per_s, 1),
        **{name: value if report.spoiled is None else None for name, value in measured.items()},
        "lag_p99_ms": in_ms(report.lag_p99_s),
        "queued_p99_ms": in_ms(report.queued_p99_s),
        "sender_cpu": round(report.sender_cpu, 3),
        "spoiled": report.spoiled,
    }
