"""Plans of made-up machines: what is found must be what their numbers say."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import pytest

from headrace.load.arrivals import poisson
from headrace.plan.compare import Beside
from headrace.plan.document import document
from headrace.plan.machine import Front, spread_of
from headrace.plan.make import Plan, find_limit, machine_of, make_plan
from headrace.plan.play import arrivals, play, play_once, received, send_times
from headrace.plan.question import IN_TIME, Kind, Question
from headrace.plan.reasons import reasons
from headrace.plan.scaling import fit
from headrace.plan.show import limit_of
from tests.unit.plan.profiles import FREE, machine, profile, question

pytestmark = pytest.mark.slow  # they play thousands of requests

CAPACITY_RPS = 2 * 32 / 0.020


def planned(asked: Question, front: Front = Front(1e-9, 0.0), **said: float) -> Plan:  # noqa: B008
    return make_plan(profile(**said), asked, machine(asked, front, **said))


def test_the_same_question_has_the_same_answer() -> None:
    assert document(planned(question()), Beside()) == document(planned(question()), Beside())


def test_the_limit_is_good_and_a_little_more_is_not() -> None:
    asked = question(seeds=3)
    here = machine(asked)
    limit = find_limit(here, asked)
    assert 0.93 * CAPACITY_RPS < limit.mean <= CAPACITY_RPS
    assert play(here, asked, 0.98 * limit.mean).in_time.mean >= IN_TIME
    assert play(here, asked, 1.05 * limit.mean).in_time.mean < IN_TIME


def test_latency_grows_with_load_and_batches_do() -> None:
    levels = planned(question(loads=(0.2, 0.5, 0.8))).levels
    for before, after in pairwise(levels):
        assert before.played.p50_s is not None
        assert after.played.p50_s is not None
        assert before.played.p50_s.mean < after.played.p50_s.mean
        assert before.played.batch.mean < after.played.batch.mean


def test_littles_law_holds_in_what_was_played() -> None:
    asked = question()
    here = machine(asked)
    result = play(here, asked, 0.6 * CAPACITY_RPS)
    (level,) = planned(question(loads=(0.6,))).levels
    assert result.mean_s is not None
    assert level.in_server == pytest.approx(level.played.answered_rps * result.mean_s.mean, rel=0.1)


def test_a_long_objective_makes_the_model_the_limit_and_a_short_one_itself() -> None:
    assert "What limits is the model" in " ".join(reasons(planned(question(slo_s=0.2))))
    short = planned(question(slo_s=0.012))
    words = " ".join(reasons(short))
    assert "What limits is the objective" in words
    assert "3,200 requests/s in batches of 32, which take 20 ms" in words
    assert short.limit.mean < 0.6 * CAPACITY_RPS


def test_an_objective_that_a_single_run_misses_has_no_rate() -> None:
    plan = planned(question(slo_s=0.003))
    assert plan.limit.mean == 0
    assert plan.levels == ()
    assert "No rate is inside the objective" in reasons(plan)[0]
    assert json.loads(json.dumps(document(plan, Beside())))["at_limit"] is None


def test_an_objective_hardly_longer_than_a_run_leaves_a_low_rate() -> None:
    asked = question(instances=1, slo_s=0.045, loads=(0.5,))
    plan = planned(asked, fixed_s=0.040, each_s=1e-4, tail=1.02, instances=1)
    assert 0 < plan.limit.mean < 2**-8 * plan.unbound.rate_rps
    assert plan.levels[0].played.in_time.mean >= IN_TIME
    assert "No rate" not in " ".join(reasons(plan))


def test_an_objective_within_the_spread_of_a_run_says_so() -> None:
    plan = planned(question(slo_s=0.0101), fixed_s=0.009, each_s=0.001, tail=1.1)
    assert plan.limit.mean == 0
    assert "takes 10 ms at the median, which is too near to 10.1 ms for 99 of 100" in " ".join(
        reasons(plan)
    )


def test_a_limit_of_few_requests_an_hour_is_not_none() -> None:
    plan = planned(question(slo_s=None), fixed_s=100.0, each_s=100.0)
    assert document(plan, Beside())["limit_rps"] == {"mean": 0.01842, "off_by": None}
    assert limit_of(plan) == "Highest steady rate: 0.0184 requests/s"


def test_without_an_objective_the_limit_is_most_of_capacity() -> None:
    plan = planned(question(slo_s=None))
    assert plan.limit.mean == pytest.approx(0.95 * CAPACITY_RPS)
    assert "no objective" in reasons(plan)[0]


def test_a_receiver_that_takes_longer_than_the_model_is_the_limit() -> None:
    plan = planned(question(), Front(1 / 1000, 0.0))
    assert 900 < plan.limit.mean <= 1000
    assert "What limits is the receiver" in " ".join(reasons(plan))


@pytest.mark.parametrize("slo_s", [0.05, None])
@pytest.mark.parametrize("receivers", [1, 2])
def test_no_rate_is_promised_that_the_receivers_do_not_take(
    slo_s: float | None, receivers: int
) -> None:
    """A play of a rate a little higher is over before anybody has waited too long."""
    front, taken_rps = Front(1 / 1000, 0.0), 1000 * receivers
    profiled, asked = profile(receivers=receivers), question(slo_s=slo_s, rate_rps=1.03 * taken_rps)
    plan = make_plan(profiled, asked, machine_of(profiled, asked, front=front))
    assert 0.9 * taken_rps < plan.limit.mean <= 0.95 * taken_rps
    assert plan.capacity.rate_rps == pytest.approx(taken_rps)
    assert plan.enough is not None
    assert plan.enough.instances is None
    assert plan.enough.servers == 2
    words = " ".join(reasons(plan))
    told = "its receiver takes 950" if receivers == 1 else "its 2 receivers take 1,900"
    assert f"More instances in one server are not enough: {told} requests/s" in words
    assert "more receivers (--receivers)" in words
    assert document(plan, Beside())["receivers_rps"] == pytest.approx(0.95 * taken_rps)


def test_who_waits_too_long_for_the_receiver_is_late() -> None:
    """Half as many again as it takes: lanes have nothing to do, and clients wait for seconds."""
    asked = question(seeds=1)
    played = play(machine(asked, Front(1 / 1000, 0.0)), asked, 1500)
    assert played.in_time.mean < 0.5


def test_the_way_of_an_answer_is_within_the_objective_of_who_waits_for_it() -> None:
    asked = question(slo_s=0.01, seeds=1)
    near, far = (play(machine(asked, Front(1e-9, way_s)), asked, 100) for way_s in (0.0, 0.008))
    assert near.in_time.mean > IN_TIME
    assert far.in_time.mean < 0.5


def test_of_a_busy_receiver_it_is_told_whether_its_cost_is_guessed() -> None:
    asked = question(loads=())
    quick = {"fixed_s": 1e-4, "each_s": 1e-6}
    for front, told in (
        (Front.guessed(asked.elements, asked.rows), True),
        (Front(60e-6, 0.0), False),
    ):
        assert ("is a guess" in " ".join(reasons(planned(asked, front, **quick)))) is told
    slow = planned(asked, Front.guessed(asked.elements, asked.rows), fixed_s=0.02)
    assert "is a guess" not in " ".join(reasons(slow))


def test_the_receiver_works_on_one_request_at_a_time() -> None:
    asked = question()
    here = machine(asked, Front(0.001, 0.0))
    came = list(arrivals(here, asked, poisson(500, 4.0, seed=1), 1))
    for before, after in pairwise(came):
        assert after.at_s >= before.at_s + 0.001 - 1e-12
        assert after.waited_s >= 0.001 - 1e-12


def test_two_receivers_can_do_twice_as_much() -> None:
    profiled, asked = profile(receivers=2, cores=8), question()
    here = machine_of(profiled, asked, front=Front(1 / 1000, 0.0))
    plan = make_plan(profiled, asked, here)
    assert 1800 < plan.limit.mean <= 2000
    assert "What limits are the 2 receivers: the one thread of each" in " ".join(reasons(plan))


@pytest.mark.parametrize("receivers", [1, 2, 5])
def test_requests_come_out_of_receivers_in_order_none_before_its_work(receivers: int) -> None:
    sent_s = poisson(900, 4.0, seed=1).times_s.tolist()
    found = received(sent_s, 0.001, receivers)
    assert sorted(at_s for _, at_s in found) == sent_s
    assert all(before[0] <= after[0] for before, after in pairwise(found))
    assert all(out_s - at_s >= 0.001 - 1e-12 for out_s, at_s in found)
    for first in range(len(found) - 10):  # in 10 ms no more than each can do
        assert found[first + 10][0] - found[first][0] >= 0.001 * (10 // receivers - 1)


def test_a_model_that_lingers_is_planned_so() -> None:
    assert profile(linger_ms=2.0).known(instances=2, slo_s=0.05).linger_s == 0.002


def test_what_a_client_sees_has_the_way_in_it() -> None:
    asked = question()
    near = play(machine(asked), asked, 100)
    far = play(machine(asked, Front(1e-9, 0.002)), asked, 100)
    assert near.p50_s is not None
    assert far.p50_s is not None
    assert far.p50_s.mean == pytest.approx(near.p50_s.mean + 0.002)


def test_bursts_leave_less() -> None:
    smooth, bursty = (
        find_limit(machine(asked), asked).mean
        for asked in (question(slo_s=0.1, seeds=1), question(slo_s=0.1, seeds=1, kind=Kind.BURSTS))
    )
    assert bursty < 0.8 * smooth


def test_a_model_so_fast_that_a_play_is_shorter_than_a_burst_gets_its_bursts() -> None:
    asked = question(slo_s=0.02, kind=Kind.BURSTS)
    fast = machine(asked, fixed_s=6e-4, each_s=25e-6)
    in_bursts = 4 / (4 * 0.2 + 0.8) * find_limit(fast, asked).mean
    assert 0.85 < in_bursts / fast.capacity(32).rate_rps < 1.25


def test_bursts_of_a_model_that_takes_hours_are_drawn_as_soon_as_others() -> None:
    sent = send_times(question(kind=Kind.BURSTS), 1e-6, 4e9, 1)
    assert len(sent) == pytest.approx(4000, rel=0.1)


def test_a_rate_is_served_by_as_many_servers_as_it_takes() -> None:
    plan = planned(question(rate_rps=10_000))
    assert plan.enough is not None
    assert plan.enough.servers == math.ceil(10_000 / plan.limit.mean)
    assert plan.enough.instances in {7, 8}  # 1,600 each
    assert plan.levels[-1].share is None
    assert plan.levels[-1].played.in_time.mean < 0.5
    words = " ".join(reasons(plan))
    assert "need 4 servers" in words
    assert "this server has 2 cores" in words


def test_a_rate_that_is_inside_needs_one_server() -> None:
    plan = planned(question(rate_rps=1000))
    assert plan.enough is not None
    assert (plan.enough.servers, plan.enough.instances) == (1, 1)


def test_more_lanes_do_not_help_a_model_that_has_one() -> None:
    plan = planned(question(rate_rps=1e6), fixed_s=0.0001, each_s=0.00002)
    assert plan.machine.lanes == 1
    assert plan.enough is not None
    assert plan.enough.instances is None
    assert "the one lane" in " ".join(reasons(plan))
    assert "A run of one row takes less than 0.5 ms, so one lane does all" in " ".join(
        reasons(plan)
    )
    assert "More instances in one server are not enough" in " ".join(reasons(plan))


def test_instances_that_cost_each_other_do_less_and_are_needed_in_larger_numbers() -> None:
    scaling = fit([(1, 100.0), (2, 160.0)])
    asked = question(rate_rps=5000)
    slowed = machine_of(profile(), asked, front=FREE, speed=scaling.speed)
    plan = make_plan(profile(), asked, slowed, scaling)
    assert plan.limit.mean == pytest.approx(0.8 * planned(asked).limit.mean, rel=0.07)
    assert plan.enough is not None
    assert plan.enough.instances is None  # more of them are slower each, and late
    words = " ".join(reasons(plan))
    assert "contention 0.25, coherency 0 " in words
    assert "2 instances do 1.60 times one" in words
    peaked = fit([(n, 100 * n / (1 + 0.05 * (n - 1) + 0.01 * n * (n - 1))) for n in range(1, 9)])
    told = " ".join(reasons(make_plan(profile(), question(), slowed, peaked)))
    assert "Most is done with 9.75" in told
    assert json.loads(json.dumps(document(plan, Beside())))["scaling"]["contention"]["value"] > 0.2


def test_requests_of_several_rows_leave_as_many_times_less() -> None:
    one, four = (find_limit(machine(q), q).mean for q in (question(), question(rows=4)))
    assert four == pytest.approx(one / 4, rel=0.1)


def test_batching_that_does_not_pay_says_so() -> None:
    assert "batching is used up" in " ".join(
        reasons(planned(question(), fixed_s=1e-4, each_s=4e-3))
    )
    assert "batching pays well" in " ".join(reasons(planned(question(), fixed_s=0.01, each_s=1e-5)))


def test_run_times_spread_as_they_were_measured() -> None:
    assert spread_of([]) == 0
    assert spread_of([(1.0, 0.9)]) == 0
    spread = spread_of([(1.0, 1.2), (2.0, 2.4), (1.0, 5.0)])
    assert math.exp(1.645 * spread) == pytest.approx(1.2)
    run_s = machine(question(), tail=1.2).service(seed=1)
    drawn = sorted(run_s(4, 1) for _ in range(4000))
    assert drawn[2000] == pytest.approx(0.0045, rel=0.02)
    assert drawn[3800] == pytest.approx(0.0045 * 1.2, rel=0.02)


def test_the_same_seed_draws_the_same_requests_closer_together() -> None:
    asked = question()
    slow = [one.at_s for one in arrivals(machine(asked), asked, poisson(100, 10.0, seed=3), 1)]
    fast = [one.at_s for one in arrivals(machine(asked), asked, poisson(200, 5.0, seed=3), 1)]
    assert len(slow) == len(fast)
    assert fast[-1] == pytest.approx(slow[-1] / 2)
    assert play_once(machine(asked), asked, 200, 1) != play_once(machine(asked), asked, 200, 2)


@pytest.mark.parametrize(
    "wrong",
    [
        {"instances": 0},
        {"rows": 0},
        {"seeds": 0},
        {"seeds": 101},
        {"loads": (0.0,)},
        {"loads": (2.5,)},
        {"slo_s": 0.0},
        {"rate_rps": -1.0},
    ],
)
def test_a_question_that_is_none_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        question(**wrong)
