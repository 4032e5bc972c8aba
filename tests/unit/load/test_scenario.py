"""MLPerf's rules, against numbers that LoadGen is known by and against exact arithmetic."""

from __future__ import annotations

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.load.result import OK, TIMEOUT, Result
from headrace.load.scenario import SCENARIOS, chance, score, slowest_left_out


def _result(waited_s: list[float], duration_s: float = 600.0, late: int = 0) -> Result:
    """Queries evenly over the time; so many of the first are never answered."""
    count = len(waited_s)
    at = np.arange(count) / count * duration_s
    return Result(
        intended_s=at,
        sent_s=at,
        done_s=at + np.array(waited_s),
        outcome=(np.arange(count) < late).astype(np.uint16),
        outcomes=(OK, TIMEOUT),
        answers={},
        started_s=0.0,
        duration_s=duration_s,
        cpu_s=0.0,
    )


def test_queries_of_other_rows_than_the_scenarios_are_a_fault() -> None:
    result = _result([0.001] * 1000)
    assert score(SCENARIOS["multi-stream"], result, None, rows=1).faults == (
        "queries of 1 row, not 8",
    )
    assert score(SCENARIOS["single-stream"], result, None, rows=4).faults == (
        "queries of 4 rows, not 1",
    )
    for rows in (8, None):
        assert not score(SCENARIOS["multi-stream"], result, None, rows=rows).faults


@given(st.integers(1, 200), st.integers(0, 30), st.sampled_from([90, 97, 99]))
def test_the_chance_is_the_binomials(queries: int, over: int, percent: int) -> None:
    q = Fraction(100 - percent, 100)
    exact = sum(
        comb(queries, k) * q**k * (1 - q) ** (queries - k) for k in range(min(over, queries) + 1)
    )
    assert chance(queries, over, percent / 100) == pytest.approx(float(exact), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(
    ("queries", "over", "percentile"),
    [(459, 0, 0.99), (44, 0, 0.90), (64, 1, 0.90), (662, 1, 0.99)],  # as LoadGen has them
)
def test_the_fewest_queries_are_those_of_loadgen(
    queries: int, over: int, percentile: float
) -> None:
    assert chance(queries, over, percentile) <= 0.01 < chance(queries - 1, over, percentile)


def test_the_estimate_is_of_the_slowest_at_first_and_near_the_percentile_at_last() -> None:
    assert slowest_left_out(63, 0.90) is None
    assert slowest_left_out(64, 0.90) == 1
    many = slowest_left_out(270_336, 0.99)
    assert many is not None
    assert 0.95 * 2703 < many < 2703


def test_the_chance_of_many_queries_is_a_number() -> None:
    assert chance(10_000_000, 50_000, 0.99) == 0.0
    assert chance(1_000_000, 500_000, 0.99) == pytest.approx(1.0)


def test_a_single_stream_is_told_by_its_90th_percentile() -> None:
    found = score(SCENARIOS["single-stream"], _result([n / 1000 for n in range(1, 65)]), None)
    assert found.metric == "90th percentile, early-stopping estimate"
    assert found.value == pytest.approx(64)
    assert found.faults == ()


def test_too_few_queries_too_short_or_unanswered_ones_are_not_valid() -> None:
    found = score(SCENARIOS["multi-stream"], _result([0.01] * 100, 60.0, late=1), None)
    assert found.value is None
    assert found.faults == (
        "it lasted 60 s of at least 600",
        "1 of 100 queries were not answered",
        "99 queries are too few for an estimate",
    )


@pytest.mark.parametrize(
    ("queries", "over", "fault"),
    [
        (459, 0, None),
        (458, 0, "458 are too few"),
        (662, 1, None),
        (661, 1, "with 1 queries over 20 ms, 661 are too few"),
        (1000, 11, "11 of 1,000 queries were over 20 ms"),
    ],
)
def test_a_server_keeps_its_bound_or_says_why_not(
    queries: int, over: int, fault: str | None
) -> None:
    waited_s = [0.03] * over + [0.01] * (queries - over)
    found = score(SCENARIOS["server"], _result(waited_s), 0.02)
    assert found.value == pytest.approx(queries / 600)
    assert len(found.faults) == (fault is not None)
    assert fault is None or fault in found.faults[0]


def test_a_query_that_was_never_answered_is_over_the_bound() -> None:
    found = score(SCENARIOS["server"], _result([0.01] * 1000, late=11), 0.02)
    assert "11 of 1,000 queries were over" in found.faults[0]


def test_offline_is_told_by_its_throughput_up_to_the_last_answer() -> None:
    enough = score(SCENARIOS["offline"], _result([0.5] * 24_576), None)
    assert enough.value == pytest.approx(24_576 / 600.5, rel=1e-3)
    assert enough.faults == ()
    few = score(SCENARIOS["offline"], _result([0.5] * 100, late=1), None)
    assert few.faults == (
        "99 samples are fewer than 24,576",
        "1 of 100 queries were not answered",
    )
