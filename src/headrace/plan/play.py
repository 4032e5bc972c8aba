"""A rate, played several times on the server's own scheduler: what clients would see. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from headrace.load.arrivals import BURST_S, CALM_S, Arrivals, bursts, poisson
from headrace.plan.estimate import Estimate
from headrace.plan.machine import Machine
from headrace.plan.question import Kind, Question
from headrace.scheduler.simulate import IN_TIME, LATE, Arrival, Result, simulate

# Requests of one play that count: 40 of them are past the 99th percentile. Those before let queues
# become as long as they will be.
_COUNTED = 4000
_SETTLING = 0.15
# With bursts a play has so many on average, or as many as so many requests make: a fast model has
# answered 4,000 before a single one has shown what it does.
_BURSTS, _MOST_COUNTED = 10, 20_000
# More bursts are not drawn, but longer ones: with 4,000 requests no two of them share a burst.
_MOST_BURSTS = 100_000


@dataclass(frozen=True, slots=True)
class Played:
    """What came of a rate: means over the seeds, seconds as clients see them.

    The times are of the answered, None when nobody was; ``answered_rps`` is how many those are.
    ``in_time`` is the share of all requests that was answered within the objective; ``refused`` the
    shares of the others, by the code of their error (``late``: answered too late).
    """

    rate_rps: float
    answered_rps: float
    mean_s: Estimate | None
    p50_s: Estimate | None
    p99_s: Estimate | None
    batch: Estimate
    busy: Estimate
    in_time: Estimate
    refused: Mapping[str, float]


def play(machine: Machine, question: Question, rate_rps: float) -> Played:
    """Play a rate with every seed of the question."""
    results = [play_once(machine, question, rate_rps, seed) for seed in range(question.seeds)]
    return sum_up(rate_rps, results)


def sum_up(rate_rps: float, results: Sequence[Result]) -> Played:
    """Put several plays of a rate together."""
    refused = _shares(results)
    unanswered = sum(share for code, share in refused.items() if code != LATE)
    return Played(
        rate_rps,
        rate_rps * (1 - unanswered),
        _estimate([one.mean_s for one in results]),
        _estimate([one.p50_s for one in results]),
        _estimate([one.p99_s for one in results]),
        Estimate.of([one.mean_batch for one in results]),
        Estimate.of([one.utilisation for one in results]),
        Estimate.of([one.in_time_share for one in results]),
        refused,
    )


def play_once(
    machine: Machine,
    question: Question,
    rate_rps: float,
    seed: int,
    *,
    counted: int = _COUNTED,
    at_least: float = 0.0,
) -> Result:
    """Play a rate once. The same seed gives the same requests, only closer together or apart.

    Of bursts their number is another where the play lasts longer.

    About so many of them are ``counted``, more where bursts are to be seen; ``at_least`` as of
    ``simulate``.
    """
    if question.kind is Kind.BURSTS:
        counted = max(counted, min(_MOST_COUNTED, int(rate_rps * _BURSTS * (BURST_S + CALM_S))))
    duration_s = counted * (1 + _SETTLING) / rate_rps
    sent = send_times(question, rate_rps, duration_s, seed)
    settled_s = _SETTLING / (1 + _SETTLING) * duration_s
    return play_sent(machine, question, sent, settled_s, seed, at_least=at_least)


def send_times(question: Question, rate_rps: float, duration_s: float, seed: int) -> Arrivals:
    """When requests are sent."""
    if question.kind is Kind.POISSON:
        return poisson(rate_rps, duration_s, seed)
    longer = max(1.0, duration_s / (_MOST_BURSTS * (BURST_S + CALM_S)))
    return bursts(rate_rps, duration_s, seed, burst_s=longer * BURST_S, calm_s=longer * CALM_S)


def play_sent(
    machine: Machine,
    question: Question,
    sent: Arrivals,
    settled_s: float,
    seed: int,
    *,
    at_least: float = 0.0,
) -> Result:
    """Play requests that are sent at these times, and count those after ``settled_s``.

    ``at_least`` as of ``simulate``.
    """
    return simulate(
        machine.scheduler(sent.rate),
        arrivals(machine, question, sent, seed),
        machine.service(seed, sent.rate),
        lanes=machine.lanes,
        reply_s=machine.handover_s,
        pace=machine.pace(seed, sent.rate, sent.duration_s),
        settled_s=settled_s,
        at_least=at_least,
    )


def arrivals(machine: Machine, question: Question, sent: Arrivals, seed: int) -> Iterator[Arrival]:
    """Yield requests in the order in which they come out of the receivers.

    Each works on one at a time, and gets them as connections fall: by chance. Deadlines know how
    long that took, for Envoy notes when a request came.
    """
    timeout_s = float("inf") if question.slo_s is None else question.slo_s
    came = received(sent.times_s.tolist(), machine.front.each_s, machine.receivers)
    ways_s = machine.ways_s(seed, len(came), sent.rate)
    for (out_s, at_s), way_s in zip(came, ways_s, strict=True):
        yield Arrival(
            out_s,
            timeout_s,
            question.rows,
            elements=question.elements,
            waited_s=out_s - at_s,
            way_s=way_s,
        )


def received(
    sent_s: Sequence[float], each_s: float, receivers: int
) -> Sequence[tuple[float, float]]:
    """When each request is out of its receiver, ascending, and when it was sent."""
    chosen = np.random.default_rng(0).integers(receivers, size=len(sent_s)).tolist()
    free_s, found = [0.0] * receivers, []
    for at_s, which in zip(sent_s, chosen, strict=True):
        free_s[which] = max(at_s, free_s[which]) + each_s
        found.append((free_s[which], at_s))
    return sorted(found)


def _estimate(values: Sequence[float | None]) -> Estimate | None:
    known = [value for value in values if value is not None]
    return Estimate.of(known) if len(known) == len(values) else None


def _shares(results: Sequence[Result]) -> dict[str, float]:
    counts: Counter[str] = Counter()
    for one in results:
        counts.update(one.outcomes)
    total = counts.total()
    return {code: count / total for code, count in counts.most_common() if code != IN_TIME}
