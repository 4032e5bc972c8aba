from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.dashboard.counts import Counts, summed
from headrace.observe.histogram import SECONDS, Histogram

seconds = st.floats(1e-5, 50)


def counts(values: list[float]) -> Counts:
    """What a page would say of these values."""
    histogram = Histogram()
    for value in values:
        histogram.observe(value)
    cumulative = {float(bound): count for bound, count in histogram.cumulative()}
    return Counts.of(cumulative, histogram.total)


def test_nothing_has_no_percentile_and_no_mean() -> None:
    assert Counts().quantile(0.5) is None
    assert counts([]).quantile(0.99) is None
    assert counts([]).mean is None


def test_a_bucket_is_taken_to_be_evenly_filled() -> None:
    four = Counts.of({1.0: 0, 2.0: 4, math.inf: 4}, 6.0)
    assert four.quantile(0.5) == 1.5
    assert four.quantile(1) == 2
    assert four.mean == 1.5


def test_what_is_past_the_last_bound_counts_as_that() -> None:
    assert Counts.of({1.0: 0, math.inf: 3}, 30.0).quantile(0.5) == 1


@given(st.lists(seconds, min_size=1), st.floats(0.01, 1))
def test_a_percentile_is_in_the_bucket_of_the_value_that_it_stands_for(
    values: list[float], share: float
) -> None:
    exact = sorted(values)[max(math.ceil(share * len(values)) - 1, 0)]
    found = counts(values).quantile(share)
    assert found is not None
    high = next(bound for bound in SECONDS if exact <= bound)
    low = max((bound for bound in SECONDS if bound < high), default=0.0)
    assert low <= found <= high * (1 + 1e-9)


@given(st.lists(seconds, min_size=1))
def test_percentiles_rise(values: list[float]) -> None:
    found = [counts(values).quantile(share / 20) or 0.0 for share in range(1, 21)]
    assert found == sorted(found)


@given(st.lists(st.lists(seconds), max_size=4))
def test_sums_count_everything_once(parts: list[list[float]]) -> None:
    together = summed(counts(part) for part in parts)
    everything = counts([value for part in parts for value in part])
    assert together.count == everything.count
    assert together.total == pytest.approx(everything.total)


@given(st.lists(seconds), st.lists(seconds))
def test_what_came_since_is_what_was_added(before: list[float], more: list[float]) -> None:
    since = counts(before + more).since(counts(before))
    assert since.counts == counts(more).counts or not more
    assert since.count == len(more)
    assert since.total == pytest.approx(sum(more), abs=1e-6)


def test_what_has_fallen_has_begun_anew() -> None:
    after = counts([1.0])
    assert after.since(counts([1.0, 1.0])) == after
