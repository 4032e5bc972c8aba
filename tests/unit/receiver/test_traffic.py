"""Which shapes count as common in the traffic of a version."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headrace.receiver.run.traffic import Bucket, Traffic


def shape(size: int) -> Bucket:
    return ((size,),)


def play(traffic: Traffic, batches: dict[int, int], start_s: float) -> tuple[Bucket, ...] | None:
    """Run so many batches of each size within a review, then one more that makes it due."""
    told = [
        traffic.ran(shape(size), start_s) for size, count in batches.items() for _ in range(count)
    ]
    assert told[1:] == [None] * (len(told) - 1)
    return told[0]


def test_common_shapes_are_told_the_most_frequent_first() -> None:
    traffic = Traffic()
    play(traffic, {16: 30, 37: 60, 5: 1}, 100.0)
    assert traffic.ran(shape(37), 101.5) == (shape(37), shape(16))


def test_the_same_shapes_are_told_once() -> None:
    traffic = Traffic()
    for start_s in (0.0, 1.5):
        told = play(traffic, {16: 20}, start_s)
    assert told == (shape(16),)
    for start_s in (20.0, 40.0, 60.0):
        assert play(traffic, {16: 20}, start_s) is None


def test_a_shape_that_has_become_common_is_told() -> None:
    traffic = Traffic()
    play(traffic, {16: 200}, 0.0)
    traffic.ran(shape(16), 2.0)
    play(traffic, {37: 200}, 3.0)
    assert traffic.ran(shape(37), 13.0) == (shape(37), shape(16))


def test_what_nobody_sends_any_more_is_forgotten() -> None:
    traffic = Traffic()
    play(traffic, {16: 200}, 0.0)
    traffic.ran(shape(16), 2.0)
    told = [traffic.ran(shape(37), float(now)) for now in range(3, 300) for _ in range(30)]
    assert [one for one in told if one is not None][-1] == (shape(37),)


def test_one_of_a_hundred_shapes_that_come_once_is_not_common() -> None:
    traffic = Traffic()
    for size in range(1000):
        assert traffic.ran(shape(size), size / 10) is None


@given(st.lists(st.tuples(st.integers(1, 2000), st.floats(0, 0.1)), max_size=2000))
def test_no_more_than_eight_are_told_and_each_has_run(runs: list[tuple[int, float]]) -> None:
    traffic, now = Traffic(), 1.0
    seen: set[Bucket] = set()
    for size, gap_s in runs:
        now += gap_s
        seen.add(shape(size % 12))
        told = traffic.ran(shape(size % 12), now)
        assert told is None or (len(told) <= 8 and set(told) <= seen)
