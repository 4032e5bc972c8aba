"""A batch that is not full may wait for more: never longer than was set or deadlines allow."""

from __future__ import annotations

import math

import pytest

from headrace.scheduler import Entry, LatencyModel, Policy, Scheduler

SIZES = (1, 2, 4, 8)
LINGER_S = 0.004


def run_s(rows: int) -> float:
    return 0.010 + 0.001 * rows


def scheduler(linger_s: float = LINGER_S, lanes: int = 1, max_queue: int = 100) -> Scheduler:
    measured = [(1, rows, run_s(rows), 1.1 * run_s(rows)) for rows in SIZES]
    policy = Policy(0.1, lanes, max_queue, 8, linger_s=linger_s, results_s=0.0)
    return Scheduler(policy, LatencyModel(measured, sizes=SIZES, pads=False))


def put(on: Scheduler, now: float, deadline_s: float = math.inf, bucket: str = "a") -> Entry:
    made = Entry(deadline_s, 1, bucket, 1, now)
    on.admit(made, now)
    return made


def rows_at(on: Scheduler, now: float) -> int | None:
    batch, drops = on.cut(now)
    assert drops == []
    return None if batch is None else batch.rows


def test_without_it_a_free_lane_takes_what_there_is() -> None:
    eager = scheduler(0.0)
    put(eager, 1.0)
    assert rows_at(eager, 1.0) == 1


def test_a_batch_waits_so_long_from_its_oldest_and_takes_who_has_come_by_then() -> None:
    patient = scheduler()
    put(patient, 1.0)
    assert rows_at(patient, 1.0) is None
    assert patient.wake_at(1.0) == pytest.approx(1.0 + LINGER_S)
    put(patient, 1.003)
    assert rows_at(patient, 1.003) is None
    assert patient.wake_at(1.003) == pytest.approx(1.0 + LINGER_S)
    assert rows_at(patient, 1.0 + LINGER_S) == 2


def test_a_newcomer_with_less_time_does_not_make_the_others_wait_longer() -> None:
    patient = scheduler()
    put(patient, 1.0, 9.0)
    put(patient, 1.003, 5.0)
    assert rows_at(patient, 1.0 + LINGER_S) == 2


def test_a_full_batch_runs_at_once() -> None:
    patient = scheduler()
    for _ in range(8):
        put(patient, 1.0)
    assert rows_at(patient, 1.0) == 8


def test_nobody_waits_for_more_where_no_more_can_come() -> None:
    patient = scheduler(max_queue=2)
    put(patient, 1.0)
    assert rows_at(patient, 1.0) is None
    put(patient, 1.001)
    assert rows_at(patient, 1.001) == 2


def test_it_leaves_room_for_the_largest_batch_to_be_in_time() -> None:
    patient = scheduler()
    put(patient, 1.0, 1.0 + 1.1 * run_s(8) + 0.002 + 0.001)
    assert rows_at(patient, 1.0009) is None
    assert patient.wake_at(1.0009) == pytest.approx(1.001)
    assert rows_at(patient, 1.0011) == 1


def test_who_has_no_time_to_lose_does_not_wait() -> None:
    patient = scheduler()
    put(patient, 1.0, 1.0 + 1.1 * run_s(8))
    assert rows_at(patient, 1.0) == 1


def test_nobody_lingers_while_others_want_the_lane() -> None:
    patient = scheduler()
    put(patient, 1.0)
    put(patient, 1.0, bucket="b")
    assert rows_at(patient, 1.0) == 1


def test_what_is_cut_ahead_of_a_free_lane_lingers_as_well() -> None:
    patient = scheduler()
    put(patient, 1.0)
    assert rows_at(patient, 1.0 + LINGER_S) == 1
    ends_s = 1.0 + LINGER_S + run_s(1)
    put(patient, ends_s - 0.001)
    assert rows_at(patient, ends_s - 0.0001) is None
    assert patient.wake_at(ends_s - 0.0001) == pytest.approx(ends_s - 0.001 + LINGER_S)
