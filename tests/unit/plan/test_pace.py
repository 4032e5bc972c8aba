"""How fast a machine was is read off its runs, and drawn in stretches of time."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.plan.pace import Trace, drawn, traced
from headrace.plan.seen import Ran
from headrace.scheduler.simulate import Pace


def always(_running: int) -> float:
    return 1.0


def expected_s(rows: int) -> float:
    return 0.01 * rows


def run(began_s: float, ended_s: float, rows: int = 1) -> Ran:
    return Ran(rows, ended_s - began_s, ended_s)


def mean_s(trace: Trace) -> float:
    """How long runs of 10 ms take that begin at any time."""
    pace = Pace(moments=trace)
    length_s = math.fsum(seconds for seconds, _ in trace)
    begins = [length_s * (place + 0.5) / 2000 for place in range(2000)]
    return float(np.mean([pace.at_s(pace.worked_s(at) + 0.01) - at for at in begins]))


def test_a_stall_is_of_the_time_in_which_runs_were_long() -> None:
    """Nine as expected, then one of 50 ms: 40 of them are a stall."""
    runs = [run(0.02 * n, 0.02 * n + 0.01) for n in range(9)] + [run(1.0, 1.05)]
    trace = traced(runs, expected_s, always)
    assert math.fsum(seconds for seconds, _ in trace) == pytest.approx(0.14)
    calm, stalled = trace[0][1], trace[-1][1]
    assert [seconds for seconds, slower in trace if slower == stalled] == pytest.approx([0.05])
    assert stalled / calm == pytest.approx(5, rel=1e-3)
    assert mean_s(trace) == pytest.approx(0.01, rel=0.01)


def test_lanes_that_ran_at_the_same_time_tell_of_the_same_time() -> None:
    runs = [run(0.0, 0.02), run(0.01, 0.02), run(0.03, 0.04)]
    trace = traced(runs, expected_s, always)
    assert [seconds for seconds, _ in trace] == pytest.approx([0.01, 0.01, 0.01])
    first, both, last = (slower for _, slower in trace)
    assert (first / last, both / last) == pytest.approx((2.0, 1.5), rel=1e-3)


def test_what_lanes_cost_each_other_is_no_pace_of_the_machine() -> None:
    """Two that share a core take twice as long while both run."""
    runs = [run(0.0, 0.02), run(0.0, 0.02), run(0.05, 0.06)]
    trace = traced(runs, expected_s, lambda running: 1 / running)
    assert [slower for _, slower in trace] == pytest.approx([1.0, 1.0], rel=1e-3)


def test_runs_of_all_sizes_are_as_long_as_they_should_be() -> None:
    runs = [run(0.1 * n, 0.1 * n + 0.03 * (n % 3 + 1), n % 3 + 1) for n in range(30)]
    trace = traced(runs, expected_s, always)
    assert [slower for _, slower in trace] == pytest.approx([1.0] * len(trace), rel=1e-3)


@pytest.mark.parametrize("runs", [(), (run(1.0, 1.0),)])
def test_where_nothing_ran_there_is_no_trace(runs: tuple[Ran, ...]) -> None:
    assert traced(runs, expected_s, always) == ()


SOME: Trace = tuple((0.01, 1 + n / 1000) for n in range(1000))
OTHERS: Trace = tuple((0.02, 3 + n / 1000) for n in range(500))


@given(
    st.lists(st.tuples(st.floats(1e-5, 1), st.floats(0.1, 9)), min_size=1, max_size=30),
    st.floats(0, 1),
    st.floats(1e-3, 20),
)
def test_as_long_a_time_is_drawn_as_is_wanted_and_nothing_that_was_not_seen(
    some: list[tuple[float, float]], share: float, duration_s: float
) -> None:
    seconds, slower = zip(*drawn(1, tuple(some), tuple(some), share, duration_s), strict=True)
    enough_s = min(duration_s, 250 * math.fsum(long_s for long_s, _ in some))
    assert math.fsum(seconds) >= enough_s * (1 - 1e-6)
    assert min(seconds) > 0
    seen = [times for _, times in some]
    assert all(any(one == pytest.approx(times) for times in seen) for one in set(slower))


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_stretches_are_of_either_trace(share: float) -> None:
    moments = drawn(1, SOME, OTHERS, share, 400.0)
    first = math.fsum(long_s for long_s, times in moments if times < 2.5)
    assert first / math.fsum(long_s for long_s, _ in moments) == pytest.approx(share, abs=0.01)


def test_another_seed_is_another_chance() -> None:
    one, same, other = (drawn(seed, SOME, OTHERS, 0.5, 10.0) for seed in (1, 1, 2))
    assert one == same != other


def test_short_plays_with_many_seeds_see_all_of_it() -> None:
    """As parts of a load are played: by chance the mean would be off by 3 %."""
    plays = [drawn(seed, SOME, OTHERS, 0.5, 3.0) for seed in range(80)]
    seconds, slower = zip(*(moment for play in plays for moment in play), strict=True)
    right = (np.mean([times for _, times in SOME]) + np.mean([times for _, times in OTHERS])) / 2
    assert np.average(slower, weights=seconds) == pytest.approx(right, rel=0.01)
