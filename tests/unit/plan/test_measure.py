"""What is measured of servers that are made up, one of which becomes slower all the time."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from headrace.errors import StartError
from headrace.load.arrivals import Times
from headrace.load.plan import ClosedLoop, OpenLoop
from headrace.load.result import OK, Outcome, Result
from headrace.plan.machine import Machine
from headrace.plan.make import machine_of
from headrace.plan.measure import _FOLLOW_ROUNDS, _ROUNDS, Measuring
from headrace.plan.profile import with_calibration
from headrace.plan.question import Question
from headrace.plan.seen import Between, Ran, Seen
from tests.unit.plan.profiles import machine, profile, question

WAY_S = 0.0006
REFUSED = Outcome("RESOURCE_EXHAUSTED")


# A model of single rows, whose runs take 20 ms.
ALONE: dict[str, Any] = {
    "batch_sizes": (1,),
    "measurements": [{"elements": 4, "rows": 1, "median_s": 0.02, "p95_s": 0.02}],
    "slo_ms": None,
}


class MadeUp:
    """A server whose two lanes take one request each; ``slower`` is from load to load."""

    url = "http://elsewhere:8000"

    def __init__(
        self, here: Machine, *, slower: float = 1.0, shared: bool = False, off: Sequence[int] = ()
    ) -> None:
        self.driven: list[OpenLoop | ClosedLoop] = []
        self.answers = True
        self.late_s = 0.0
        self._shared = shared
        self._run_s = here.known.latency().expect(here.elements, 1)
        self._slower = slower
        self._off = off  # rounds in which only one lane takes requests
        self.tells_lanes = True
        self._round = 0

    def say(self, text: str) -> None:
        words = text.split()
        self._round = int(words[1]) if words[0] == "round" else 0

    def drive(self, load: OpenLoop | ClosedLoop) -> tuple[Result, Between, Seen]:
        """Play a load: who comes waits for the first lane that is free."""
        run_s = self._run_s * self._slower ** len(self.driven)
        on = 1 if self._round in self._off else 2
        self.driven.append(load)
        if isinstance(load, OpenLoop):
            sent_s = load.arrivals.times_s
            done_s = _served(sent_s, run_s, on) + WAY_S
        else:
            lanes = min(load.concurrency, on)
            each_s = run_s + (WAY_S if lanes == 1 else 0.0)
            starts_s = np.repeat(np.arange(0.0, load.duration_s, each_s), lanes)
            sent_s, done_s = np.maximum(starts_s - run_s, 0.0), starts_s + run_s + WAY_S
        count = len(sent_s)
        result = Result(
            intended_s=sent_s,
            sent_s=sent_s + self.late_s,
            done_s=done_s,
            outcome=np.zeros(count, np.uint16),
            outcomes=(OK if self.answers else REFUSED,),
            answers={},
            started_s=0.0,
            duration_s=load.duration_s,
            cpu_s=0.0,
        )
        ended_s = np.sort(done_s) - WAY_S + 1000 * len(self.driven)  # one load after the other
        recent = tuple(Ran(1, run_s, at_s) for at_s in ended_s.tolist())
        if self._shared:  # two of them were in one run
            recent = (recent[1]._replace(rows=2), *recent[2:])
        answered = count if self.answers else 0
        told = on if self.tells_lanes else None
        ran = Between(count * 1e-4, answered, ((1, count, count * run_s),), recent, told)
        return result, ran, Seen(cpu_s=0, answered=0, tail_ratio=1.01, handover_s=0.0002, runs=())


def _served(sent_s: Times, run_s: float, lanes: int) -> Times:
    free_s: list[float] = [0.0] * lanes
    done_s = []
    for at_s in sent_s:
        end_s = max(heapq.heappop(free_s), float(at_s)) + run_s
        heapq.heappush(free_s, end_s)
        done_s.append(end_s)
    return np.array(done_s)


def measuring(rig: Any, asked: Question) -> Measuring:
    return Measuring(rig, machine(asked), asked)


@pytest.mark.parametrize("slower", [1.0, 1.005])
def test_a_machine_that_becomes_slower_is_planned_as_it_was_while_it_was_driven(
    slower: float,
) -> None:
    """Were it planned as it was before, it would be off by a quarter."""
    asked = question(loads=(0.2, 0.3))
    rig = MadeUp(machine(asked), slower=slower)
    measured = measuring(rig, asked)
    measured.look()
    before = len(rig.driven)
    measured.go_round(lambda: 250.0)  # few enough that one comes at a time
    assert len(rig.driven) == before + _ROUNDS * (3 + 2) + 3
    found = measured.calibration()
    here = machine_of(with_calibration(profile(), found), asked)
    compared = list(measured.compared(here, 250.0))
    assert [each.share for each in compared] == pytest.approx([0.2, 0.3], rel=0.1)
    for each in compared:
        assert each.p50_error == pytest.approx(0, abs=0.08)
        assert each.measured.stretch == pytest.approx(each.stretch, rel=0.05)
    assert found.stretch == pytest.approx(slower ** ((before + len(rig.driven)) / 2), rel=0.02)


@pytest.mark.parametrize(("told", "lanes_on"), [(True, 0.75), (False, 1.0)])
def test_lanes_that_the_server_turned_off_meanwhile_are_told(told: bool, lanes_on: float) -> None:
    """One of two in half of the rounds; older servers do not say so."""
    asked = question(slo_s=None, loads=(0.6,))
    here = machine(asked, **ALONE)
    rig = MadeUp(here, off=range(1, _ROUNDS, 2))
    rig.tells_lanes = told
    measured = Measuring(rig, here, asked)  # type: ignore[arg-type]
    measured.look()
    measured.go_round(lambda: 70.0)
    (one,) = measured.compared(here, 70.0)
    assert one.measured.lanes_on == pytest.approx(lanes_on)
    assert one.p99_error is not None
    assert one.p99_error < -0.3, "with both lanes nobody would have waited so long"
    assert any("of their time" in cause for cause in one.causes()) is told


@pytest.mark.parametrize(("late_s", "spoils"), [(0.0011, False), (0.005, True)])
def test_a_sender_spoils_what_it_is_late_by_more_than_a_twentieth_of(
    late_s: float, spoils: bool
) -> None:
    """It shares its cores with the server, and answers take 22 ms and more."""
    asked = question(slo_s=None, loads=(0.3,))
    here = machine(asked, **ALONE)
    rig = MadeUp(here)
    measured = Measuring(rig, here, asked)  # type: ignore[arg-type]
    measured.look()
    rig.late_s = late_s
    measured.go_round(lambda: 100.0)
    (one,) = measured.compared(here, 100.0)
    assert (one.trusted is None) is spoils
    assert one.measured.p99_s is not None
    assert late_s > 0.05 * one.measured.p99_s or not spoils


def test_a_load_past_what_the_machine_can_do_waits_no_longer_than_a_part_lasts() -> None:
    """Each part begins with nothing: played as one its queue would grow through all of them."""
    asked = question(slo_s=None, loads=(1.2,))
    here = machine(asked, **ALONE)
    rig = MadeUp(here)
    measured = Measuring(rig, here, asked)  # type: ignore[arg-type]
    measured.look()
    measured.go_round(lambda: 100.0)  # of two lanes, 20 ms each
    found = with_calibration(profile(**ALONE), measured.calibration())
    (one,) = measured.compared(machine_of(found, asked), 100.0)
    assert one.measured.p50_s is not None
    assert one.measured.p50_s > 0.2
    assert one.p50_error == pytest.approx(0, abs=0.1)
    assert one.p99_error == pytest.approx(0, abs=0.1)


def test_requests_that_shared_a_run_tell_nothing_of_their_way_and_the_run_stays() -> None:
    asked = question()
    rig = MadeUp(machine(asked), shared=True)
    measured = measuring(rig, asked)
    found = measured.look()
    quiet = next(one for one in rig.driven if isinstance(one, OpenLoop))
    assert len(found.ways_s) == len(quiet.arrivals) - 2
    assert len(found.quiet_trace) == len(quiet.arrivals) - 1


def test_a_server_that_answers_no_more_is_not_driven_on() -> None:
    asked = question(loads=(0.3, 0.6))
    rig = MadeUp(machine(asked))
    measured = measuring(rig, asked)
    measured.look()
    rig.answers = False
    before = len(rig.driven)
    with pytest.raises(StartError, match="no request was answered: RESOURCE_EXHAUSTED"):
        measured.go_round(lambda: 100.0)
    assert len(rig.driven) == before + 3
    with pytest.raises(StartError, match="no request was answered: RESOURCE_EXHAUSTED"):
        measuring(rig, asked).look()


def test_each_part_of_a_load_is_another_by_chance() -> None:
    asked = question(loads=(0.3, 0.3))
    rig = MadeUp(machine(asked))
    measured = measuring(rig, asked)
    measured.look()
    before = len(rig.driven)
    measured.go_round(lambda: 100.0)
    sent = [one.arrivals for one in rig.driven[before:] if isinstance(one, OpenLoop)]
    starts = [float(one.times_s[0]) for one in sent]
    assert len(set(starts)) == len(starts) - _ROUNDS  # the quiet ones are all alike


def test_loads_follow_the_limit_as_it_changes() -> None:
    asked = question(loads=(0.5,))
    rig = MadeUp(machine(asked), slower=1.005)
    measured = measuring(rig, asked)
    measured.look()
    before = len(rig.driven)
    limits_rps, stretches = [0.0, 100.0, 200.0, 300.0, 400.0], []

    def find_limit() -> float:
        stretches.append(measured.calibration().stretch)
        return limits_rps[len(stretches) - 1]

    measured.go_round(find_limit)
    # The quiet, the middle and the half of each round; as nothing is inside at first, no half.
    sent = [one.arrivals for one in rig.driven[before:] if isinstance(one, OpenLoop)]
    halves = sent[2 * _FOLLOW_ROUNDS + 2 : -2 : 3]
    rates_rps = np.array([one.rate for one in halves]).reshape(-1, _FOLLOW_ROUNDS)
    assert rates_rps.mean(axis=1) == pytest.approx(np.array([50.0, 100.0, 150.0, 200.0]), rel=0.1)
    assert stretches == sorted(set(stretches))  # it is found by what is known then
    (one,) = measured.compared(machine(asked), 500.0)
    assert one.measured.rate_rps == pytest.approx(125.0)
    assert one.share == pytest.approx(0.25)


def test_a_load_of_which_nothing_is_sent_is_not_compared() -> None:
    asked = question()
    measured = measuring(MadeUp(machine(asked)), asked)
    measured.look()
    measured.go_round(lambda: 1e-9)
    assert list(measured.compared(machine(asked), 1e-9)) == []


def test_a_load_of_which_some_parts_send_nothing_has_the_rate_it_was_to_have() -> None:
    asked = question(loads=(0.3,))
    rig = MadeUp(machine(asked))
    measured = measuring(rig, asked)
    measured.look()
    before = len(rig.driven)
    measured.go_round(lambda: 0.5)  # of whose loads a part of 7.5 s has one request, or none
    assert len(rig.driven) < before + _ROUNDS * (3 + 1) + 3
    (one,) = measured.compared(machine(asked), 0.5)
    assert one.share == pytest.approx(0.3)
    assert one.measured.rate_rps == pytest.approx(0.15)


def test_where_no_rate_is_inside_the_objective_none_is_driven() -> None:
    asked = question(slo_s=0.001)
    rig = MadeUp(machine(asked))
    measured = measuring(rig, asked)
    measured.look()
    before = len(rig.driven)
    measured.go_round(lambda: 0.0)
    assert list(measured.compared(machine(asked), 0.0)) == []
    assert len(rig.driven) == before + (_ROUNDS + 1) * 3  # it is calibrated all the same
