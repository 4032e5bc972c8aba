"""The rule, case by case: who is admitted, which batch is cut and when, who is dropped."""

from __future__ import annotations

import math
import sys

import pytest

from headrace.errors import Expired, OverloadError, PredictedMiss, QueueFull
from headrace.scheduler import (
    Batch,
    Drop,
    DropReason,
    Entry,
    LatencyModel,
    Policy,
    Scheduler,
)
from headrace.scheduler.fairness import Device, Turn

SIZES = tuple(range(1, 17))
SLO_S = 0.050


def run_s(rows: int) -> float:
    """10 ms and 1 ms a row; the tail of warm-up is 1.1."""
    return 0.010 + 0.001 * rows


def latency(elements: int = 1) -> LatencyModel:
    measured = [(elements, rows, run_s(rows), 1.1 * run_s(rows)) for rows in SIZES]
    return LatencyModel(measured, sizes=SIZES, pads=False)


def scheduler(
    *,
    slo_s: float | None = SLO_S,
    lanes: int = 1,
    max_queue: int = 100,
    max_batch: int = 16,
    depth: int = 2,
    model: LatencyModel | None = None,
) -> Scheduler:
    policy = Policy(slo_s, lanes, max_queue, max_batch, depth, results_s=0.0)
    return Scheduler(policy, model or latency())


def entry(
    deadline_s: float = math.inf,
    rows: int = 1,
    *,
    bucket: str = "a",
    priority: int = 0,
    elements: int = 1,
) -> Entry:
    return Entry(deadline_s, rows, bucket, elements, 0.0, priority)


def admit(on: Scheduler, *entries: Entry, now: float = 0.0) -> tuple[Entry, ...]:
    for each in entries:
        on.admit(each, now)
    return entries


def crowd(on: Scheduler, count: int, deadline_s: float = math.inf, now: float = 0.0) -> list[Entry]:
    return list(admit(on, *(entry(deadline_s) for _ in range(count)), now=now))


def pass_by(on: Scheduler, every_s: float) -> None:
    """Until 0.3 s somebody comes regularly, and leaves at once."""
    for number in range(round(0.3 / every_s)):
        (passing,) = admit(on, entry(9.0), now=number * every_s)
        on.cancel(passing)


def cut(on: Scheduler, now: float) -> Batch:
    batch, drops = on.cut(now)
    assert batch is not None
    assert drops == []
    return batch


def refused(on: Scheduler, each: Entry, now: float) -> OverloadError | None:
    try:
        on.admit(each, now)
    except OverloadError as error:
        assert not each.waiting
        return error
    return None


# -- admission -------------------------------------------------------------------------------------


def test_a_request_that_comes_after_its_deadline_is_expired() -> None:
    assert isinstance(refused(scheduler(), entry(1.0), now=1.0), Expired)


def test_one_more_than_the_queue_holds_is_refused_and_told_when_to_come_back() -> None:
    full = scheduler(slo_s=None, max_queue=3)
    crowd(full, 3)
    error = refused(full, entry(), now=0.0)
    assert isinstance(error, QueueFull)
    assert error.retry_after_s == pytest.approx(run_s(16))
    assert full.statistics().waiting == 3


def test_for_one_of_a_higher_priority_the_last_of_the_lowest_leaves_a_full_queue() -> None:
    full = scheduler(slo_s=None, max_queue=3)
    lowest, soon, late = admit(
        full, entry(0.5, priority=2), entry(0.8, priority=1), entry(0.9, bucket="b", priority=1)
    )
    full.foresee(entry(), now=0.0)
    assert full.statistics().waiting == 3, "nobody leaves for one who is not all here"
    urgent = entry(0.95)
    left = full.admit(urgent, 0.0)
    assert left is not None
    assert left[:2] == (lowest, DropReason.DISPLACED)
    assert left.retry_after_s == pytest.approx(run_s(16))
    assert isinstance(refused(full, entry(0.1, priority=1), now=0.0), QueueFull), "of equals nobody"
    left = full.admit(entry(0.95), 0.0)
    assert left is not None
    assert left.entry is late
    assert full.statistics().waiting == 3
    assert cut(full, 0.0).entries[::2] == (urgent, soon)


def test_an_idle_machine_refuses_nobody_so_that_a_wrong_table_is_put_right() -> None:
    idle = scheduler()
    (hopeless,) = admit(idle, entry(0.001))
    assert cut(idle, 0.0).entries == (hopeless,)
    assert isinstance(refused(idle, entry(0.001), now=0.0), PredictedMiss)


def test_who_would_wait_behind_a_long_run_is_refused_at_once() -> None:
    busy = scheduler(max_batch=1)
    admit(busy, entry(1.0, rows=10))
    assert cut(busy, 0.0).expected_finish_s == pytest.approx(0.020)
    # From 20 ms on: 11 ms, and a tenth of that as its margin, 1.4 times that for having waited.
    assert isinstance(refused(busy, entry(0.0325), now=0.001), PredictedMiss)
    assert refused(busy, entry(0.0326), now=0.001) is None


def test_who_would_be_refused_is_refused_by_its_beginning_and_counts_as_refused() -> None:
    busy = scheduler(max_batch=1)
    admit(busy, entry(1.0, rows=10))
    cut(busy, 0.0)
    busy.close_account(0.0)
    busy.foresee(entry(0.0326), now=0.001)
    with pytest.raises(PredictedMiss, match="too late"):
        busy.foresee(entry(0.0325), now=0.001)
    with pytest.raises(Expired):
        busy.foresee(entry(0.001), now=0.001)
    assert busy.statistics().waiting == 0
    assert busy.close_account(0.001).refused == 1


def test_what_is_refused_is_counted_by_its_rows_as_what_is_answered_is() -> None:
    busy = scheduler(max_batch=1)
    admit(busy, entry(1.0, rows=10))
    cut(busy, 0.0)
    busy.close_account(0.0)
    assert isinstance(refused(busy, entry(0.002, rows=10), now=0.001), PredictedMiss)
    assert busy.close_account(0.001).refused == 10


def test_who_is_seen_before_it_is_whole_counts_once_in_the_rate() -> None:
    seen, whole = scheduler(max_queue=1), scheduler(max_queue=1)
    for one in (seen, whole):
        admit(one, entry(0.5))
        cut(one, 0.0)
    for number in range(1, 9):
        now = number * 0.001
        seen.foresee(entry(0.5 + number), now)  # it will come, and is not counted yet
        admit(seen, first := entry(0.5 + number), now=now)
        admit(whole, second := entry(0.5 + number), now=now)
        with pytest.raises(QueueFull):
            seen.foresee(entry(0.5 + number), now)
        assert isinstance(refused(whole, entry(0.5 + number), now), QueueFull)
        for one, taken in ((seen, first), (whole, second)):
            one.cancel(taken)
    # What has come is in the rate once a batch is cut.
    for one in (seen, whole):
        admit(one, entry(9.0), now=0.009)
        one.finish(1, 0.009, 0.011)
        cut(one, 0.009)
    assert seen.statistics().arrival_rate_rps == whole.statistics().arrival_rate_rps > 0


def test_the_refused_learn_how_late_they_would_be_and_when_to_retry() -> None:
    busy = scheduler(max_batch=1)
    admit(busy, entry(1.0, rows=10))
    cut(busy, 0.0)
    error = refused(busy, entry(0.0225), now=0.001)
    assert error is not None
    assert error.message == "the answer would come 10 ms too late"
    assert error.retry_after_s == pytest.approx(run_s(1))


def test_only_those_whose_turn_is_earlier_count_as_ahead() -> None:
    busy = scheduler(max_batch=4)
    crowd(busy, 1, 0.2)
    cut(busy, 0.0)
    crowd(busy, 8, 0.2, now=0.001)
    # After all of them: two runs of 15 ms and its own, from 11 ms on.
    assert isinstance(refused(busy, entry(0.050, priority=1), now=0.002), PredictedMiss)
    assert refused(busy, entry(0.050), now=0.002) is None
    assert refused(busy, entry(0.050, priority=-1), now=0.002) is None


def test_those_who_will_join_its_batch_until_it_starts_count_too() -> None:
    quiet, hurried = scheduler(), scheduler()
    pass_by(hurried, every_s=0.001)
    for each in (quiet, hurried):
        crowd(each, 1, 9.0, now=0.3)
        cut(each, 0.3)  # for 11 ms, in which 11 others would join: 24 ms instead of 12
    assert refused(quiet, entry(0.330), now=0.3) is None
    assert isinstance(refused(hurried, entry(0.330), now=0.3), PredictedMiss)
    assert refused(hurried, entry(0.337), now=0.3) is None


def test_only_its_share_of_the_arrivals_joins_the_batch_of_a_bucket() -> None:
    """Of 1000 a second one in ten is of its bucket: one joins in 11 ms, not 11."""
    mixed = scheduler(lanes=2, depth=1)
    pass_by(mixed, every_s=0.001)
    for _ in range(2):
        crowd(mixed, 1, 9.0, now=0.3)
        cut(mixed, 0.3)
    admit(mixed, entry(0.4, bucket="b"), *(entry(8.0) for _ in range(9)), now=0.3)
    # From 311 ms on 3 rows: 14.3 ms, and 0.9 ms for having waited. With 12 rows it were 25.
    assert refused(mixed, entry(0.3275, bucket="b"), now=0.3) is None


def test_it_is_admitted_when_a_smaller_batch_does_and_keeps_up() -> None:
    """In 20 ms too many join for the deadline; a batch of 7, which it leaves, runs 412 a second."""
    calm, hurried = scheduler(), scheduler()
    pass_by(calm, every_s=0.0025)
    pass_by(hurried, every_s=0.0020)
    for each in (calm, hurried):
        crowd(each, 10, 9.0, now=0.3)
        cut(each, 0.3)
    assert refused(calm, entry(0.3400), now=0.3) is None
    assert isinstance(refused(hurried, entry(0.3400), now=0.3), PredictedMiss)


def test_full_batches_ahead_are_spread_over_the_lanes_as_they_become_free() -> None:
    two = scheduler(lanes=2, depth=1, max_batch=1)
    crowd(two, 1, 1.0)
    cut(two, 0.0)  # until 11 ms
    crowd(two, 1, 1.0, now=0.010)
    cut(two, 0.010)  # until 21 ms
    crowd(two, 1, 1.0, now=0.010)  # from 11 ms
    # Behind that one: from 21 ms, where the average of two lanes would say 16.
    assert isinstance(refused(two, entry(0.0335, priority=1), 0.010), PredictedMiss)
    assert refused(two, entry(0.0336, priority=1), 0.010) is None


def test_a_request_larger_than_the_cap_is_judged_by_its_own_run() -> None:
    busy = scheduler(max_batch=1)
    crowd(busy, 1, 1.0)
    cut(busy, 0.0)
    # From 11 ms: 22 ms, a tenth of that, and the margin of waiting.
    assert isinstance(refused(busy, entry(0.0355, rows=12), now=0.0), PredictedMiss)
    assert refused(busy, entry(0.0357, rows=12), now=0.0) is None
    busy.finish(1, 0.011, run_s(1))
    assert cut(busy, 0.011).rows == 12


def test_batches_ahead_are_those_that_will_be_cut_not_rows_by_the_cap() -> None:
    """Two of 3 rows do not share a batch of 4, nor does a third share that of the second."""
    busy = scheduler(max_batch=4)
    crowd(busy, 1, 1.0)
    cut(busy, 0.0)
    admit(busy, entry(1.0, 3), entry(1.0, 3), now=0.0)
    # From 11 ms on two runs of at most 15 ms, then its own.
    assert isinstance(refused(busy, entry(0.055, 3, priority=1), now=0.0), PredictedMiss)
    assert refused(busy, entry(0.058, 3, priority=1), now=0.0) is None


@pytest.mark.parametrize("slo_s", [None, 0.05])
@pytest.mark.parametrize("every_s", [0.001, 0.005])
def test_the_rate_is_known_with_an_objective_and_without(
    slo_s: float | None, every_s: float
) -> None:
    calm = scheduler(slo_s=slo_s)
    pass_by(calm, every_s)
    assert calm.statistics().arrival_rate_rps == pytest.approx(1 / every_s, rel=0.06)


def test_other_buckets_whose_turn_is_earlier_count_as_ahead() -> None:
    busy = scheduler(max_batch=1)
    crowd(busy, 1, 1.0)
    cut(busy, 0.0)
    admit(busy, *(entry(0.2, bucket=bucket) for bucket in "bcd"), now=0.001)
    # Three runs of 11 ms after the one that runs: from 44 ms on.
    assert isinstance(refused(busy, entry(0.056, bucket="e", priority=1), 0.001), PredictedMiss)
    assert refused(busy, entry(0.057, bucket="e", priority=1), now=0.001) is None
    assert refused(busy, entry(0.056, bucket="e"), now=0.001) is None  # it goes before them


def test_while_it_is_paused_everybody_may_wait() -> None:
    paused = scheduler()
    crowd(paused, 1, 0.050)
    cut(paused, 0.0)
    paused.pause()
    assert refused(paused, entry(0.002), now=0.001) is None
    paused.resume()
    assert isinstance(refused(paused, entry(0.002), now=0.001), PredictedMiss)


# -- which batch -----------------------------------------------------------------------------------


def test_of_a_request_of_several_entries_an_idle_machine_refuses_none_and_learns() -> None:
    """The table has become ten times too slow; each request is of four whole batches."""
    wrong = latency()
    for _ in range(200):
        wrong.observe(1, 16, 10 * run_s(16))
    slow = scheduler(model=wrong)
    now, answered = 0.0, 0
    for _ in range(30):
        parts = [entry(now + 4.5 * run_s(16), 16) for _ in range(4)]
        assert slow.is_idle(now)
        for part in parts:
            slow.admit(part, now, anyway=True)
        assert not slow.is_idle(now)
        while (made := slow.cut(now)[0]) is not None:
            now += run_s(made.rows)
            slow.finish(made.id, now, run_s(made.rows))
            answered += made.rows
        now += 1.0
    assert answered > 20 * 64


def test_an_idle_lane_takes_all_that_wait() -> None:
    calm = scheduler(slo_s=None)
    waiting = crowd(calm, 7)
    batch = cut(calm, 0.0)
    assert list(batch.entries) == waiting
    assert (batch.rows, batch.start_s, batch.expected_finish_s) == (7, 0.0, run_s(7))
    assert calm.cut(0.0) == (None, [])


def test_every_idle_lane_is_given_work() -> None:
    wide = scheduler(lanes=3, max_batch=2)
    crowd(wide, 5, 1.0)
    assert [cut(wide, 0.0).rows for _ in range(3)] == [2, 2, 1]


def test_a_batch_is_no_larger_than_the_cap_unless_a_single_request_is() -> None:
    capped = scheduler(slo_s=None, max_batch=4)
    admit(capped, entry(rows=3), entry(rows=3), entry(rows=9), entry(rows=1))
    rows = []
    now = 0.0
    for _ in range(4):
        batch = cut(capped, now)
        rows.append(batch.rows)
        now = batch.expected_finish_s
        capped.finish(batch.id, now, run_s(batch.rows))
    assert rows == [3, 3, 9, 1]


def test_a_request_larger_than_the_cap_is_dropped_if_its_own_run_is_too_long() -> None:
    tight = scheduler(max_batch=1)
    tight.pause()
    large, other = admit(tight, entry(0.024, 12), entry(0.9))
    tight.resume()
    batch, drops = tight.cut(0.0)  # 12 rows take 24.2 ms at the 95th percentile
    assert batch is not None
    assert batch.entries == (other,)
    assert [drop.entry for drop in drops] == [large]


def test_the_cap_leaves_time_to_wait_for_a_lane_within_the_objective() -> None:
    single, many = scheduler(lanes=1), scheduler(lanes=4)
    crowd(single, 16, 1.0)
    crowd(many, 16, 1.0)
    assert cut(single, 0.0).rows == 13  # 23 ms: 50 / (1.1 + 1)
    assert cut(many, 0.0).rows == 16  # 26 ms of 37


def test_the_earliest_deadline_goes_first_whatever_its_bucket() -> None:
    mixed = scheduler()
    late, soon, soonest = admit(mixed, entry(0.9), entry(0.8, bucket="b"), entry(0.7), now=0.0)
    assert cut(mixed, 0.0).entries == (soonest, late)
    mixed.finish(1, 0.012, run_s(2))
    assert cut(mixed, 0.012).entries == (soon,)


def test_a_higher_priority_goes_before_an_earlier_deadline() -> None:
    mixed = scheduler(max_batch=1)
    _, urgent = admit(mixed, entry(0.5), entry(0.9, priority=-1))
    assert cut(mixed, 0.0).entries == (urgent,)


def test_a_batch_too_long_for_its_head_is_made_smaller_while_that_keeps_up() -> None:
    calm = scheduler()
    calm.pause()
    crowd(calm, 10, 0.0166)
    calm.resume()
    # 5 rows take 16.5 ms at the 95th percentile.
    assert cut(calm, 0.0).rows == 5


def test_in_an_overload_the_head_is_dropped_and_the_batch_stays_large() -> None:
    """1000 rows a second come; batches of 5 run 333 of them."""
    hurried = scheduler()
    hurried.pause()
    pressed = [entry(0.1166), entry(0.1166)]
    for tick in range(100):
        admit(hurried, pressed[tick // 50] if tick % 50 == 49 else entry(0.150), now=tick / 1000)
    hurried.resume()
    batch, drops = hurried.cut(0.100)
    assert batch is not None
    assert [(drop.entry, drop.reason) for drop in drops] == [
        (each, DropReason.SHED) for each in pressed
    ]
    assert batch.rows == 13


def test_the_last_one_on_an_idle_machine_runs_even_if_late() -> None:
    hopeless = scheduler()
    hopeless.pause()
    crowd(hopeless, 3, 0.005)
    hopeless.resume()
    batch, drops = hopeless.cut(0.0)
    assert [drop.reason for drop in drops] == [DropReason.SHED] * 2
    assert batch is not None
    assert batch.rows == 1


def test_the_expired_are_dropped_even_while_paused_and_behind_others() -> None:
    paused = scheduler()
    paused.pause()
    calm, late = admit(paused, entry(0.9, priority=-1), entry(0.010))
    assert paused.wake_at(0.0) == 0.010
    assert paused.cut(0.009) == (None, [])
    batch, drops = paused.cut(0.010)
    assert batch is None
    assert [(drop.entry, drop.reason) for drop in drops] == [(late, DropReason.EXPIRED)]
    assert paused.wake_at(0.010) == 0.9
    assert calm.waiting


# -- larger than the cap ---------------------------------------------------------------------------


def due() -> Scheduler:
    """Larger batches do not pay, 10 ms a row; it is time to try one of two."""
    flat = [(1, rows, 0.010 * rows, 0.011 * rows) for rows in (1, 2, 4)]
    model = LatencyModel(flat, sizes=(1, 2, 4), pads=False)
    for _ in range(16):
        model.observe(1, 1, 0.010)
    return scheduler(model=model, max_batch=4)


def test_now_and_then_a_batch_is_larger_than_the_cap_and_what_it_took_counts() -> None:
    trying = due()
    crowd(trying, 6, 1.0)
    batch = cut(trying, 0.0)
    assert (batch.rows, batch.trial) == (2, True)
    trying.finish(batch.id, 0.012, 0.012)  # 20 ms were expected
    assert trying.state().batch_cap == 2
    batch = cut(trying, 0.012)
    assert (batch.rows, batch.trial) == (2, False)


def test_nobody_is_dropped_for_a_trial() -> None:
    """There is room for one row, not for two, and more come than either could keep up with."""
    trying = due()
    pass_by(trying, 0.001)
    trying.pause()
    crowd(trying, 6, 0.315, now=0.3)
    trying.resume()
    batch, drops = trying.cut(0.3)
    assert batch is not None
    assert (batch.rows, batch.trial, drops) == (1, False, [])


def rows_in_fours(sizes: tuple[int, ...]) -> Batch:
    """It is time for a trial, and three requests of four rows wait."""
    flat = [(1, rows, 0.010 * rows, 0.011 * rows) for rows in sizes]
    model = LatencyModel(flat, sizes=sizes, pads=False)
    for _ in range(16):
        model.observe(1, 1, 0.010)
    trying = scheduler(model=model, slo_s=None, max_batch=sizes[-1])
    admit(trying, *(entry(rows=4) for _ in range(3)))
    batch = cut(trying, 0.0)
    assert model.is_trial_due(1) != batch.trial
    return batch


def test_what_is_tried_has_room_for_one_request_more() -> None:
    batch = rows_in_fours((1, 2, 4, 6, 8, 12))
    assert (batch.rows, batch.trial) == (8, True)


def test_where_no_size_has_room_for_one_request_more_nothing_is_tried() -> None:
    batch = rows_in_fours((1, 2, 4, 6))
    assert (batch.rows, batch.trial) == (4, False)


def test_what_is_tried_is_no_larger_than_what_waits_or_may_run() -> None:
    trying = due()
    crowd(trying, 1, 1.0)
    assert not cut(trying, 0.0).trial
    bounded = scheduler(model=due()._latency, max_batch=1)
    crowd(bounded, 6, 1.0)
    assert cut(bounded, 0.0).rows == 1


# -- shapes that are guessed -----------------------------------------------------------------------


def rare(number: int = 0) -> Entry:
    """Of a shape that is guessed to take 55 ms, of the objective of 50."""
    return entry(number + SLO_S, bucket="rare", elements=10)


def never_idle(lanes: int = 2) -> Scheduler:
    """A batch runs that does not end."""
    busy = scheduler(lanes=lanes)
    crowd(busy, 1)
    cut(busy, 0.0)
    return busy


def test_a_guess_does_not_refuse_for_ever() -> None:
    busy = never_idle()
    for number in range(16):
        assert isinstance(refused(busy, rare(number), now=number), PredictedMiss)
    (probe,) = admit(busy, rare(16), now=16)
    batch = cut(busy, 16)
    assert batch.entries == (probe,)
    busy.finish(batch.id, 16.012, 0.012)
    assert refused(busy, rare(17), now=17) is None
    assert cut(busy, 17).rows == 1


def test_what_warm_up_said_does_as_long_as_little_has_run() -> None:
    times = [(of, 1, of * 0.01, of * 0.011) for of in (1, 10)]
    busy = scheduler(lanes=2, model=LatencyModel(times, sizes=(1,), pads=False), max_batch=1)
    crowd(busy, 1)
    cut(busy, 0.0)
    for number in range(100):
        assert isinstance(refused(busy, rare(number), now=number), PredictedMiss)


def test_one_is_let_in_at_a_time_and_only_if_it_comes_to_the_queue() -> None:
    busy = never_idle()
    for number in range(16):
        with pytest.raises(PredictedMiss):
            busy.foresee(rare(number), number)
    busy.foresee(rare(16), 16)  # and never comes
    admit(busy, rare(16), now=16)
    for _ in range(20):  # while it waits
        assert isinstance(refused(busy, rare(16), now=16), PredictedMiss)
    batch = cut(busy, 16)
    for _ in range(20):  # while it runs
        assert isinstance(refused(busy, rare(16), now=16), PredictedMiss)
    busy.finish(batch.id, 16.1, None)  # it came to nothing
    assert refused(busy, rare(17), now=17) is None


def test_refusals_of_many_shapes_are_counted_together() -> None:
    busy = never_idle()
    for number in range(16):
        shape = entry(number + SLO_S, bucket=f"rare {number}", elements=10 + number)
        assert isinstance(refused(busy, shape, now=number), PredictedMiss)
    assert refused(busy, rare(16), now=16) is None


@pytest.mark.parametrize("leaves", ["cancelled", "drained", "expired"])
def test_a_probe_that_has_left_is_not_kept(leaves: str) -> None:
    busy = never_idle(lanes=1)
    for number in range(16):
        assert isinstance(refused(busy, rare(number), now=number), PredictedMiss)
    (probe,) = admit(busy, rare(16), now=16)
    held = sys.getrefcount(probe)
    match leaves:
        case "cancelled":
            assert busy.cancel(probe)
        case "drained":
            assert busy.drain() == [probe]
        case _:
            assert [drop.entry for drop in busy.cut(17)[1]] == [probe]
    assert sys.getrefcount(probe) < held - 1  # the queue's, and that of who was let in


# -- ahead of a lane's end -------------------------------------------------------------------------


def test_the_next_batch_is_cut_just_before_a_lane_is_free() -> None:
    busy = scheduler()
    crowd(busy, 1, 1.0)
    cut(busy, 0.0)  # until 11 ms
    crowd(busy, 2, 1.0, now=0.001)
    assert busy.cut(0.001) == (None, [])
    assert busy.wake_at(0.001) == pytest.approx(0.0105)
    assert busy.cut(0.0104) == (None, [])
    ahead = cut(busy, 0.0106)
    assert ahead.rows == 2
    assert (ahead.start_s, ahead.expected_finish_s) == pytest.approx((0.011, 0.023))
    assert busy.wake_at(0.0106) is None


def test_a_full_batch_is_cut_earlier_for_nobody_can_join_it() -> None:
    busy = scheduler(max_batch=4)
    crowd(busy, 1, 1.0)
    cut(busy, 0.0)
    crowd(busy, 4, 1.0, now=0.001)
    assert busy.wake_at(0.001) == pytest.approx(0.009)
    assert cut(busy, 0.0091).rows == 4


def test_nobody_is_dropped_or_split_off_ahead_of_time() -> None:
    """The end of the run before is uncertain: what would hurt somebody waits until it has come."""
    busy = scheduler()
    crowd(busy, 1, 1.0)
    cut(busy, 0.0)
    busy.pause()
    crowd(busy, 6, 0.0285, now=0.001)  # 17.6 ms at the 95th percentile, from 11: too long
    busy.resume()
    assert busy.cut(0.0108) == (None, [])
    assert busy.wake_at(0.0108) == 0.0285
    busy.finish(1, 0.0095, 0.0095)
    assert cut(busy, 0.0095).rows == 6  # it ended early: all fit after all


def test_a_lane_holds_no_more_than_its_depth() -> None:
    deep = scheduler(slo_s=None, lanes=2, max_batch=1, depth=2)
    crowd(deep, 9)
    batches = [cut(deep, 0.0), cut(deep, 0.0)]
    assert deep.cut(0.0) == (None, [])
    batches += [cut(deep, 0.0109), cut(deep, 0.0109)]
    assert deep.cut(0.0109) == (None, [])
    assert deep.wake_at(0.0109) is None
    deep.finish(batches[0].id, 0.011, 0.011)
    assert deep.statistics().running_batches == 3


def test_an_overdue_run_does_not_wake_anybody_again_and_again() -> None:
    busy = scheduler()
    crowd(busy, 1, 1.0)
    cut(busy, 0.0)
    busy.pause()
    crowd(busy, 6, 0.029, now=0.001)
    busy.resume()
    for now in (0.0108, 0.011, 0.012, 0.015):
        assert busy.cut(now) == (None, [])
        assert busy.wake_at(now) == 0.029


# -- completions -----------------------------------------------------------------------------------


def test_it_learns_from_what_has_run() -> None:
    model = latency()
    learning = scheduler(model=model)
    now = 0.0
    for _ in range(60):
        crowd(learning, 1, now + 1.0, now=now)
        batch = cut(learning, now)
        now += 0.022
        learning.finish(batch.id, now, 0.022)
    assert model.expect(1, 1) == pytest.approx(0.022, rel=0.02)


def test_a_batch_that_failed_or_was_lost_teaches_nothing() -> None:
    model = latency()
    failing = scheduler(model=model)
    crowd(failing, 1, 1.0)
    failing.finish(cut(failing, 0.0).id, 0.5, None)
    assert model.expect(1, 1) == pytest.approx(run_s(1))
    assert failing.statistics().overhead_s == 0.0
    assert failing.statistics().running_batches == 0


def test_what_is_learnt_is_used_from_the_next_arrival_on() -> None:
    learning = scheduler(slo_s=None, max_queue=1, max_batch=1)
    crowd(learning, 1)
    batch = cut(learning, 0.0)
    crowd(learning, 1)
    before = refused(learning, entry(), now=0.0)
    learning.finish(batch.id, 0.022, 0.022)
    after = refused(learning, entry(), now=0.022)
    assert before is not None
    assert before.retry_after_s == pytest.approx(run_s(1))
    assert after is not None
    assert after.retry_after_s == pytest.approx(1.1 * run_s(1), rel=0.01)


def test_what_a_batch_takes_beyond_its_run_is_allowed_for() -> None:
    slow_way = scheduler()
    now = 0.0
    for _ in range(100):
        crowd(slow_way, 1, now + 1.0, now=now)
        batch = cut(slow_way, now)
        now += run_s(1) + 0.003
        slow_way.finish(batch.id, now, run_s(1))
    assert slow_way.statistics().overhead_s == pytest.approx(0.003, rel=0.02)
    slow_way.pause()
    pressed, other = admit(slow_way, entry(now + 0.0138), entry(now + 1.0), now=now)
    slow_way.resume()
    # Two rows take 12.3 ms at most and one takes 11.3, but their answers come 3 ms later.
    next_batch, drops = slow_way.cut(now)
    assert [drop.entry for drop in drops] == [pressed]
    assert next_batch is not None
    assert next_batch.entries == (other,)
    end_s = now + run_s(1) + 0.003
    assert next_batch.expected_finish_s == pytest.approx(end_s, abs=1e-4)
    # It is cut so much earlier that its way is covered by the run before.
    crowd(slow_way, 1, now + 1.0, now=now + 0.001)
    assert slow_way.wake_at(now + 0.001) == pytest.approx(end_s - 0.0005 - 0.003, abs=1e-4)
    ahead = cut(slow_way, end_s - 0.003)
    assert ahead.expected_finish_s == pytest.approx(end_s + run_s(1), abs=1e-4)


def test_the_wait_for_an_overdue_run_is_not_taken_for_overhead() -> None:
    busy = scheduler()
    crowd(busy, 1, 1.0)
    first = cut(busy, 0.0)
    crowd(busy, 1, 1.0, now=0.001)
    second = cut(busy, 0.012)  # the first should have ended at 11 ms, and does at 30
    assert second.start_s == 0.012
    busy.finish(first.id, 0.030, 0.030)
    busy.finish(second.id, 0.041, 0.011)
    assert busy.statistics().overhead_s == 0.0


def test_who_was_in_a_lost_engine_goes_back_to_its_place_untested() -> None:
    lost = scheduler(max_queue=2)
    (first,) = crowd(lost, 1, 0.050)
    batch = cut(lost, 0.0)
    crowd(lost, 2, 0.050, now=0.001)
    lost.pause()
    lost.finish(batch.id, 0.002, None)
    first.bucket = ("a", "alone")
    lost.restore(first)  # though two wait already
    assert lost.statistics().waiting == 3
    assert lost.cut(0.003) == (None, [])
    lost.resume()
    assert cut(lost, 0.003).entries == (first,)


@pytest.mark.parametrize("lanes", [1, 2])
def test_who_may_have_killed_an_engine_runs_while_nothing_else_does(lanes: int) -> None:
    wide = scheduler(slo_s=None, lanes=lanes, max_batch=2)
    suspects = crowd(wide, 2)
    batch = cut(wide, 0.0)
    others = crowd(wide, 3)
    wide.pause()
    wide.finish(batch.id, 0.001, None)
    for each in suspects:
        each.attempts, each.bucket = 1, ("a", id(each))
        wide.restore(each)
    wide.resume()
    now = 1.0
    for suspect in suspects:
        alone = cut(wide, now)
        assert alone.entries == (suspect,)
        for quiet_s in (0.0, 0.0105, 0.02):
            assert wide.cut(now + quiet_s) == (None, [])
            assert wide.wake_at(now + quiet_s) is None
        now += 0.02
        wide.finish(alone.id, now, 0.011)
    assert cut(wide, now).entries == tuple(others[:2])


def test_a_suspect_waits_until_those_before_it_have_ended() -> None:
    wide = scheduler(lanes=2)
    crowd(wide, 1, 0.5)
    running = cut(wide, 0.0)
    suspect = entry(0.4, bucket="alone")
    suspect.attempts = 1
    wide.restore(suspect)
    (late,) = crowd(wide, 1, 0.6)
    assert wide.cut(0.001) == (None, [])
    assert wide.wake_at(0.001) == 0.4
    wide.finish(running.id, 0.011, 0.011)
    assert cut(wide, 0.011).entries == (suspect,)
    assert late.waiting


def test_the_cancelled_do_not_run() -> None:
    left = scheduler()
    first, second, third = crowd(left, 3, 1.0)
    assert left.cancel(second)
    assert not left.cancel(second)
    assert cut(left, 0.0).entries == (first, third)
    assert not left.cancel(first)


def test_a_drained_scheduler_holds_nobody() -> None:
    ending = scheduler()
    waiting = crowd(ending, 3, 1.0) + list(admit(ending, entry(0.5, 4, bucket="b")))
    assert ending.statistics()[:2] == (4, 7)
    assert set(ending.drain()) == set(waiting)
    assert ending.statistics()[:2] == (0, 0)
    assert ending.wake_at(0.0) is None
    assert ending.cut(0.0) == (None, [])


# -- another number of lanes -----------------------------------------------------------------------


def test_a_run_that_began_with_another_number_of_lanes_says_nothing_of_this_one() -> None:
    steered = scheduler(slo_s=None, lanes=2, max_batch=1)
    crowd(steered, 3)
    before = [cut(steered, 0.0), cut(steered, 0.0)]
    steered.set_lanes(1, 0.001, 1.0)
    for batch in before:
        steered.finish(batch.id, 0.040, 0.040)
    after = cut(steered, 0.040)
    expected_s = after.expected_finish_s - after.start_s - steered.statistics().overhead_s
    assert expected_s == pytest.approx(run_s(1))


# -- bounds ----------------------------------------------------------------------------------------


def test_any_number_of_shapes_is_predicted_in_bounded_memory() -> None:
    hostile = scheduler()
    crowd(hostile, 1, 1.0)
    cut(hostile, 0.0)
    for elements in range(1, 2000):
        refused(hostile, entry(0.002, elements=elements, bucket=f"b{elements}"), now=0.001)
    assert len(hostile._outlook.caps.known) <= 256


def test_of_many_buckets_ahead_a_few_are_looked_at_and_all_are_counted() -> None:
    asked = 0

    class Counting(LatencyModel):
        def expect(self, elements: int, rows: int) -> float:
            nonlocal asked
            asked += 1
            return super().expect(elements, rows)

    measured = [(1, rows, run_s(rows), run_s(rows)) for rows in SIZES]
    hostile = scheduler(max_queue=5000, model=Counting(measured, sizes=SIZES, pads=False))
    crowd(hostile, 1, 1.0)
    cut(hostile, 0.0)
    hostile.pause()
    admit(hostile, *(entry(60.0, bucket=f"b{number}") for number in range(4000)), now=0.001)
    hostile.resume()
    asked = 0
    assert isinstance(refused(hostile, entry(40.0, priority=1), now=0.002), PredictedMiss)
    assert asked <= 30
    assert refused(hostile, entry(50.0, priority=1), now=0.002) is None  # 4000 times 11 ms


# -- beside other models ---------------------------------------------------------------------------


def beside(busy_s: float, slo_s: float = SLO_S) -> tuple[Scheduler, Device, Turn]:
    """A scheduler on the only core of a machine, that another model has for so long."""
    device = Device(1)
    mine, other = (Turn(device, weight=1, cores=1, slo_s=slo_s) for _ in range(2))
    for turn in (mine, other):
        device.join(turn)
    assert other.may_start(0.0, busy_s, math.inf, ahead=False)
    other.started(1, 0.0, busy_s, waits=False)
    policy = Policy(slo_s, 1, 100, 16, 2, results_s=0.0)
    return Scheduler(policy, latency(), mine), device, other


def test_a_batch_is_cut_when_the_run_of_another_model_has_ended() -> None:
    mine, device, other = beside(0.020)
    crowd(mine, 3, 0.080)
    assert mine.cut(0.0) == (None, [])
    assert device.due(0.010) is None
    other.ended(1, 0.020, 0.020)
    assert device.due(0.020) is not None
    assert cut(mine, 0.020).rows == 3
    assert device.due(0.020) is None


def test_who_waits_for_another_model_expires_meanwhile() -> None:
    mine, device, other = beside(0.100)
    (waiting,) = admit(mine, entry(0.050))
    assert mine.cut(0.0) == (None, [])
    assert mine.wake_at(0.0) == 0.050
    batch, (drop,) = mine.cut(0.050)
    assert batch is None
    assert drop == Drop(waiting, DropReason.EXPIRED)
    other.ended(1, 0.100, 0.100)
    assert device.due(0.100) is None


def test_who_would_wait_too_long_for_another_model_is_refused() -> None:
    mine, _, _ = beside(0.100)
    admit(mine, entry(0.200))
    assert mine.cut(0.0) == (None, [])
    assert isinstance(refused(mine, entry(0.100), now=0.001), PredictedMiss)
    assert refused(mine, entry(0.130), now=0.001) is None


def test_who_waited_too_long_for_another_model_is_shed_though_it_is_the_only_one() -> None:
    mine, _, other = beside(0.045)
    (late,) = admit(mine, entry(0.050))
    assert mine.cut(0.0) == (None, [])
    other.ended(1, 0.045, 0.045)
    assert mine.cut(0.045) == (None, [Drop(late, DropReason.SHED)])
    # Of one that never could be in time the table may be wrong.
    (hopeless,) = admit(mine, Entry(0.050, 1, "a", 1, arrival_s=0.046), now=0.046)
    assert cut(mine, 0.046).entries == (hopeless,)


def test_batches_are_no_longer_than_the_others_can_wait() -> None:
    mine, _, other = beside(0.010, slo_s=0.040)
    other.ended(1, 0.010, 0.010)
    crowd(mine, 16)
    batch = cut(mine, 0.010)
    assert batch.rows == 8  # 18 ms and a tenth, of the 20 that are half of 40
    # The next start may find no others: what is kept for it is not bounded by them.
    mine.finish(batch.id, 0.028, run_s(8))
    assert mine.state().batch_cap == 8
    kept = mine.kept_state()
    assert (kept.elements, kept.batch_cap) == (1, 9)
    assert kept.longest_s == pytest.approx(1.1 * run_s(9), rel=0.01)


def test_what_is_kept_is_of_the_shape_with_the_largest_cap_whichever_ran_last() -> None:
    def took_s(elements: int, rows: int) -> float:
        return elements * run_s(rows)

    shapes = (1, 2, 100)  # the last does not run
    measured = [
        (of, rows, took_s(of, rows), 1.1 * took_s(of, rows)) for of in shapes for rows in SIZES
    ]
    served = scheduler(model=LatencyModel(measured, sizes=SIZES, pads=False), slo_s=0.060)
    assert served.kept_state() == served.state()
    for now, elements in enumerate((1, 2)):
        admit(served, entry(now + 0.1, bucket=str(elements), elements=elements), now=now)
        served.finish(cut(served, now).id, now + 0.020, took_s(elements, 1))
    assert served.state().batch_cap < served.kept_state().batch_cap
    assert served.kept_state().elements == 1
