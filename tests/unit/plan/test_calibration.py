"""What is found of made-up machines is what they were made of."""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from headrace.plan.calibration import SEQUENCES, Calibration, Driven, calibrate
from headrace.plan.machine import Machine
from headrace.plan.make import machine_of
from headrace.plan.profile import read_file, save, with_calibration
from headrace.plan.scaling import fit
from headrace.plan.seen import Between, Ran, Recent, Seen, SizeSeen
from tests.unit.plan.profiles import FREE, machine, profile, question

CALIBRATION = Calibration(
    each_s=0.0001,
    way_s=0.0003,
    cpu_s=0.00015,
    stretch=1.1,
    contention=0.2,
    spread=0.05,
    handover_s=0.0002,
)


def test_of_a_calibrated_machine_it_can_be_said_what_instances_cost_each_other() -> None:
    calibrated, asked = with_calibration(profile(), CALIBRATION), question()
    scaling = fit([(1, 100.0), (2, 110.0)])
    found = machine_of(calibrated, asked, speed=scaling.speed)
    assert found.speed(2) == pytest.approx(0.55)
    assert replace(found, speed=CALIBRATION.speed) == machine_of(calibrated, asked)


def seen(answered: int, cpu_s: float, *runs: tuple[int, int, float]) -> Seen:
    sizes = tuple(SizeSeen(rows=rows, count=n, infer_s=infer_s) for rows, n, infer_s in runs)
    return Seen(answered=answered, cpu_s=cpu_s, tail_ratio=1.1, handover_s=0.0002, runs=sizes)


def driven(truth: Calibration, here: Machine, *, lanes: int, batch: int, rate_rps: float) -> Driven:
    """What a closed loop on a machine of this truth shows, with so many lanes busy."""
    left = min((here.cores - rate_rps * truth.cpu_s) / (lanes * here.threads), 1.0)
    run_s = here.known.latency().expect(4, batch) * truth.stretch / truth.speed(lanes) / left
    count = 1000
    answered = count * batch
    return Driven(
        rate_rps,
        truth.way_s + truth.each_s + truth.handover_s + run_s,
        truth.cpu_s - truth.each_s,
        Between(answered * truth.each_s, answered, ((batch, count, count * run_s),)),
        math.exp(2.054 * truth.spread),
        truth.handover_s,
    )


@settings(deadline=None)
@given(
    st.floats(1e-5, 1e-3),
    st.floats(0, 1e-2),
    st.floats(0.5, 3),
    st.floats(0, 1),
    st.floats(0, 0.3),
)
def test_a_machine_is_found_as_it_was_made(
    each_s: float, way_s: float, stretch: float, contention: float, spread: float
) -> None:
    truth = Calibration(
        each_s=each_s,
        way_s=way_s,
        cpu_s=1.5 * each_s,
        stretch=stretch,
        contention=contention,
        spread=spread,
        handover_s=0.0002,
    )
    here = machine(question())
    quiet = driven(truth, here, lanes=1, batch=1, rate_rps=0.0)
    busy = driven(truth, here, lanes=2, batch=16, rate_rps=500)
    lists = {*SEQUENCES, "sizes"}
    found = calibrate(here, quiet, busy).model_dump(exclude=lists)
    assert found == pytest.approx(truth.model_dump(exclude=lists), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("taken_cores", [2.0, 5.0])
def test_where_requests_take_as_many_cores_as_there_are_a_tenth_is_the_lanes(
    taken_cores: float,
) -> None:
    """As on one core that the receiver and the sender share: engines are niced, not stopped."""
    here = machine(question())
    quiet = driven(CALIBRATION, here, lanes=1, batch=1, rate_rps=0.0)
    busy = replace(driven(CALIBRATION, here, lanes=2, batch=16, rate_rps=0.0), rate_rps=1000.0)
    taking = replace(busy, sender_cpu_s=taken_cores / busy.rate_rps)
    found = calibrate(here, quiet, taking)
    assert found.full_slower == pytest.approx(1.2 * 0.1)
    assert found.contention == 0


def test_a_single_lane_costs_nobody() -> None:
    here = machine(question(instances=1))
    one = driven(CALIBRATION, here, lanes=1, batch=1, rate_rps=100)
    assert calibrate(here, one, one).contention == 0


def test_without_an_answer_nothing_is_found() -> None:
    here = machine(question())
    nothing = Driven(0.0, 0.0, 0.0, Between(1.0, 0, ()), 1.1, 0.0)
    with pytest.raises(ValueError, match="answered nothing"):
        calibrate(here, nothing, nothing)


def test_what_was_found_is_what_is_planned_with() -> None:
    here = CALIBRATION.applied(machine(question()))
    assert here.front.each_s == CALIBRATION.each_s
    assert here.speed(1) == 1
    assert here.speed(2) == pytest.approx(1 / 1.2)
    assert here.curve()(1) == pytest.approx(0.0045 * 1.1 * 1.2)


def test_a_calibration_is_saved_with_the_profile_and_planned_with(tmp_path: Path) -> None:
    path = tmp_path / "digits.json"
    save(with_calibration(profile(), CALIBRATION), path)
    again = read_file(path)
    assert again.calibration == CALIBRATION
    assert machine_of(again, question()).stretch == 1.1
    assert machine_of(again, question(), front=FREE).stretch == 1.0


def test_requests_take_their_part_of_the_cores() -> None:
    here = CALIBRATION.applied(machine(question()))
    assert here.speed_at(0)(1) == 1
    assert here.speed_at(2000)(1) == 1  # the other core has room for 0.3 of one
    assert here.speed_at(2000)(2) == pytest.approx((2 - 0.3) / 2 / 1.2)
    bare = machine(question()).capacity(32).rate_rps / 1.1 / 1.2
    found = here.capacity(32).rate_rps
    assert found == pytest.approx(bare * here.speed_at(found)(2) * 1.2)


def test_a_play_begins_with_what_runs_have_taught_the_server() -> None:
    """A server knows how long the longest are, and refuses by it from the first on."""
    warm = machine(question())
    assert warm.scheduler(100.0).statistics().tail == warm.known.latency().tail
    here = CALIBRATION.with_middle(100.0, 300.0, 1.3, 1.8).applied(warm)
    assert here.scheduler(100.0).statistics().tail == pytest.approx(1.8)
    assert here.scheduler(300.0).statistics().tail == pytest.approx(math.exp(2.054 * 0.05))


def test_a_middling_load_is_between_none_and_full() -> None:
    found = CALIBRATION.with_middle(100.0, 300.0, 1.3, math.exp(2.054 * 0.5))
    here, plain = found.applied(machine(question())), CALIBRATION.applied(machine(question()))
    for rate, slower, spread in (
        (0, 1, 0.5),
        (50, 1.15, 0.5),
        (100, 1.3, 0.5),
        (250, 1.15, (0.5 + CALIBRATION.spread) / 2),
        (300, 1, CALIBRATION.spread),
        (400, 1, CALIBRATION.spread),
    ):
        assert plain.speed_at(rate)(1) / here.speed_at(rate)(1) == pytest.approx(slower)
        run_s = here.service(1, rate)
        logs = [math.log(run_s(2, 1)) for _ in range(4000)]
        assert statistics.stdev(logs) == pytest.approx(spread, rel=0.05, abs=1e-9)


def slow_share(here: Machine, rate_rps: float) -> float:
    """Of the time, where it is more than twice as slow."""
    pace = here.pace(1, rate_rps, 1000.0)
    works_s = np.array([pace.worked_s(0.01 * place) for place in range(100_000)])
    return float(np.mean(np.diff(works_s) < 0.01 / 2))


def test_the_machine_is_as_fast_as_it_was_seen() -> None:
    """Stalls of a twentieth of the time at the middle; none at full load."""
    stalls = ((0.95, 0.8), (0.05, 4.8)) * 20
    whole = CALIBRATION.model_copy(update={"full_trace": ((1.0, 1.0),) * 50})
    here = whole.with_middle(100.0, 300.0, 1.3, 1.1, stalls).applied(machine(question()))
    for rate, share in ((50, 0.05), (100, 0.05), (250, 0.025), (300, 0.0)):
        assert slow_share(here, rate) == pytest.approx(share, abs=0.01)
        run_s = here.service(1, rate)
        assert [run_s(4, 1) for _ in range(100)] == pytest.approx([0.0045 * 1.1] * 100)


def test_below_the_middle_it_is_in_part_as_with_one_caller() -> None:
    """Stalls of a tenth of the time there, none at the middle."""
    calm = ((1.0, 1.0),) * 50
    quiet = {"quiet_trace": ((0.9, 0.6), (0.1, 4.6)) * 20, "full_trace": calm}
    whole = CALIBRATION.model_copy(update=quiet).with_middle(100.0, 300.0, 1.3, 1.1, calm)
    here = whole.applied(machine(question()))
    for rate, share in ((0, 0.1), (50, 0.05), (100, 0.0), (200, 0.0)):
        assert slow_share(here, rate) == pytest.approx(share, abs=0.01)


def test_what_requests_took_besides_their_runs_is_drawn_too(tmp_path: Path) -> None:
    here = machine(question())
    runs, ways = (0.005, 0.004, 0.006), (0.0004, 0.0005, 0.02)
    alone = tuple((run + way + 0.0001 + 0.0002, run) for run, way in zip(runs, ways, strict=True))
    quiet = driven(CALIBRATION, here, lanes=1, batch=1, rate_rps=0.0)
    each = replace(quiet, alone_s=alone)
    busy = driven(CALIBRATION, here, lanes=2, batch=16, rate_rps=500)
    found = calibrate(here, each, busy)
    assert found.ways_s == pytest.approx(ways, abs=1e-6)
    drawn = found.applied(here).front.drawn_s(1, 100)
    assert set(drawn) == set(found.ways_s)
    assert calibrate(here, quiet, busy).applied(here).front.drawn_s(1, 2) == pytest.approx(
        [CALIBRATION.way_s] * 2
    )
    path = tmp_path / "digits.json"
    save(with_calibration(profile(), found), path)
    assert read_file(path).calibration == found


@pytest.mark.parametrize("longer_s", [0.002, -0.0001, -0.01])
def test_requests_are_longer_on_their_way_where_others_run(longer_s: float) -> None:
    found = CALIBRATION.with_middle(100.0, 300.0, 1.3, 1.1).with_middle_way(longer_s)
    here = found.applied(machine(question()))
    for rate, part in ((0, 0.0), (50, 0.5), (100, 1.0), (300, 1.0)):
        way_s = max(CALIBRATION.way_s + part * longer_s, 0.0)
        assert here.ways_s(1, 3, rate) == pytest.approx([way_s] * 3)
    assert CALIBRATION.applied(machine(question())).ways_s(1, 2, 100) == [CALIBRATION.way_s] * 2


def test_lanes_that_find_everything_in_the_caches_are_faster_than_after_a_pause() -> None:
    here = machine(question())
    quiet = driven(CALIBRATION, here, lanes=1, batch=1, rate_rps=0.0)
    cold = CALIBRATION.model_copy(update={"stretch": 1.1 / 1.5, "contention": 0.0})
    busy = driven(cold, here, lanes=2, batch=16, rate_rps=300)
    found = calibrate(here, quiet, busy)
    assert found.contention == 0
    assert found.full_slower == pytest.approx(1 / 1.5)
    planned = found.with_middle(100.0, 300.0, 1.3, 1.1).applied(here)
    assert planned.speed_at(300)(1) == pytest.approx(1.5)
    assert planned.speed_at(250)(1) == pytest.approx(1 / ((1.3 + 1 / 1.5) / 2))
    assert planned.curve()(1) == pytest.approx(0.0045 * 1.1 / 1.5)


def test_where_nobody_looked_there_is_no_middle(tmp_path: Path) -> None:
    assert CALIBRATION.applied(machine(question())).middle is None
    found = CALIBRATION.with_middle(100.0, 300.0, 1.3, 1.1)
    path = tmp_path / "digits.json"
    save(with_calibration(profile(), found), path)
    assert read_file(path).calibration == found
    old = json.loads(path.read_text())
    for key in ("middle_rps", "full_rps", "middle_slower", "middle_spread"):
        del old["calibration"][key]
    path.write_text(json.dumps(old))
    assert read_file(path).calibration == CALIBRATION


# -- what ran between two questions ----------------------------------------------------------------


def test_only_what_ran_between_is_counted() -> None:
    before = seen(100, 1.0, (1, 50, 0.5), (2, 25, 0.3))
    after = seen(150, 1.5, (1, 60, 0.7), (2, 25, 0.3), (4, 10, 0.2))
    ran = Between.of(before, after)
    assert (ran.answered, ran.cpu_s, ran.batches) == (50, 0.5, 20)
    assert [(rows, count) for rows, count, _ in ran.runs] == [(1, 10), (4, 10)]
    assert ran.mean_batch == 2.5
    assert ran.infer_s == pytest.approx(0.4)
    assert ran.stretch(lambda rows: 0.01 * rows) == pytest.approx(0.4 / 0.5)


def test_the_last_runs_are_those_after_the_first_question() -> None:
    before = seen(100, 1.0, (1, 50, 0.5)).model_copy(update={"now_s": 7.0})
    last = Recent(ended_s=(6.9, 7.1, 7.2, 7.3), rows=(1, 1, 2, 1), infer_s=(9.0, 0.2, 0.4, 0.6))
    after = seen(110, 1.5, (1, 60, 0.7)).model_copy(update={"recent": last})
    ran = Between.of(before, after)
    assert ran.recent == ((1, 0.2, 7.1), (2, 0.4, 7.2), (1, 0.6, 7.3))
    assert Between.of(before, before).recent == ()


@pytest.mark.parametrize(
    ("first", "second", "both"), [(None, None, None), (1, 1, 1), (2, 1, 2), (1, None, 1)]
)
def test_of_a_change_the_more_lanes_are_noted(
    first: int | None, second: int | None, both: int | None
) -> None:
    before, after = (seen(1, 1.0).model_copy(update={"lanes": n}) for n in (first, second))
    assert Between.of(before, after).lanes == both


def test_columns_of_the_last_runs_are_of_one_length() -> None:
    with pytest.raises(ValidationError, match="its end, its rows and its time"):
        Recent(ended_s=(1.0,), rows=(1,), infer_s=())


def test_where_nothing_ran_there_is_no_stretch() -> None:
    ran = Between.of(seen(1, 1.0), seen(1, 1.0))
    assert ran.stretch(lambda _: 1.0) is None
    assert ran.mean_batch == 0


def test_counts_that_fell_are_of_another_receiver() -> None:
    with pytest.raises(ValueError, match="restarted"):
        Between.of(seen(100, 2.0), seen(5, 0.1))


def test_what_ran_in_several_parts_is_what_ran() -> None:
    one = Between(0.5, 10, ((1, 8, 0.04), (2, 1, 0.006)), (Ran(1, 0.005, 1.0), Ran(2, 0.006, 2.0)))
    other = Between(0.25, 6, ((2, 3, 0.02),), (Ran(2, 0.007, 9.0),))
    whole = Between.together([one, other])
    assert (whole.cpu_s, whole.answered) == (0.75, 16)
    assert whole.runs == ((1, 8, 0.04), (2, 4, 0.006 + 0.02))
    assert whole.recent == (*one.recent, *other.recent)
    assert Between.together([one]) == one


def test_several_loads_of_a_kind_are_one_that_lasted_as_long_as_all_of_them() -> None:
    def load(rate_rps: float, answered: int, mean_s: float) -> Driven:
        ran = Between(0.1, answered, ((1, answered, answered * mean_s / 2),))
        alone = ((mean_s, mean_s / 2),) * answered
        return Driven(rate_rps, mean_s, mean_s / 10, ran, 1.2, 0.0002, alone)

    fast, slow = load(100.0, 30, 0.010), load(50.0, 10, 0.030)
    both = Driven.together([fast, slow])
    assert both.rate_rps == pytest.approx(40 / (0.3 + 0.2))
    assert both.mean_s == pytest.approx((30 * 0.010 + 10 * 0.030) / 40)
    assert both.sender_cpu_s == pytest.approx(both.mean_s / 10)
    assert both.ran.answered == 40
    assert both.tail_ratio == pytest.approx(1.2)
    assert both.ways(0.0) == pytest.approx((0.005,) * 30 + (0.015,) * 10)
