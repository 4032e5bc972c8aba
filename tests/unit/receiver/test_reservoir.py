"""Laws of what is kept: bounds hold, and it is spread over time."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.receiver.run.reservoir import Reservoir

LIMIT, LIMIT_BYTES = 8, 800


@given(
    st.lists(
        st.tuples(st.floats(min_value=0, max_value=100), st.integers(min_value=0, max_value=300)),
        max_size=200,
    )
)
def test_the_bounds_hold_whatever_comes(came: list[tuple[float, int]]) -> None:
    kept = Reservoir[int](LIMIT, LIMIT_BYTES)
    now_s, sizes = 0.0, dict(enumerate(size for _, size in came))
    for number, (gap_s, size_bytes) in enumerate(came):
        now_s += gap_s
        if kept.due(now_s):
            kept.put(number, size_bytes, now_s)
        assert len(kept.things) <= LIMIT
        assert kept.size_bytes == sum(sizes[thing] for thing in kept.things) <= LIMIT_BYTES
        assert list(kept.things) == sorted(kept.things)


@given(st.floats(min_value=0.001, max_value=5), st.integers(min_value=1, max_value=400))
def test_what_is_kept_of_a_steady_stream_is_spread_over_it(step_s: float, passes: int) -> None:
    kept = Reservoir[float](LIMIT, LIMIT_BYTES)
    for number in range(passes):
        now_s = number * step_s
        if kept.due(now_s):
            kept.put(now_s, 1, now_s)
    gaps = [b - a for a, b in itertools.pairwise(kept.things)]
    assert all(gap >= 0.999 for gap in gaps)
    assert not gaps or max(gaps) == pytest.approx(min(gaps))


def test_the_first_is_wanted_at_once_and_the_next_a_second_later() -> None:
    kept = Reservoir[str]()
    assert kept.due(5.0)
    kept.put("a", 1, 5.0)
    assert not kept.due(5.9)
    assert kept.due(6.0)


def test_of_a_long_time_only_the_last_half_hour_is_kept() -> None:
    kept = Reservoir[int]()
    for now_s in range(100_000):
        if kept.due(now_s):
            kept.put(now_s, 1, now_s)
    assert len(kept.things) == 32
    assert 20 * 60 <= kept.things[-1] - kept.things[0] <= 35 * 60
    assert kept.things[-1] > 100_000 - 100


def test_what_alone_needs_too_much_room_is_left_out_and_the_rest_stays() -> None:
    kept = Reservoir[str](LIMIT, LIMIT_BYTES)
    kept.put("small", 10, 0.0)
    kept.put("large", LIMIT_BYTES, 1.0)
    assert kept.things == ("small",)
    assert not kept.due(1.5)  # it was looked at, and that has cost a copy
