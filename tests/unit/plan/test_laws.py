from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.plan import laws
from headrace.plan.machine import Machine
from headrace.plan.play import play
from headrace.plan.profile import ModelProfile
from tests.unit.plan.profiles import FREE, SIZES, machine, profile, question

rates = st.floats(0.01, 1e5)
seconds = st.floats(1e-5, 10)
servers = st.integers(1, 64)


def line(fixed_s: float, each_s: float) -> laws.Curve:
    return lambda rows: fixed_s + each_s * rows


# -- laws that hold whatever arrives ---------------------------------------------------------------


@given(rates, seconds)
def test_littles_law_and_the_rate_of_a_closed_loop_are_the_same_law(
    rate_rps: float, response_s: float
) -> None:
    inside = laws.in_system(rate_rps, response_s)
    assert laws.rate_of(inside, response_s) == pytest.approx(rate_rps)


@given(seconds, st.floats(0, 1), servers)
def test_at_capacity_servers_are_always_busy(fixed_s: float, share: float, count: int) -> None:
    curve = line(fixed_s, share * fixed_s)
    found = laws.capacity(curve, SIZES, count)
    part_s = curve(found.batch) / found.batch
    assert laws.busy_share(found.rate_rps, part_s, count) == pytest.approx(1)
    for rows in SIZES:
        assert count * rows / curve(rows) <= found.rate_rps * (1 + 1e-12)


def test_of_sizes_that_do_as_much_the_smallest_is_taken() -> None:
    assert laws.capacity(line(0.0, 0.01), SIZES, 2) == (200.0, 1)
    assert laws.capacity(line(0.01, 0.0), SIZES, 2) == (6400.0, 32)


def test_a_day_of_8_640_000_requests_peaks_at_four_times_its_mean() -> None:
    assert laws.peak_rate(8_640_000) == pytest.approx(400)
    assert laws.peak_rate(86_400, share=1, of_the_day=1) == pytest.approx(1)


@given(rates, rates)
def test_so_many_machines_are_enough_and_one_less_is_not(rate_rps: float, each_rps: float) -> None:
    count = laws.machines(rate_rps, each_rps)
    assert count * each_rps >= rate_rps * (1 - 1e-6)
    assert count == 1 or (count - 1) * each_rps < rate_rps


# -- waiting ---------------------------------------------------------------------------------------


def test_erlang_c_is_what_tables_say() -> None:
    assert laws.waits(1, 0.7) == pytest.approx(0.7)  # of one server it is the load itself
    assert laws.waits(2, 1.0) == pytest.approx(1 / 3)
    assert laws.waits(10, 8.0) == pytest.approx(0.4092, abs=1e-4)
    assert laws.waits(3, 3.0) == 1.0


@given(servers, st.floats(0.01, 0.99), st.floats(0, 3))
def test_waiting_grows_with_load_and_with_variation(
    count: int, load: float, variation: float
) -> None:
    def wait(share: float, more: float) -> float:
        return laws.mean_wait_s(share * count, 1.0, count, more)

    assert 0 <= wait(load, variation) <= wait(load * 1.01, variation) <= math.inf
    assert wait(load, variation) <= wait(load, variation + 0.1)


def test_pollaczek_and_khinchine_are_met_exactly() -> None:
    assert laws.mean_wait_s(0.5, 1.0, 1, variation=1.0) == pytest.approx(1.0)  # M/M/1: u / (1 - u)
    assert laws.mean_wait_s(0.5, 1.0, 1) == pytest.approx(0.5)  # M/D/1: half of it
    assert laws.mean_wait_s(1.0, 1.0, 1) == math.inf


@given(st.floats(1e-4, 1), st.floats(0.01, 1), servers, st.floats(0.01, 0.97))
def test_a_queue_of_batches_is_between_a_single_run_and_infinity(
    fixed_s: float, share: float, count: int, load: float
) -> None:
    curve = line(fixed_s, share * fixed_s)
    capacity = laws.capacity(curve, range(1, 33), count).rate_rps
    found = laws.batch_queue(load * capacity, curve, count, 32)
    assert 1 <= found.batch <= 32
    assert 0 < found.busy <= 1
    assert curve(1) <= found.response_s * (1 + 1e-9) < math.inf
    more = laws.batch_queue(min(load * 1.02, 0.99) * capacity, curve, count, 32)
    assert more.batch >= found.batch * (1 - 1e-6)
    assert laws.batch_queue(1.01 * capacity, curve, count, 32).response_s == math.inf


@given(st.floats(1e-4, 1), st.floats(1e-6, 1), st.floats(0.01, 0.98))
def test_inoues_bound_is_at_least_a_single_run_and_grows(
    fixed_s: float, each_s: float, load: float
) -> None:
    rate_rps = load / each_s
    bound_s = laws.response_bound_s(rate_rps, each_s, fixed_s)
    assert bound_s >= (fixed_s + each_s) * (1 - 1e-9)
    assert laws.response_bound_s(rate_rps * 1.01, each_s, fixed_s) >= bound_s * (1 - 1e-9)
    assert laws.response_bound_s(1.001 / each_s, each_s, fixed_s) == math.inf


# -- against the simulator -------------------------------------------------------------------------


def played(made: ModelProfile, lanes: int, load: float) -> tuple[float, float, laws.BatchQueue]:
    asked = question(instances=lanes, slo_s=None)
    known = made.known(instances=lanes, slo_s=None)
    here = Machine(known, 4, FREE, 0.0, lanes, 1)
    rate_rps = load * here.capacity(here.largest()).rate_rps
    result = play(here, asked, rate_rps)
    assert result.mean_s is not None
    law = laws.batch_queue(rate_rps, here.curve(), lanes, here.largest())
    return result.mean_s.mean, result.batch.mean, law


@pytest.mark.slow
@pytest.mark.parametrize("load", [0.3, 0.6, 0.9])
@pytest.mark.parametrize(("fixed_s", "each_s"), [(0.004, 0.0005), (0.001, 0.004), (0.005, 0.002)])
def test_one_lane_is_within_a_seventh_of_the_simulator(
    fixed_s: float, each_s: float, load: float
) -> None:
    mean_s, _, law = played(profile(fixed_s, each_s), 1, load)
    assert law.response_s == pytest.approx(mean_s, rel=0.15)


@pytest.mark.slow
@pytest.mark.parametrize("lanes", [2, 8])
@pytest.mark.parametrize("load", [0.3, 0.6, 0.9])
@pytest.mark.parametrize(("fixed_s", "each_s"), [(0.004, 0.0005), (0.001, 0.004), (0.005, 0.002)])
def test_several_lanes_are_within_a_factor_of_two(
    fixed_s: float, each_s: float, load: float, lanes: int
) -> None:
    mean_s, batch, law = played(profile(fixed_s, each_s), lanes, load)
    assert 0.5 <= law.response_s / mean_s <= 2
    if law.batch >= 2:
        assert law.batch == pytest.approx(batch, rel=0.15)


def test_the_machine_of_a_profile_has_its_capacity() -> None:
    here = machine(question())
    assert here.capacity(32).rate_rps == pytest.approx(2 * 32 / 0.020)
