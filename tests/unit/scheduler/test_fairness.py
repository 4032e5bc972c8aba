"""Models at one device: who goes next, what each gets, and who waits for whom."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.scheduler.fairness import Device, Turn

QUANTUM_S = 0.020  # of weight 1
NEVER = math.inf


def join(
    device: Device, weight: float = 1.0, cores: float = 1.0, slo_s: float | None = None
) -> Turn:
    turn = Turn(device, weight=weight, cores=cores, slo_s=slo_s)
    device.join(turn)
    return turn


def start(turn: Turn, batch_id: int, now: float, expected_s: float, latest_s: float = NEVER) -> bool:
    """Hand a batch over if the model may."""
    if not turn.may_start(latest_s, now, ahead=False):
        return False
    turn.started(batch_id, now, expected_s, waits=False)
    return True


# -- who goes next ---------------------------------------------------------------------------------


def test_a_model_that_is_alone_shares_with_nobody() -> None:
    device = Device(2)
    first = join(device)
    assert not first.shared
    second = join(device)
    assert first.shared
    assert second.shared
    device.leave(first)
    assert not second.shared


def test_there_are_never_more_runs_than_cores() -> None:
    device = Device(2)
    one, other = join(device), join(device)
    assert start(one, 1, 0.0, 0.010)
    assert start(other, 1, 0.0, 0.010)
    assert not start(one, 2, 0.0, 0.010)
    assert device.due(0.001) is None
    other.ended(1, 0.010, 0.010)
    assert device.due(0.010) is one


def test_who_has_used_more_of_its_round_waits_for_who_has_used_less() -> None:
    device = Device(1)
    heavy, light = join(device), join(device)
    assert start(heavy, 1, 0.0, 0.015)
    assert not start(light, 1, 0.0, 0.001)
    assert not start(heavy, 2, 0.0, 0.015)
    heavy.ended(1, 0.015, 0.015)
    assert device.due(0.015) is light


def test_who_would_miss_its_deadline_goes_first_while_its_round_lasts() -> None:
    device = Device(1)
    urgent, patient = join(device), join(device)
    assert start(urgent, 1, 0.0, 0.012)
    assert not start(patient, 1, 0.0, 0.001, latest_s=1.0)
    assert not start(urgent, 2, 0.0, 0.012, latest_s=0.005)  # the run ends at 12 ms
    urgent.ended(1, 0.012, 0.012)
    assert device.due(0.0) is urgent
    assert start(urgent, 2, 0.012, 0.012, latest_s=0.012 - 1e-6)
    assert not start(urgent, 3, 0.012, 0.012, latest_s=0.020)
    urgent.ended(2, 0.024, 0.012)
    assert urgent.credit_s < 0
    assert device.due(0.024) is patient


def test_a_batch_that_was_dearer_than_expected_is_paid_for() -> None:
    device = Device(1)
    wrong, right = join(device), join(device)
    assert start(wrong, 1, 0.0, 0.010)
    wrong.ended(1, 0.015, 0.015)
    assert wrong.credit_s == pytest.approx(QUANTUM_S - 0.015)
    assert start(right, 1, 0.015, 0.010)
    right.ended(1, 0.5, 0.485)  # a hiccup
    assert right.credit_s == pytest.approx(QUANTUM_S - 0.020)


def test_a_batch_for_its_own_busy_lane_needs_no_core_but_its_turn() -> None:
    device = Device(1)
    one, other = join(device), join(device)
    assert start(one, 1, 0.0, 0.010)
    assert one.may_start(NEVER, 0.009, ahead=True)
    one.started(2, 0.009, 0.020, waits=True)
    assert not start(other, 1, 0.009, 0.010)
    one.ended(1, 0.010, 0.010)
    assert device.due(0.010) is None  # the next of its own runs
    assert device.next_end(0.010) == pytest.approx(0.030)
    one.ended(2, 0.030, 0.020)
    assert device.due(0.030) is other


def test_a_batch_of_many_threads_is_not_starved_by_small_ones() -> None:
    device = Device(4)
    wide, small = join(device, cores=4), join(device)
    for number in range(4):
        assert start(small, number, 0.0, 0.010)
    assert not start(wide, 1, 0.0, 0.010)
    for number in range(3):
        small.ended(number, 0.010, 0.010)
        assert not start(small, 10 + number, 0.010, 0.010), "the wide one waits for the last core"
    small.ended(3, 0.011, 0.011)
    assert device.due(0.011) is wide
    assert start(wide, 1, 0.011, 0.010)


def test_a_run_that_hangs_keeps_nobody_waiting_for_long() -> None:
    device = Device(1)
    hung, other = join(device), join(device)
    assert start(hung, 1, 0.0, 0.010)
    assert not start(other, 1, 0.010, 0.001)
    overdue_s = other.wake_s(0.010)
    assert overdue_s == pytest.approx(0.140)
    assert not start(other, 1, overdue_s - 1e-6, 0.001)
    assert start(other, 1, overdue_s, 0.001)
    assert other.wake_s(overdue_s) == math.inf
    hung.ended(1, 9.0, 9.0)
    assert start(hung, 2, 9.0, 0.010) or device.due(9.0) is not None


def test_who_leaves_takes_its_runs_along() -> None:
    device = Device(1)
    gone, one, other = join(device), join(device), join(device)
    assert start(gone, 1, 0.0, 9.0)
    assert not start(one, 1, 0.0, 0.010)
    device.leave(gone)
    gone.ended(1, 0.1, None)  # told, but nobody's any more
    assert device.due(0.1) is one
    assert other.shared


# -- what a scheduler may count on -----------------------------------------------------------------


def test_a_model_can_have_what_its_weight_says_or_what_others_leave() -> None:
    device = Device(2)
    heavy, light = join(device, weight=1), join(device, weight=3)
    assert heavy.share == 1.0
    for number in range(200):  # the light one is at 30 % of one core: 15 % of the device
        start(light, number, number * 0.010, 0.003)
        light.ended(number, number * 0.010 + 0.003, 0.003)
    assert heavy.share == pytest.approx(0.85, abs=0.01)
    assert light.share == 1.0
    for number in range(400):
        start(light, number, 3.0 + number * 0.005, 0.010)
        light.ended(number, 3.0 + number * 0.005, 0.010)
    assert heavy.share == 0.25
    assert heavy.lanes == 0.5


def test_runs_are_short_enough_for_the_objectives_of_those_who_are_there() -> None:
    device = Device(1)
    heavy, light = join(device), join(device, slo_s=0.040)
    assert heavy.longest_s == math.inf
    assert light.longest_s == math.inf
    start(light, 1, 0.0, 0.005)
    light.ended(1, 0.005, 0.005)
    assert heavy.longest_s == 0.020
    device.now = 100.0
    assert heavy.longest_s == math.inf


def test_who_is_at_its_share_starts_at_its_pace() -> None:
    device = Device(1)
    one, other = join(device), join(device)
    for number in range(200):
        start(other, number, number * 0.010, 0.010)
        other.ended(number, (number + 1) * 0.010, 0.010)
    now = 2.0
    assert one.next_start(now) == now
    start(one, 1, now, 0.010)
    assert not start(other, 1, now, 0.010)
    one.ended(1, now + 0.010, 0.010)
    assert start(other, 1, now + 0.010, 0.010)
    # It has half of the device: 10 ms in 20.
    assert one.next_start(now + 0.011) == pytest.approx(now + 0.020)
    assert one.next_start(now + 0.030) == pytest.approx(now + 0.030)


# -- laws ------------------------------------------------------------------------------------------


@dataclass
class Model:
    """Wants the device always, or only now and then."""

    weight: float
    costs_s: Sequence[float]
    every_s: float | None = None  # None: saturates
    error: float = 1.0
    cores: int = 1
    turn: Turn = field(init=False)
    used_s: float = 0.0
    waiting: int = 0
    started: int = 0


def play(models: list[Model], cores: int, until_s: float) -> float:
    """Let them run for so long; returns for how long a core was idle while somebody waited."""
    device = Device(cores)
    for model in models:
        model.turn = join(device, model.weight, model.cores)
    events: list[tuple[float, int, int, str]] = []
    for number, model in enumerate(models):
        if model.every_s is None:
            model.waiting = 10**9
        heapq.heappush(events, (0.0, number, -1, "arrive"))
    running: dict[tuple[int, int], float] = {}
    now, idle_s = 0.0, 0.0
    while events and events[0][0] < until_s:
        at_s, number, batch, kind = heapq.heappop(events)
        taken = sum(models[who].cores for who, _ in running)
        if any(model.waiting and taken + model.cores <= cores for model in models):
            idle_s += at_s - now
        now, model = at_s, models[number]
        if kind == "end":
            seconds = running.pop((number, batch))
            model.turn.ended(batch, now, seconds)
            model.used_s += seconds * model.cores
        elif model.every_s is not None:
            model.waiting += 1
            heapq.heappush(events, (now + model.every_s, number, -1, "arrive"))
        for who, one in enumerate(models):
            if one.waiting and one.turn not in device.wanting:
                begin(one, who, now, events, running)
        while (turn := device.due(now)) is not None:
            who = next(n for n, one in enumerate(models) if one.turn is turn)
            begin(models[who], who, now, events, running)
        largest_s = max(max(one.costs_s) * one.cores * max(one.error, 1) for one in models)
        for one in models:
            assert -2 * largest_s <= one.turn.credit_s <= one.turn.quantum_s + 1e-12
    return idle_s


def begin(
    model: Model,
    number: int,
    now: float,
    events: list[tuple[float, int, int, str]],
    running: dict[tuple[int, int], float],
) -> None:
    """Start what may be started, as a scheduler does."""
    while model.waiting and model.turn.may_start(NEVER, now, ahead=False):
        cost_s = model.costs_s[model.started % len(model.costs_s)]
        model.started += 1
        model.waiting -= 1
        model.turn.started(model.started, now, cost_s, waits=False)
        running[number, model.started] = cost_s * model.error
        heapq.heappush(events, (now + cost_s * model.error, number, model.started, "end"))
    if not model.waiting:
        model.turn.pass_by()


costs = st.lists(st.sampled_from([0.001, 0.004, 0.010, 0.030]), min_size=1, max_size=5)
saturating = st.builds(
    Model,
    weight=st.sampled_from([0.5, 1.0, 1.0, 2.0, 3.0]),
    costs_s=costs,
    error=st.sampled_from([1.0, 1.0, 0.8, 1.3]),
)
LAWS = settings(derandomize=True, max_examples=60, deadline=None)


@pytest.mark.slow
@LAWS
@given(st.lists(saturating, min_size=2, max_size=4), st.integers(1, 4))
def test_models_that_want_all_get_what_their_weights_say(models: list[Model], cores: int) -> None:
    for model in models:
        model.used_s = model.waiting = model.started = 0
    play(models, cores, 10.0)
    used_s = sum(model.used_s for model in models)
    assert used_s == pytest.approx(10.0 * cores, rel=0.05)
    for model in models:
        fair = model.weight / sum(one.weight for one in models)
        assert model.used_s / used_s == pytest.approx(fair, abs=0.03)


@pytest.mark.slow
@LAWS
@given(
    st.lists(
        st.builds(
            Model,
            weight=st.sampled_from([0.5, 1.0, 3.0]),
            costs_s=costs,
            every_s=st.sampled_from([None, 0.002, 0.010, 0.040, 0.2]),
        ),
        min_size=1,
        max_size=4,
    ),
    st.integers(1, 3),
)
def test_no_core_is_idle_while_somebody_waits(models: list[Model], cores: int) -> None:
    for model in models:
        model.used_s = model.waiting = model.started = 0
    assert play(models, cores, 3.0) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.slow
@LAWS
@given(st.lists(saturating, min_size=1, max_size=3), st.integers(1, 3))
def test_who_wants_less_than_its_part_gets_all_of_it_whatever_others_want(
    crowd: list[Model], cores: int
) -> None:
    for model in crowd:
        model.used_s = model.waiting = model.started = 0
    total = 1.0 + sum(model.weight for model in crowd)
    cost_s = 0.004
    modest = Model(1.0, [cost_s], every_s=cost_s / (0.7 * cores / total))
    play([modest, *crowd], cores, 10.0)
    assert modest.waiting * cost_s <= 0.25
    assert modest.used_s == pytest.approx(10.0 * 0.7 * cores / total, rel=0.05)


@pytest.mark.slow
@LAWS
@given(st.lists(saturating, min_size=1, max_size=3), st.integers(2, 4))
def test_nobody_starves_not_even_who_needs_all_cores_at_once(
    crowd: list[Model], cores: int
) -> None:
    for model in crowd:
        model.used_s = model.waiting = model.started = 0
    wide = Model(1.0, [0.010], cores=cores)
    play([wide, *crowd], cores, 10.0)
    fair = 1.0 / (1.0 + sum(one.weight for one in crowd))
    assert wide.used_s / (10.0 * cores) >= 0.5 * fair
