"""Closed forms of queueing, for the explanation of a plan: pure.

The numbers of a plan come from the simulator, which runs the server's own scheduler. These say why
they are what they are, and check them: each has the place it comes from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

Curve = Callable[[int], float]
"""Rows of a batch → seconds it runs; never falling."""

_DAY_S = 86_400
# A fixed point is found when it is known to this share; each step halves what is not known.
_SAME = 1e-9
_MOST_STEPS = 200


# -- laws that hold whatever arrives ---------------------------------------------------------------


def in_system(rate_rps: float, response_s: float) -> float:
    """How many requests are in a system on average: L = λ W.

    Little, "A proof for the queuing formula L = λW", Operations Research 9 (1961).
    """
    return rate_rps * response_s


def busy_share(rate_rps: float, service_s: float, servers: int) -> float:
    """Which share of their time servers are busy: u = λ S / c, the utilisation law.

    Denning and Buzen, "The operational analysis of queueing network models", ACM Computing Surveys
    10 (1978). ``service_s`` is what one request takes of a server: of a batch, its part.
    """
    return rate_rps * service_s / servers


class Capacity(NamedTuple):
    """The most that can be served, and the batch size that does it."""

    rate_rps: float
    batch: int


def capacity(curve: Curve, sizes: Iterable[int], servers: int) -> Capacity:
    """The most rows a second that lanes can do: c · max over b of b / s(b).

    The utilisation law at u = 1, with a batch's part S = s(b) / b; s is the curve. Of equal sizes
    the smallest.
    """
    best = max(sorted(sizes), key=lambda rows: rows / curve(rows))
    return Capacity(servers * best / curve(best), best)


# -- the rules of thumb of service engineering -----------------------------------------------------


def rate_of(concurrency: float, response_s: float) -> float:
    """Requests a second that so many callers make, each asking again when it has its answer.

    Throughput = concurrency / response time: Little's law read the other way, for a closed loop.
    """
    return concurrency / response_s


def peak_rate(requests_per_day: float, share: float = 0.8, of_the_day: float = 0.2) -> float:
    """The rate to plan for when only a day's total is known: 80 % of it in 20 % of the day.

    The rule of thumb of service engineering, after Pareto; a measured peak is always better.
    """
    return requests_per_day * share / (_DAY_S * of_the_day)


def machines(rate_rps: float, each_rps: float) -> int:
    """How many machines a rate needs, each able to do so much: ⌈peak rate / rate of one⌉."""
    return max(1, math.ceil(rate_rps / each_rps - _SAME))


# -- waiting ---------------------------------------------------------------------------------------


def waits(servers: int, offered: float) -> float:
    """The probability that a Poisson arrival has to wait for one of c servers (Erlang C).

    ``offered`` is λ S, in servers. Erlang (1917); computed from Erlang B by its recursion, which
    cannot overflow. 1 when the servers cannot keep up.
    """
    if offered >= servers:
        return 1.0
    blocked = 1.0
    for number in range(1, servers + 1):
        blocked = offered * blocked / (number + offered * blocked)
    share = offered / servers
    return blocked / (1 - share + share * blocked)


def mean_wait_s(rate_rps: float, service_s: float, servers: int, variation: float = 0.0) -> float:
    """How long a Poisson arrival waits on average, of single requests: M/G/c.

    Allen and Cunneen's approximation (Allen, "Probability, Statistics and Queueing Theory", 1990):
    W = C(c, λS) · S / (c (1 - u)) · (1 + v²) / 2, where ``variation`` v is the coefficient of
    variation of the service time. Exact for c = 1 (Pollaczek and Khinchine) and for M/M/c (v = 1).
    Infinite when the servers cannot keep up.
    """
    offered = rate_rps * service_s
    if offered >= servers:
        return math.inf
    mean_s = waits(servers, offered) * service_s / (servers - offered)
    return mean_s * (1 + variation**2) / 2


class BatchQueue(NamedTuple):
    """A queue whose servers take all that waits: its mean batch, busy share and mean response."""

    batch: float
    busy: float
    response_s: float


def batch_queue(rate_rps: float, curve: Curve, servers: int, largest: int) -> BatchQueue:
    """The mean batch, busy share and response time of lanes that take all that waits: M/D^[1,b]/c.

    An approximation of ours. While all lanes run one ends every s(b)/c and takes what came since,
    so b = λ s(b) / c: a mean-field fixed point. Where that is below 1 requests run alone, and lanes
    are idle in between. The response is the smaller of two: that of requests which never share a
    run (M/D/c, Allen and Cunneen), and Inoue's bound for a lane with its part of the requests, the
    curve taken for a line. One lane: within a tenth of the simulator; several: within a factor of
    two, since they are less alike than they are taken to be. Infinite past capacity.
    """
    batch = _fixed_batch(rate_rps, curve, servers, largest)
    if batch is None:
        return BatchQueue(largest, 1.0, math.inf)
    alone_s = mean_wait_s(rate_rps, curve(1), servers) + curve(1)
    each_s, fixed_s = _line(curve, largest)
    together_s = response_bound_s(rate_rps / servers, each_s, fixed_s)
    busy = busy_share(rate_rps, curve(1), servers) if batch <= 1 else 1.0
    return BatchQueue(batch, busy, min(alone_s, together_s))


def _line(curve: Curve, largest: int) -> tuple[float, float]:
    """The line through the ends of a curve: seconds a row, and a run; neither below 0."""
    if largest == 1:
        return curve(1), 0.0
    each_s = (curve(largest) - curve(1)) / (largest - 1)
    fixed_s = curve(1) - each_s
    return (each_s, fixed_s) if fixed_s >= 0 else (curve(largest) / largest, 0.0)


def _fixed_batch(rate_rps: float, curve: Curve, servers: int, largest: int) -> float | None:
    """The b with b = λ s(b) / c, at least 1; None when there is none up to the largest."""

    def grown(batch: float) -> float:
        return rate_rps * _between(curve, batch) / servers

    if grown(1.0) <= 1:
        return 1.0
    low, high = 1.0, float(largest)
    if grown(high) > high:
        return None
    for _ in range(_MOST_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if grown(middle) > middle else (low, middle)
        if high - low <= _SAME * high:
            break
    return high


def _between(curve: Curve, rows: float) -> float:
    """A curve at a mean that is no whole number."""
    below = math.floor(rows)
    share = rows - below
    return curve(below) if not share else curve(below) * (1 - share) + curve(below + 1) * share


def response_bound_s(rate_rps: float, each_s: float, fixed_s: float) -> float:
    """The mean response is at most this: one lane that takes all, runs of ``fixed + each · b``.

    Inoue, "Queueing analysis of GPU-based inference servers with dynamic batching: a closed-form
    characterization", Performance Evaluation 147 (2021), arXiv 1912.06322; with Poisson arrivals
    and no largest batch, and close to exact. Infinite when the lane cannot keep up.
    """
    load = rate_rps * each_s
    if load >= 1:
        return math.inf
    one = rate_rps * fixed_s
    quiet = (each_s + fixed_s) / (2 * (1 - load)) * (1 + 2 * one + (1 - one) / (1 + load))
    loud = 1.5 * fixed_s / (1 - load) + each_s / 2 * (load + 2) / (1 - load**2)
    return min(quiet, loud)
