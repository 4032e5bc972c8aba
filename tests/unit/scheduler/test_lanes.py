"""When a lane is free: predictions that start anew with every completion."""

from __future__ import annotations

import pytest

from headrace.scheduler.lanes import Lanes
from headrace.scheduler.rate import Rate


def test_an_idle_lane_starts_at_once() -> None:
    lanes = Lanes(2, 1)
    assert lanes.idle
    assert lanes.next_start(3.0) == 3.0
    lanes.add(1, 3.0, 10.0)
    assert lanes.idle
    assert lanes.next_start(4.0) == 4.0
    lanes.add(2, 4.0, 5.0)
    assert not lanes.idle
    assert lanes.full
    assert lanes.next_start(5.0) == 9.0
    assert len(lanes) == 2


def test_what_is_handed_over_ahead_runs_after_those_that_run() -> None:
    lanes = Lanes(2, 2)
    lanes.add(1, 0.0, 10.0)
    lanes.add(2, 0.0, 6.0)
    lanes.add(3, 1.0, 3.0)  # from 6 to 9
    assert lanes.next_start(1.0) == 9.0
    lanes.add(4, 1.0, 3.0)  # from 9 to 12
    assert lanes.next_start(1.0) == 10.0
    assert lanes.full


def test_a_lane_that_ends_early_or_late_starts_its_next_batch_then() -> None:
    lanes = Lanes(1, 2)
    lanes.add(1, 0.0, 10.0)
    lanes.add(2, 0.0, 10.0)
    assert lanes.next_start(0.0) == 20.0
    lanes.remove(1, 8.0)
    assert lanes.next_start(8.0) == 18.0
    lanes.remove(2, 30.0)
    assert lanes.next_start(30.0) == 30.0


def test_errors_do_not_add_up_over_batches_that_follow_each_other() -> None:
    """A hundred runs, each a tenth shorter than expected, and never an idle lane."""
    lanes = Lanes(1, 2)
    lanes.add(0, 0.0, 1.0)
    now = 0.0
    for number in range(1, 101):
        lanes.add(number, now, 1.0)
        now += 0.9
        lanes.remove(number - 1, now)
        assert lanes.next_start(now) == pytest.approx(now + 1.0)


def test_an_overdue_run_is_expected_to_end_any_moment() -> None:
    lanes = Lanes(1, 2)
    lanes.add(1, 0.0, 10.0)
    lanes.add(2, 0.0, 5.0)
    assert lanes.next_start(9.0) == 15.0
    assert lanes.next_start(12.0) == 17.0
    assert lanes.next_start(13.0) == 18.0


def test_batches_that_end_out_of_turn_free_their_own_lane() -> None:
    lanes = Lanes(2, 2)
    for number, seconds in enumerate([10.0, 2.0, 4.0, 4.0]):
        lanes.add(number, 0.0, seconds)
    lanes.remove(1, 2.0)  # the third starts, the fourth waits for it: 6 to 10
    assert lanes.next_start(2.0) == 10.0
    lanes.remove(3, 3.0)  # lost before it has run
    assert lanes.next_start(3.0) == 6.0
    lanes.remove(2, 6.0)
    assert lanes.idle


def test_later_batches_start_as_the_lanes_are_free_in_turn() -> None:
    lanes = Lanes(2, 1)
    lanes.add(1, 0.0, 10.0)
    lanes.add(2, 0.0, 6.0)
    starts = [lanes.start_after(1.0, batches, 8.0) for batches in range(5)]
    assert starts == [6.0, 10.0, 14.0, 18.0, 22.0]
    lanes.remove(2, 5.0)
    assert [lanes.start_after(5.5, batches, 8.0) for batches in range(3)] == [5.5, 10.0, 13.5]


def test_many_lanes_are_free_in_the_order_of_their_ends() -> None:
    lanes = Lanes(4, 1)
    for number, seconds in enumerate([1.0, 4.0, 2.0, 3.0]):
        lanes.add(number, 0.0, seconds)
    assert [lanes.start_after(0.5, batches, 9.0) for batches in range(4)] == [1.0, 2.0, 3.0, 4.0]


def test_a_steady_stream_has_its_rate() -> None:
    rate = Rate(0.1)
    assert rate.rps(0.0) == 0.0
    for tick in range(1, 1001):
        rate.counted += 3
        if tick % 10 == 0:
            rate.rps(tick / 1000)
    assert rate.latest_rps == pytest.approx(3000.0, rel=1e-3)


def test_how_often_it_is_asked_does_not_matter_to_a_steady_rate() -> None:
    often, seldom = Rate(0.1), Rate(0.1)
    for rate in (often, seldom):
        rate.rps(0.0)
    for tick in range(1, 101):
        often.counted += 1
        seldom.counted += 1
        often.rps(tick / 1000)
    assert seldom.rps(0.1) == pytest.approx(often.latest_rps)
    assert seldom.latest_rps == pytest.approx(1000.0 * 0.632, rel=0.01)


def test_a_stream_that_stops_is_forgotten() -> None:
    rate = Rate(0.1)
    rate.rps(0.0)
    rate.counted += 100
    before = rate.rps(0.1)
    assert rate.rps(0.2) == pytest.approx(before * 0.368, rel=0.01)
    assert rate.rps(0.2) == rate.latest_rps
    assert rate.rps(3.0) < 1e-6


def test_with_fewer_lanes_who_runs_ends_and_nobody_follows_until_one_is_free() -> None:
    lanes = Lanes(2, 2)
    for number, seconds in enumerate([4.0, 10.0, 3.0]):
        lanes.add(number, 0.0, seconds)
    lanes.resize(1, 1.0)
    assert lanes.count == 1
    assert lanes.full
    assert lanes.next_start(1.0) == 13.0  # the third follows the second, not the first
    lanes.remove(0, 4.0)
    assert lanes.next_start(4.0) == 13.0
    lanes.remove(1, 9.0)
    assert lanes.next_start(9.0) == 12.0


def test_with_more_lanes_who_waits_begins() -> None:
    lanes = Lanes(1, 2)
    lanes.add(1, 0.0, 10.0)
    lanes.add(2, 0.0, 6.0)
    assert lanes.full
    lanes.resize(2, 1.0)
    assert not lanes.full
    assert lanes.next_start(1.0) == 7.0
