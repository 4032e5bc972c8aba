"""The rule against made-up traffic: what it reaches, and what the usual rules reach there.

Two lanes, runs of 4 ms + 0.5 ms a row ±5 %, batches of 64 at most, an objective of 50 ms. The
bounds are a few per cent around what an independent simulation of the same rules has found.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import Expired
from headrace.scheduler import Batch, Drop, Entry, LatencyModel, Policy, Scheduler
from headrace.scheduler.simulate import (
    IN_TIME,
    LATE,
    Arrival,
    Pace,
    Result,
    Rule,
    Service,
    linear,
    simulate,
)
from tests.unit.scheduler.baselines import EagerFifo, FitToHead, MaxDelayFifo

pytestmark = pytest.mark.slow  # most play 20,000 requests

LANES, MOST_ROWS, SLO_S = 2, 64, 0.050
ALPHA_S, BETA_S = 0.004, 0.0005
SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
CAPACITY_RPS = LANES * MOST_ROWS / (ALPHA_S + BETA_S * MOST_ROWS)


def run_s(rows: int) -> float:
    return ALPHA_S + BETA_S * rows


def ours(slo_s: float | None = SLO_S, max_queue: int = 2048, depth: int = 2) -> Scheduler:
    measured = [(1, rows, run_s(rows), 1.05 * run_s(rows)) for rows in SIZES]
    policy = Policy(slo_s, LANES, max_queue, MOST_ROWS, depth=depth, results_s=0.0)
    return Scheduler(policy, LatencyModel(measured, sizes=SIZES, pads=False))


def eager() -> EagerFifo:
    return EagerFifo(LANES, MOST_ROWS)


def poisson(load: float, count: int = 20_000, seed: int = 1) -> list[Arrival]:
    gaps = np.random.default_rng(seed).exponential(1 / (load * CAPACITY_RPS), count)
    return plan(np.cumsum(gaps).tolist())


def bursty(load: float, duration_s: float = 14.0, seed: int = 1) -> list[Arrival]:
    """In turns of half a second, 1.8 times the load and 0.2 times."""
    random = np.random.default_rng(seed)
    times: list[float] = []
    for turn in range(int(2 * duration_s)):
        rate = load * CAPACITY_RPS * (0.2 if turn % 2 else 1.8)
        times += (0.5 * (turn + random.uniform(0, 1, random.poisson(0.5 * rate)))).tolist()
    return plan(times)


def plan(times_s: Sequence[float], timeout_s: float = SLO_S) -> list[Arrival]:
    return [Arrival(at_s, timeout_s) for at_s in times_s]


def noise(share: float = 0.05, seed: int = 1) -> list[float]:
    random = np.random.default_rng(seed)
    return [float(ratio) for ratio in random.uniform(1 - share, 1 + share, 5000)]


def noisy(share: float = 0.05, seed: int = 1) -> Service:
    return linear(ALPHA_S, BETA_S, noise(share, seed))


def play(rule: Rule, arrivals: Sequence[Arrival], service: Service | None = None) -> Result:
    return simulate(rule, arrivals, service or noisy(), lanes=LANES)


def ms(seconds: float | None) -> float:
    assert seconds is not None
    return seconds * 1e3


# -- our rule --------------------------------------------------------------------------------------


def test_at_a_tenth_of_the_load_everybody_is_answered_at_the_speed_of_a_single_run() -> None:
    result = play(ours(), poisson(0.1))
    assert result.outcomes == {IN_TIME: 20_000}
    assert ms(result.p50_s) == pytest.approx(4.8, rel=0.05)
    assert result.utilisation == pytest.approx(0.67, rel=0.05)


def test_at_six_tenths_it_is_as_fast_as_the_eager_rule() -> None:
    result = play(ours(), poisson(0.6))
    assert result.outcomes == {IN_TIME: 20_000}
    assert ms(result.p50_s) == pytest.approx(12.8, rel=0.05)
    assert ms(result.p99_s) == pytest.approx(22.7, rel=0.08)


def test_near_saturation_nearly_all_are_in_time() -> None:
    result = play(ours(), poisson(0.95))
    assert result.in_time_share >= 0.95


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(("load", "share_of_capacity"), [(1.2, 0.95), (2.0, 0.965)])
def test_past_saturation_it_gives_all_the_machine_has(
    load: float, share_of_capacity: float, seed: int
) -> None:
    result = play(ours(), poisson(load, seed=seed), noisy(seed=seed))
    assert result.goodput_rps >= share_of_capacity * CAPACITY_RPS
    assert ms(result.p99_s) <= 50.0
    # Who is refused learns it at once; hardly anybody waits in vain.
    assert result.outcomes["predicted_miss"] >= 0.2 * result.offered * (load - 1)
    assert result.outcomes.get("shed", 0) <= 0.02 * result.outcomes["predicted_miss"]


def test_bursts_of_twice_the_load_cost_no_more_than_what_does_not_fit() -> None:
    result = play(ours(), bursty(0.8))
    assert result.in_time_share >= 0.72  # 0.725 is what fits while a burst lasts
    assert ms(result.p99_s) <= 50.0


def test_an_overload_that_begins_out_of_the_blue_is_met_from_its_first_second() -> None:
    """Hundreds of batches a second: a rate seen too late makes small ones and ever more misses."""
    alpha_s, beta_s, slo_s = 0.002, 0.00005, 0.020
    capacity_rps = LANES * MOST_ROWS / (alpha_s + beta_s * MOST_ROWS)
    gaps = np.random.default_rng(1).exponential(1 / (1.2 * capacity_rps), 12_000)
    measured = [(1, b, alpha_s + beta_s * b, 1.05 * (alpha_s + beta_s * b)) for b in SIZES]
    rule = Scheduler(
        Policy(slo_s, LANES, 2048, MOST_ROWS), LatencyModel(measured, sizes=SIZES, pads=False)
    )
    result = simulate(
        rule,
        plan(np.cumsum(gaps).tolist(), slo_s),
        linear(alpha_s, beta_s, noise()),
        lanes=LANES,
    )
    assert result.duration_s < 0.5
    assert result.goodput_rps >= 0.95 * capacity_rps


def test_predictions_do_not_drift_while_lanes_never_pause() -> None:
    """Runs a tenth shorter than warm-up said, answers later: no error may add up over batches."""
    arrivals = poisson(1.2)
    service = linear(0.9 * ALPHA_S, 0.9 * BETA_S, noise())
    result = simulate(ours(), arrivals, service, lanes=LANES, reply_s=0.0003)
    assert result.goodput_rps >= 0.95 * CAPACITY_RPS / 0.9
    assert result.outcomes.get("shed", 0) <= 0.01 * result.offered


def test_a_machine_that_has_become_slower_than_warm_up_said_is_learnt_in_time() -> None:
    service = linear(1.5 * ALPHA_S, 1.5 * BETA_S, noise())
    result = play(ours(), poisson(1.2), service)
    answered = result.outcomes[IN_TIME] + result.outcomes.get(LATE, 0)
    assert result.outcomes.get(LATE, 0) <= 0.02 * answered
    # The objective is as long as before, so the batches that fit are smaller: 36 rows, not 56.
    assert result.goodput_rps >= 0.88 * CAPACITY_RPS / 1.5


def test_noisy_runs_cost_goodput_but_not_the_objective() -> None:
    result = play(ours(), poisson(1.2), noisy(0.2))
    assert result.goodput_rps >= 0.90 * CAPACITY_RPS
    assert ms(result.p99_s) <= 50.0


def test_batches_cut_ahead_hide_the_way_to_the_engine() -> None:
    """Runs of 0.2 ms, and 0.2 ms until the next batch could be there: twice the work with two."""

    def goodput(depth: int) -> float:
        measured = [(1, rows, 0.0002, 0.0002) for rows in (1, 2, 4, 8)]
        policy = Policy(SLO_S, 1, 2048, 8, depth=depth)
        rule = Scheduler(policy, LatencyModel(measured, sizes=(1, 2, 4, 8), pads=False))
        times = (np.arange(20_000) / 30_000).tolist()
        return simulate(rule, plan(times), linear(0.0002, 0.0), lanes=1, reply_s=0.0002).goodput_rps

    assert goodput(2) > 1.4 * goodput(1)


def test_without_an_objective_the_queue_is_bounded_and_nothing_is_dropped() -> None:
    arrivals = [arrival._replace(timeout_s=float("inf")) for arrival in poisson(1.5)]
    result = play(ours(slo_s=None, max_queue=500), arrivals)
    assert set(result.outcomes) == {IN_TIME, "queue_full"}
    assert result.goodput_rps >= 0.97 * CAPACITY_RPS
    # 500 wait at most, then their batch runs.
    assert ms(result.p99_s) <= 1e3 * 500 / CAPACITY_RPS + 2 * 36


@pytest.mark.parametrize(("load", "share"), [(0.5, 0.99), (1.2, 0.75)])
@pytest.mark.parametrize("slo_s", [None, SLO_S])
def test_where_warm_up_was_disturbed_batches_grow_all_the_same(
    slo_s: float | None, load: float, share: float
) -> None:
    """A machine that can do twice what comes once refused a third of it, for good.

    All sizes but the first were timed while somebody had the cores, and so only the first ran.
    """
    alpha_s, beta_s = 0.001, 0.0005
    measured = [
        (1, b, (alpha_s + beta_s * b) * (1 if b == 1 else 3), 3.2 * (alpha_s + beta_s * b))
        for b in SIZES
    ]
    policy = Policy(slo_s, LANES, 2048, MOST_ROWS)
    rule = Scheduler(policy, LatencyModel(measured, sizes=SIZES, pads=False))
    rate_rps = load * LANES * MOST_ROWS / (alpha_s + beta_s * MOST_ROWS)
    gaps = np.random.default_rng(1).exponential(1 / rate_rps, 20_000)
    arrivals = plan(np.cumsum(gaps).tolist(), slo_s or float("inf"))
    result = simulate(rule, arrivals, linear(alpha_s, beta_s, noise()), lanes=LANES)
    assert result.in_time_share >= share  # of 1.2 times what it can do, at most 0.83


def test_several_buckets_share_the_lanes_without_making_small_batches() -> None:
    random = np.random.default_rng(1)
    costs = {32: 0.5, 128: 2.0}

    def service(elements: int, rows: int) -> float:
        return ALPHA_S + BETA_S * rows * costs[elements]

    measured = [(e, b, service(e, b), 1.05 * service(e, b)) for e in costs for b in SIZES]
    rule = Scheduler(
        Policy(SLO_S, LANES, 2048, MOST_ROWS), LatencyModel(measured, sizes=SIZES, pads=False)
    )
    rate_rps = 0.75 * LANES / (BETA_S * 1.25)
    times = np.cumsum(random.exponential(1 / rate_rps, 10_000)).tolist()
    buckets = random.choice([32, 128], 10_000).tolist()
    arrivals = [
        Arrival(at_s, SLO_S, bucket=bucket, elements=bucket)
        for at_s, bucket in zip(times, buckets, strict=True)
    ]
    result = simulate(rule, arrivals, service, lanes=LANES)
    assert result.in_time_share >= 0.97
    assert result.mean_batch >= 12


def test_shapes_that_are_rare_do_not_push_out_those_that_are_not() -> None:
    """A twentieth of the requests is of twenty shapes, and each of them would be a batch alone."""
    random = np.random.default_rng(1)
    shares = {16: 0.95} | dict.fromkeys(range(640, 660), 0.05 / 20)

    def service(_: int, rows: int) -> float:
        return ALPHA_S + BETA_S * rows

    measured = [(e, b, run_s(b), 1.1 * run_s(b)) for e in shares for b in SIZES]
    rule = Scheduler(
        Policy(SLO_S, LANES, 2048, MOST_ROWS), LatencyModel(measured, sizes=SIZES, pads=False)
    )
    times = np.cumsum(random.exponential(1 / (1.1 * CAPACITY_RPS), 8_000)).tolist()
    shapes = random.choice(list(shares), 8_000, p=list(shares.values())).tolist()
    arrivals = [
        Arrival(at_s, SLO_S, bucket=shape, elements=shape)
        for at_s, shape in zip(times, shapes, strict=True)
    ]
    result = simulate(rule, arrivals, service, lanes=LANES)
    assert result.in_time_share >= 0.7
    assert result.outcomes["shed"] < 0.08 * len(arrivals)  # most are refused as they come


def test_a_shape_that_warm_up_timed_too_long_is_not_refused_for_ever() -> None:
    """A twentieth of the requests takes twice as long, and by warm-up twelve times."""
    random = np.random.default_rng(1)
    times, said = {1: 1.0, 2: 2.0}, {1: 1.0, 2: 12.0}
    rows_of_rare: list[int] = []  # by runs

    def service(elements: int, rows: int) -> float:
        rows_of_rare.append(rows if elements == 2 else 0)
        return times[elements] * run_s(rows) * float(random.uniform(0.95, 1.05))

    measured = [(e, b, said[e] * run_s(b), 1.05 * said[e] * run_s(b)) for e in said for b in SIZES]
    rule = Scheduler(
        Policy(SLO_S, LANES, 2048, MOST_ROWS), LatencyModel(measured, sizes=SIZES, pads=False)
    )
    count = 40_000
    at_s = np.cumsum(random.exponential(1 / (0.8 * CAPACITY_RPS), count)).tolist()
    shapes = np.where(random.random(count) < 0.05, 2, 1).tolist()
    arrivals = [
        Arrival(at, SLO_S, bucket=one, elements=one) for at, one in zip(at_s, shapes, strict=True)
    ]
    result = simulate(rule, arrivals, service, lanes=LANES)
    assert sum(rows_of_rare) > 0.5 * shapes.count(2)
    assert result.in_time_share > 0.95


# -- the rules of others, for contrast -------------------------------------------------------------


def test_eager_fifo_is_good_below_saturation_and_collapses_above() -> None:
    assert ms(play(eager(), poisson(0.1)).p50_s) == pytest.approx(4.8, rel=0.05)
    assert ms(play(eager(), poisson(0.6)).p99_s) == pytest.approx(22.7, rel=0.05)
    assert play(eager(), poisson(1.2)).goodput_rps <= 0.03 * CAPACITY_RPS
    assert play(eager(), poisson(2.0)).goodput_rps <= 0.02 * CAPACITY_RPS
    assert play(eager(), bursty(0.8)).in_time_share <= 0.3


def test_a_maximum_delay_saves_work_at_low_load_and_collapses_as_well() -> None:
    quiet = play(MaxDelayFifo(LANES, MOST_ROWS, 0.005), poisson(0.1))
    assert ms(quiet.p50_s) == pytest.approx(9.5, rel=0.05)
    assert quiet.utilisation == pytest.approx(0.34, rel=0.05)
    loud = play(MaxDelayFifo(LANES, MOST_ROWS, 0.005), poisson(1.2))
    assert loud.goodput_rps <= 0.03 * CAPACITY_RPS


def test_fitting_to_the_head_alone_makes_batches_small_when_they_must_be_large() -> None:
    result = play(FitToHead(LANES, MOST_ROWS, lambda rows: 1.05 * run_s(rows)), poisson(1.2))
    assert result.goodput_rps <= 0.25 * CAPACITY_RPS
    assert result.mean_batch <= 4


# -- the simulator itself --------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_result_and_another_a_different_one() -> None:
    first, again = (play(ours(), poisson(1.2, 3000), noisy(seed=5)) for _ in range(2))
    assert first == again
    assert first != play(ours(), poisson(1.2, 3000), noisy(seed=6))


def test_two_requests_on_one_lane_by_hand() -> None:
    arrivals = [Arrival(0.0, 1.0), Arrival(0.001, 0.007), Arrival(0.002, 0.001)]
    result = simulate(EagerFifo(1, 1), arrivals, linear(0.004, 0.0), lanes=1, reply_s=0.001)
    # The eager rule hears of the first end at 5 ms, runs the second until 9, the third until 14.
    assert result.outcomes == {IN_TIME: 1, LATE: 2}
    assert result.duration_s == pytest.approx(0.015)
    assert result.p50_s == pytest.approx(0.009)
    assert result.p99_s == pytest.approx(0.013)
    assert result.utilisation == pytest.approx(0.012 / 0.015)
    assert result.mean_batch == 1
    assert result.goodput_rps == pytest.approx(1 / 0.015)
    assert result.in_time_share == pytest.approx(1 / 3)
    assert result.refusal_p99_s is None


def test_refusals_are_counted_by_their_codes_and_timed() -> None:
    class Refuses(EagerFifo):
        def admit(self, entry: Entry, now: float) -> None:
            raise Expired("always")

    result = simulate(Refuses(1, 1), plan([0.0, 1.0]), linear(0.004, 0.0), lanes=1)
    assert result.outcomes == {"expired": 2}
    assert result.refusal_p99_s == 0.0
    assert result.p99_s is None
    assert result.mean_batch == 0.0


def test_arrivals_may_come_in_any_order_but_not_none() -> None:
    forth = play(ours(), plan([0.0, 0.01, 0.02]), linear(0.004, 0.0))
    back = play(ours(), plan([0.02, 0.01, 0.0]), linear(0.004, 0.0))
    assert forth == back
    with pytest.raises(ValueError, match="at least one arrival"):
        play(ours(), [])


def test_a_rule_that_wakes_up_for_nothing_is_found_out() -> None:
    class Restless(EagerFifo):
        def cut(self, now: float) -> tuple[Batch | None, list[Drop]]:
            return None, []

        def wake_at(self, now: float) -> float | None:
            return now

    with pytest.raises(RuntimeError, match="does nothing"):
        simulate(Restless(1, 1), plan([0.0, 1.0]), linear(0.004, 0.0), lanes=1)


def test_lanes_that_share_the_machine_slow_each_other_down() -> None:
    """Two runs of 4 ms, the second 2 ms later: each is half as fast while both run."""
    arrivals = plan([0.0, 0.002], timeout_s=1.0)
    rule = EagerFifo(2, 1)
    result = simulate(rule, arrivals, linear(0.004, 0.0), lanes=2, pace=Pace(lambda busy: 1 / busy))
    # The first has 2 ms left when the second comes, and takes 4 for them: it ends at 6. The second
    # has then done 2 of its 4, and is alone: it ends at 8.
    assert result.duration_s == pytest.approx(0.008)
    assert result.p50_s == pytest.approx(0.006)
    assert result.p99_s == pytest.approx(0.006)
    assert result.utilisation == pytest.approx((0.006 + 0.006) / 0.016)


def test_a_machine_that_stalls_holds_up_all_lanes_however_much_they_have_to_do() -> None:
    """From 2 to 32 ms nothing goes on; who comes meanwhile waits, too."""
    pace = Pace(moments=[(0.002, 1.0), (0.030, 1e9), (10.0, 1.0)])
    result = simulate(
        EagerFifo(3, 1),
        [Arrival(0.0, math.inf), Arrival(0.001, math.inf), Arrival(0.020, math.inf)],
        linear(0.004, 0.0),
        lanes=3,
        pace=pace,
    )
    assert sorted(result.answered_s) == pytest.approx([0.016, 0.034, 0.034], abs=1e-6)


@given(
    st.lists(st.tuples(st.floats(1e-6, 10), st.floats(0.01, 1e6)), min_size=1, max_size=20),
    st.floats(0, 100),
)
def test_a_pace_is_the_same_in_both_directions(
    stretches: list[tuple[float, float]], at_s: float
) -> None:
    pace = Pace(moments=stretches)
    worked_s = pace.worked_s(at_s)
    assert pace.worked_s(pace.at_s(worked_s)) == pytest.approx(worked_s, rel=1e-6, abs=1e-9)
    assert pace.worked_s(at_s + 0.01) > worked_s


def test_the_rule_is_told_how_long_a_run_really_took() -> None:
    told: list[float | None] = []

    class Listens(EagerFifo):
        def finish(self, batch_id: int, now: float, infer_s: float | None) -> None:
            told.append(infer_s)
            super().finish(batch_id, now, infer_s)

    simulate(
        Listens(2, 1),
        plan([0.0, 0.0], 1.0),
        linear(0.004, 0.0),
        lanes=2,
        pace=Pace(lambda busy: 1 / busy),
    )
    assert told == [pytest.approx(0.008), pytest.approx(0.008)]


def test_what_comes_before_it_has_settled_is_not_counted() -> None:
    result = simulate(
        EagerFifo(1, 1),
        plan([0.0, 0.001, 0.010], 1.0),
        linear(0.004, 0.0),
        lanes=1,
        settled_s=0.006,
    )
    # The second still runs when counting begins, until 8 ms; the third from 10 to 14.
    assert result.outcomes == {IN_TIME: 1}
    assert result.offered == 1
    assert result.duration_s == pytest.approx(0.008)
    assert result.utilisation == pytest.approx(0.006 / 0.008)
    assert result.mean_batch == 1
    with pytest.raises(ValueError, match="that counts"):
        simulate(ours(), plan([0.0]), linear(0.004, 0.0), lanes=1, settled_s=1.0)


@pytest.mark.parametrize(
    "waits", [{"waited_s": 0.1}, {"way_s": 0.1}, {"waited_s": 0.06, "way_s": 0.04}]
)
@pytest.mark.parametrize(("timeout_s", "outcome"), [(0.103, LATE), (0.105, IN_TIME)])
def test_all_that_a_client_waits_counts_into_its_response_and_its_objective(
    waits: dict[str, Any], timeout_s: float, outcome: str
) -> None:
    arrivals = [Arrival(1.0, timeout_s, **waits)]
    result = simulate(EagerFifo(1, 1), arrivals, linear(0.004, 0.0), lanes=1)
    assert result.outcomes == {outcome: 1}
    assert result.mean_s == result.p50_s == pytest.approx(0.104)


def test_a_deadline_knows_how_old_a_request_is_and_not_the_way_of_its_answer() -> None:
    deadlines: list[float] = []

    class Listens(EagerFifo):
        def admit(self, entry: Entry, now: float) -> None:
            deadlines.append(entry.deadline_s)
            super().admit(entry, now)

    arrivals = [Arrival(1.0, 0.5, waited_s=0.2, way_s=0.1)]
    simulate(Listens(1, 1), arrivals, linear(0.004, 0.0), lanes=1)
    assert deadlines == [pytest.approx(1.3)]


def lingering(linger_s: float) -> Scheduler:
    measured = [(1, rows, run_s(rows), 1.05 * run_s(rows)) for rows in SIZES]
    policy = Policy(SLO_S, LANES, 2048, MOST_ROWS, results_s=0.0, linger_s=linger_s)
    return Scheduler(policy, LatencyModel(measured, sizes=SIZES, pads=False))


def test_lingering_saves_the_machine_s_time_at_low_load_and_costs_every_answer_its_delay() -> None:
    eager, patient = (play(lingering(s), poisson(0.1)) for s in (0.0, 0.005))
    assert patient.utilisation < 0.75 * eager.utilisation
    assert ms(patient.p50_s) > ms(eager.p50_s) + 3
    assert patient.in_time_share == 1.0


@pytest.mark.parametrize("load", [0.95, 1.2, 2.0])
def test_lingering_changes_nothing_where_lanes_are_busy(load: float) -> None:
    eager, patient = (play(lingering(s), poisson(load)) for s in (0.0, 0.005))
    assert patient.goodput_rps == pytest.approx(eager.goodput_rps, rel=0.02)


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99, 1.0])
@pytest.mark.parametrize("load", [0.5, 1.05, 1.5])
def test_what_cannot_be_good_any_more_is_not_played_to_its_end(load: float, share: float) -> None:
    coming = poisson(load, 2000)
    settled_s = coming[300].at_s

    def played(at_least: float) -> Result:
        return simulate(
            ours(), coming, noisy(), lanes=LANES, settled_s=settled_s, at_least=at_least
        )

    whole, ended = played(0.0), played(share)
    assert whole.offered == 1700
    if whole.in_time_share >= share:
        assert ended == whole
    else:
        assert ended.in_time_share < share
        missed = ended.offered - ended.outcomes.get(IN_TIME, 0)
        assert 0 < missed - (1 - share) * whole.offered <= MOST_ROWS + 1
        assert ended.offered <= whole.offered
