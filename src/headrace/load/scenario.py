"""MLPerf's four scenarios: how each loads a server, what it measures, and when that is valid. Pure.

A percentile is claimed on as many queries as say enough of it, by LoadGen's early stopping: were
the claim false, the chance to see so few queries over the bound would be at most 1 in 100.

Source: MLPerf Inference Rules, "Scenarios" and "Early Stopping Criterion"; LoadGen's results.cc.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from headrace.load.result import Kind, Result

SHORTEST_S = 600.0
OFFLINE_SAMPLES = 24_576
_CHANCE = 0.01
_MS = 1e3


@dataclass(frozen=True, slots=True)
class Scenario:
    """One of the four.

    Attributes:
        name: as on the command line.
        callers: of a closed loop; None: Poisson arrivals.
        rows: samples of a query.
        percentile: of the queries, that the latency is told of; None: throughput is.
    """

    name: str
    callers: int | None
    rows: int
    percentile: float | None


SCENARIOS = {
    one.name: one
    for one in (
        Scenario("single-stream", callers=1, rows=1, percentile=0.90),
        Scenario("multi-stream", callers=1, rows=8, percentile=0.99),
        Scenario("server", callers=None, rows=1, percentile=0.99),
        # All samples are there at the start; so many are given to the server at once.
        Scenario("offline", callers=64, rows=1, percentile=None),
    )
}


@dataclass(frozen=True, slots=True)
class Score:
    """What a run of a scenario came to.

    Attributes:
        metric: what is measured.
        value: how much; None: it cannot be said.
        unit: of the value.
        faults: why it is not valid by the rules; none: it is.
    """

    metric: str
    value: float | None
    unit: str
    faults: tuple[str, ...]


def too_short(duration_s: float) -> list[str]:
    """Say that a run was, if it was."""
    if duration_s >= SHORTEST_S:
        return []
    return [f"it lasted {duration_s:g} s of at least {SHORTEST_S:g}"]


def other_rows(scenario: Scenario, rows: int | None) -> list[str]:
    """Say that queries had other rows than a scenario's have; None: nobody knows."""
    if rows in {None, scenario.rows}:
        return []
    return [f"queries of {rows:,} {'row' if rows == 1 else 'rows'}, not {scenario.rows}"]


def too_few(samples: int) -> list[str]:
    """Say that samples of an offline run were, if they were."""
    if samples >= OFFLINE_SAMPLES:
        return []
    return [f"{samples:,} samples are fewer than {OFFLINE_SAMPLES:,}"]


def score(
    scenario: Scenario, result: Result, slo_s: float | None, rows: int | None = None
) -> Score:
    """Say what a run came to, and whether that is valid; ``rows`` are those of its queries."""
    faults = [*too_short(result.duration_s), *other_rows(scenario, rows)]
    ok = result.is_kind(Kind.OK)
    if scenario.percentile is None:
        return _throughput(scenario, result, faults)
    if scenario.callers is None:
        return _server(scenario, result, slo_s or math.inf, faults)
    if not ok.all():
        faults.append(f"{np.count_nonzero(~ok):,} of {len(result):,} queries were not answered")
    waited_s = np.sort((result.done_s - result.intended_s)[ok])
    over = slowest_left_out(len(waited_s), scenario.percentile)
    if over is None:
        faults.append(f"{len(waited_s):,} queries are too few for an estimate")
    return Score(
        metric=f"{scenario.percentile * 100:.0f}th percentile, early-stopping estimate",
        value=None if over is None else float(waited_s[len(waited_s) - over]) * _MS,
        unit="ms",
        faults=tuple(faults),
    )


def _server(scenario: Scenario, result: Result, slo_s: float, faults: list[str]) -> Score:
    in_time = result.is_kind(Kind.OK) & (result.done_s - result.intended_s <= slo_s)
    over = int(np.count_nonzero(~in_time))
    percentile = scenario.percentile or 0.0
    if over > (1 - percentile) * len(result):
        faults.append(f"{over:,} of {len(result):,} queries were over {slo_s * _MS:g} ms")
    elif chance(len(result), over, percentile) > _CHANCE:
        faults.append(
            f"with {over:,} queries over {slo_s * _MS:g} ms, {len(result):,} are too few: early "
            "stopping wants more"
        )
    return Score("Poisson arrivals", len(result) / result.duration_s, "queries/s", tuple(faults))


def _throughput(scenario: Scenario, result: Result, faults: list[str]) -> Score:
    ok = result.is_kind(Kind.OK)
    samples = int(np.count_nonzero(ok)) * scenario.rows
    faults += too_few(samples)
    if not ok.all():
        faults.append(f"{np.count_nonzero(~ok):,} of {len(result):,} queries were not answered")
    took_s = float(result.done_s.max(initial=0.0))
    value = samples / took_s if took_s else None
    return Score("throughput", value, "samples/s", tuple(faults))


def chance(queries: int, over: int, percentile: float) -> float:
    """How probable so few queries over a bound are, were the percentile just at the bound.

    The sum of a binomial's first terms: each is the one before times a ratio, as logarithms.
    """
    if over >= queries:
        return 1.0
    places = np.arange(over)
    ratios = np.log((queries - places) / (places + 1) * ((1 - percentile) / percentile))
    logs = queries * math.log(percentile) + np.concatenate(([0.0], np.cumsum(ratios)))
    top = float(logs.max())
    return min(float(np.exp(logs - top).sum()) * math.exp(top), 1.0)


def slowest_left_out(queries: int, percentile: float) -> int | None:
    """Which of the slowest, counted from the end, is the estimate; None: there are too few."""
    if chance(queries, 1, percentile) > _CHANCE:
        return None
    low, high = 1, queries
    while high - low > 1:
        middle = (low + high) // 2
        if chance(queries, middle, percentile) <= _CHANCE:
            low = middle
        else:
            high = middle
    return low
