"""Models at one device: who goes next, what each gets, and who waits for whom."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.scheduler.fairness import Device, Turn

QUANTUM_S = 0.020  # of the middle weight, the smaller one of two
NEVER = math.inf


def join(
    device: Device, weight: float = 1.0, cores: float = 1.0, slo_s: float | None = None
) -> Turn:
    turn = Turn(device, weight=weight, cores=cores, slo_s=slo_s)
    device.join(turn)
    return turn


def start(
    turn: Turn,
    batch_id: int,
    now: float,
    run_s: float,
    latest_s: float = NEVER,
    *,
    ahead: bool = False,
) -> bool:
    """Hand a batch over if the model may."""
    if not turn.may_start(now, run_s, latest_s, ahead=ahead):
        return False
    turn.started(batch_id, now, run_s, waits=ahead)
    return True


def use(turn: Turn, now: float, run_s: float) -> None:
    """Let it run a batch for which there is room."""
    assert start(turn, -1, now, run_s)
    turn.ended(-1, now + run_s, run_s)


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


def test_no_round_begins_for_who_asks_while_another_runs_that_has_credit_left() -> None:
    """A model whose only lane is busy asks again when that is free."""
    device = Device(1)
    large, small = join(device, weight=3), join(device)
    ran = {large: 0, small: 0}
    turn, now = large, 0.0
    for number in range(200):
        other = small if turn is large else large
        assert start(turn, number, now, 0.020)
        ran[turn] += 1
        turn.pass_by()
        assert not start(other, number, now + 0.001, 0.020)
        now += 0.020
        turn.ended(number, now, 0.020)
        if not turn.may_start(now, 0.020, NEVER, ahead=False):
            turn = other
    assert ran[large] == pytest.approx(150, abs=2)


def test_who_would_miss_its_deadline_goes_first_while_its_round_lasts() -> None:
    device = Device(1)
    urgent, patient = join(device), join(device)
    assert start(urgent, 1, 0.0, 0.012)
    assert not start(patient, 1, 0.0, 0.010, latest_s=1.0)
    assert not start(urgent, 2, 0.0, 0.012, latest_s=0.013)
    urgent.ended(1, 0.012, 0.012)
    assert device.due(0.012) is urgent  # the other's run would end at 22 ms or later
    assert start(urgent, 2, 0.012, 0.012, latest_s=0.013)
    assert not start(urgent, 3, 0.012, 0.012, latest_s=0.025)
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
    assert start(one, 2, 0.009, 0.020, ahead=True)
    assert not start(other, 1, 0.009, 0.010)
    one.ended(1, 0.010, 0.010)
    assert device.due(0.010) is None  # the next of its own runs
    assert device.runs.end_s(0.010) == pytest.approx(0.030)
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
    assert hung.credit_s == pytest.approx(QUANTUM_S - 2 * 0.010)


def test_who_leaves_takes_its_runs_along() -> None:
    device = Device(1)
    gone, one, other = join(device), join(device), join(device)
    assert start(gone, 1, 0.0, 9.0)
    assert not start(one, 1, 0.0, 0.010)
    device.leave(gone)
    gone.ended(1, 0.1, None)  # told, but nobody's any more
    assert device.due(0.1) is one
    assert other.shared


# -- who waits for whom ----------------------------------------------------------------------------


def test_long_runs_leave_a_core_to_who_could_not_wait_for_one_to_end() -> None:
    device = Device(2)
    long, brief = join(device), join(device, slo_s=0.050)
    use(brief, 0.0, 0.010)
    assert start(long, 1, 0.010, 0.060)
    assert not start(long, 2, 0.010, 0.060)
    assert device.due(0.010) is None
    assert start(brief, 1, 0.020, 0.005)
    brief.ended(1, 0.025, 0.005)
    assert start(long, 2, 0.025, 0.040), "a run that it can wait for"


def test_a_core_is_kept_for_nobody_who_is_not_there_or_takes_more_than_its_part() -> None:
    device = Device(2)
    long, gone, greedy = join(device), join(device, slo_s=0.050), join(device, slo_s=0.050)
    use(gone, 0.0, 0.010)
    for number in range(300):
        use(greedy, 7.0 + number * 0.010, 0.010)
    assert start(long, 1, 10.0, 0.060)
    assert start(long, 2, 10.0, 0.060)


def test_on_a_single_core_none_can_be_kept() -> None:
    device = Device(1)
    long, brief = join(device), join(device, slo_s=0.050)
    use(brief, 0.0, 0.010)
    assert start(long, 1, 0.010, 0.060)


# -- what a scheduler may count on -----------------------------------------------------------------


@pytest.mark.parametrize("unit", [0.01, 1.0, 100.0])
def test_only_the_ratios_of_weights_matter(unit: float) -> None:
    device = Device(1)
    large, small = join(device, 3 * unit), join(device, unit)
    assert large.quantum_s == large.credit_s == pytest.approx(3 * QUANTUM_S)
    assert small.quantum_s == small.credit_s == pytest.approx(QUANTUM_S)


def test_no_round_is_long_however_large_a_weight() -> None:
    device = Device(1)
    large, small = join(device, 1000), join(device)
    assert large.quantum_s == pytest.approx(0.2)
    assert small.quantum_s == pytest.approx(0.0002)


def test_who_comes_or_goes_forgives_no_debt() -> None:
    device = Device(1)
    first, _ = join(device), join(device)
    use(first, 0.0, 0.050)
    others = join(device, 0.5), join(device, 0.5)
    assert first.quantum_s == pytest.approx(2 * QUANTUM_S)
    assert first.credit_s == pytest.approx(QUANTUM_S - 0.050)
    for one in others:
        device.leave(one)
    assert first.quantum_s == pytest.approx(QUANTUM_S)
    assert first.credit_s == pytest.approx(QUANTUM_S - 0.050)


def test_one_of_a_small_weight_makes_no_other_round_longer() -> None:
    device = Device(1)
    first, second, small = join(device), join(device), join(device, 0.05)
    assert first.quantum_s == second.quantum_s == pytest.approx(QUANTUM_S)
    assert small.quantum_s == pytest.approx(QUANTUM_S / 20)


def test_a_model_can_have_what_its_weight_says_or_what_others_leave() -> None:
    device = Device(2)
    heavy, light = join(device, weight=1), join(device, weight=3)
    assert heavy.share == 1.0
    for number in range(200):  # the light one is at 30 % of one core: 15 % of the device
        use(light, number * 0.010, 0.003)
    assert heavy.share == pytest.approx(0.85, abs=0.01)
    assert light.share == 1.0
    for number in range(400):
        use(light, 3.0 + number * 0.005, 0.010)
    assert heavy.share == 0.25
    assert heavy.lanes == 0.5


def test_runs_are_short_enough_for_the_objectives_of_those_who_are_there() -> None:
    device = Device(1)
    heavy, light = join(device), join(device, slo_s=0.040)
    assert heavy.longest_s == math.inf
    assert light.longest_s == math.inf
    use(light, 0.0, 0.005)
    assert heavy.longest_s == 0.020
    device.move(100.0)
    assert heavy.longest_s == math.inf


def test_who_is_at_its_share_starts_at_its_pace() -> None:
    device = Device(1)
    one, other = join(device), join(device)
    for number in range(200):
        use(other, number * 0.010, 0.010)
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
    """Wants the device always (``every_s`` None), or now and then."""

    weight: float
    costs_s: Sequence[float]
    every_s: float | None = None
    error: float = 1.0
    cores: int = 1
    used_s: float = 0.0
    waiting: int = 0
    started: int = 0

    @property
    def next_s(self) -> float:
        """What its next batch is expected to take."""
        return self.costs_s[self.started % len(self.costs_s)]

    @property
    def largest_s(self) -> float:
        """What a batch may cost at most."""
        return max(self.costs_s) * self.cores * max(self.error, 1.0)


class World:
    """Models at a device, and the time; every step is checked."""

    def __init__(self, models: list[Model], cores: int) -> None:
        self.models = models
        self.cores = cores
        self.device = Device(cores)
        self.turns = [join(self.device, model.weight, model.cores) for model in models]
        self.events: list[tuple[float, int, int]] = []  # when, who, which batch (0: an arrival)
        self.running: dict[tuple[int, int], float] = {}
        self.idle_s = 0.0
        for number, model in enumerate(models):
            model.used_s, model.started = 0.0, 0
            model.waiting = 10**9 if model.every_s is None else 0
            self.events.append((0.0, number, 0))

    def play(self, until_s: float) -> World:
        now = 0.0
        while self.events and self.events[0][0] < until_s:
            at_s, number, batch = heapq.heappop(self.events)
            self.idle_s += (at_s - now) * self.could_run()
            now = at_s
            self.happen(number, batch, now)
            self.begin(number, now)
            while (turn := self.device.due(now)) is not None:
                self.begin(self.turns.index(turn), now)
            most_s = 2 * max(model.largest_s for model in self.models)
            for turn in self.turns:
                assert -most_s <= turn.credit_s <= turn.quantum_s + 1e-12
        return self

    def could_run(self) -> bool:
        taken = sum(self.models[who].cores for who, _ in self.running)
        return any(one.waiting and taken + one.cores <= self.cores for one in self.models)

    def happen(self, number: int, batch: int, now: float) -> None:
        model = self.models[number]
        if batch:
            seconds = self.running.pop((number, batch))
            self.turns[number].ended(batch, now, seconds)
            model.used_s += seconds * model.cores
        elif model.every_s is not None:
            model.waiting += 1
            heapq.heappush(self.events, (now + model.every_s, number, 0))

    def begin(self, number: int, now: float) -> None:
        """Start what may be started, as a scheduler does."""
        model, turn = self.models[number], self.turns[number]
        while model.waiting:
            run_s = model.next_s
            if not start(turn, model.started + 1, now, run_s):
                return
            model.started += 1
            model.waiting -= 1
            self.running[number, model.started] = run_s * model.error
            heapq.heappush(self.events, (now + run_s * model.error, number, model.started))
        turn.pass_by()


costs = st.lists(st.sampled_from([0.003, 0.006, 0.010, 0.030]), min_size=1, max_size=5)
saturating = st.builds(
    Model,
    weight=st.sampled_from([0.5, 1.0, 1.0, 2.0, 3.0]),
    costs_s=costs,
    error=st.sampled_from([1.0, 1.0, 0.8, 1.3]),
)
LAWS = settings(derandomize=True, max_examples=20, deadline=None)


@pytest.mark.slow
@LAWS
@given(st.lists(saturating, min_size=2, max_size=4), st.integers(1, 4))
def test_models_that_want_all_get_what_their_weights_say(models: list[Model], cores: int) -> None:
    World(models, cores).play(3.0)
    used_s = sum(model.used_s for model in models)
    assert used_s == pytest.approx(3.0 * cores, rel=0.05)
    for model in models:
        fair = model.weight / sum(one.weight for one in models)
        assert model.used_s / used_s == pytest.approx(fair, abs=0.04)


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
    assert World(models, cores).play(2.0).idle_s == pytest.approx(0.0, abs=1e-9)


@pytest.mark.slow
@LAWS
@given(st.lists(saturating, min_size=1, max_size=3), st.integers(1, 3))
def test_who_wants_less_than_its_part_gets_all_of_it_whatever_others_want(
    crowd: list[Model], cores: int
) -> None:
    total = 1.0 + sum(model.weight for model in crowd)
    cost_s = 0.004
    modest = Model(1.0, [cost_s], every_s=cost_s / (0.7 * cores / total))
    World([modest, *crowd], cores).play(3.0)
    assert modest.waiting * cost_s <= 0.25
    assert modest.used_s == pytest.approx(3.0 * 0.7 * cores / total, rel=0.05)


@pytest.mark.slow
@LAWS
@given(st.lists(saturating, min_size=1, max_size=3), st.integers(2, 4))
def test_nobody_starves_not_even_who_needs_all_cores_at_once(
    crowd: list[Model], cores: int
) -> None:
    wide = Model(1.0, [0.010], cores=cores)
    World([wide, *crowd], cores).play(3.0)
    fair = 1.0 / (1.0 + sum(one.weight for one in crowd))
    assert wide.used_s / (3.0 * cores) >= 0.5 * fair
