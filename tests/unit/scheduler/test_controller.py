"""How many lanes run: what is tried when, what is kept, and that every change says why."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.scheduler.controller import PERIOD_S, Controller
from headrace.scheduler.ledger import Account, Together
from headrace.scheduler.notices import Change, State

STATE = State(1, 8, 0.010)
SLO_S = 0.100


def account(
    worth: dict[int, float],
    *,
    busy: float = 0.5,
    in_time: int = 100,
    refused: int = 0,
    lanes: int = 2,
    runs: int = 50,
) -> Account:
    """A second in which lanes were busy for a share of it, and so many were worth so much."""
    together = {count: Together(runs, busy * value / count, busy) for count, value in worth.items()}
    busy_s = busy * lanes
    alone_s = busy_s * worth.get(lanes, float(lanes)) / lanes
    return Account(1.0, in_time, 0, refused, busy_s, alone_s, together)


class Played:
    """A controller, a clock, and all that was decided."""

    def __init__(self, lanes: int = 2, slo_s: float | None = SLO_S) -> None:
        self.controller = Controller(slo_s, lanes)
        self.now = 0.0
        self.changes: list[Change] = []

    def play(
        self, seen: Account | Callable[[int], Account], seconds: int, state: State = STATE
    ) -> None:
        for _ in range(seconds):
            self.now += 1.0
            what = seen(self.controller.lanes) if callable(seen) else seen
            self.changes += self.controller.look(self.now, what, state)

    def causes(self, what: str = "lanes") -> list[str]:
        return [change.cause for change in self.changes if change.what == what]


def test_lanes_that_help_each_other_stay_and_nothing_is_tried() -> None:
    played = Played()
    played.play(account({1: 1.0, 2: 1.8}, busy=0.95), 60)
    assert played.changes == []
    assert played.controller.worth == pytest.approx({1: 1.0, 2: 1.8})


def test_lanes_that_only_slow_each_other_down_become_fewer_without_a_trial() -> None:
    played = Played()
    played.play(account({1: 1.0, 2: 1.0}), 1)
    assert played.controller.lanes == 2, "once is not enough"
    played.play(account({1: 1.0, 2: 1.0}), 1)
    assert played.controller.lanes == 1
    (change,) = played.changes
    assert change == Change("lanes", "2", "1", "slow_together", change.reason)
    assert "2 lanes do the work of 1.00 that are alone" in change.reason


def test_what_looked_slow_once_and_has_not_run_since_counts_once() -> None:
    played = Played()
    played.play(account({1: 1.0, 2: 0.9}), 1)
    played.play(account({1: 1.0}), 20)
    assert played.controller.lanes == 2


def test_runs_are_taken_to_change_by_what_was_seen_and_more_lanes_never_to_help() -> None:
    played = Played()
    played.play(account({1: 1.0, 2: 0.8}), 2)
    assert played.controller.lanes == 1
    assert played.controller.slower == pytest.approx(0.4)
    while played.controller.lanes == 1 and played.now < 60:
        played.play(account({1: 1.0}, refused=40, lanes=1), 1)
    assert played.controller.lanes == 2
    assert played.controller.slower == pytest.approx(2.5)


def test_where_all_lanes_are_always_busy_fewer_are_tried_and_kept_when_as_good() -> None:
    played = Played()
    played.play(lambda lanes: account({lanes: 0.9}, refused=50, in_time=300), 10)
    assert played.controller.lanes == 1
    assert played.causes() == ["trial", "kept"]
    assert "1 lane answered 300 rows/s in time, 2 lanes 300" in played.changes[-1].reason


def test_what_was_worse_is_taken_back_and_not_tried_again_soon() -> None:
    played = Played()
    played.play(lambda k: account({k: 0.95}, refused=50, in_time=300 if k == 2 else 200), 100)
    assert played.controller.lanes == 2
    causes = played.causes()
    assert causes == ["trial", "not_kept"] * (len(causes) // 2)
    assert len(causes) // 2 <= 5, "it backs off"


def test_nothing_is_tried_that_could_break_the_objective() -> None:
    """Busy, nobody refused: with half of the work done at the worst some would be late."""
    played = Played()
    long = State(1, 8, 0.060)  # with the wait for a lane, nine tenths of the objective
    played.play(account({2: 0.9}, busy=0.8), 30, long)
    assert played.changes == []
    assert played.controller.glance is None


def test_where_all_are_needed_a_glance_shows_what_one_fewer_does() -> None:
    played = Played()
    played.play(account({2: 0.9}, busy=0.8), 1)
    glance = played.controller.glance
    assert glance is not None
    assert glance.lanes == 1
    assert glance.seconds == pytest.approx(6.5 * 0.8 / 50)
    assert played.controller.lanes == 2, "for a moment only"
    (change,) = played.changes
    assert (change.before, change.after, change.cause) == ("2", "1", "glance")
    played.play(account({1: 1.0, 2: 0.9}, busy=0.8), 1)
    assert played.controller.glance is None
    played.play(account({2: 0.9}, busy=0.8), 1)
    assert played.causes() == ["glance", "slow_together"]
    assert played.controller.lanes == 1


def test_a_glance_that_shows_nothing_better_is_repeated_ever_more_rarely() -> None:
    played = Played()
    glances = []
    for _ in range(300):
        glanced = played.controller.glance is not None
        played.play(account({2: 0.9, **({1: 0.5} if glanced else {})}, busy=0.8), 1)
        glances += [played.now] if played.controller.glance else []
    assert played.controller.lanes == 2
    assert glances == [1.0, 33.0, 65.0, 125.0, 245.0]  # what it has shown holds for 30 s


@pytest.mark.parametrize("runs", [5, 10])
def test_runs_too_long_for_a_glance_have_none(runs: int) -> None:
    played = Played(slo_s=None)
    played.play(account({2: 0.9}, busy=0.8, runs=runs), 1)
    assert (played.controller.glance is None) == (runs == 5)


def test_fewer_are_tried_while_there_is_room_even_at_the_worst() -> None:
    played = Played()
    played.play(lambda lanes: account({lanes: 0.9}, busy=0.3, lanes=lanes), 6)
    assert played.causes() == ["trial", "kept"]


def test_a_lane_more_is_tried_when_the_queue_asks_and_kept_when_it_helps() -> None:
    played = Played()
    played.play(account({1: 1.0, 2: 0.9}), 2)
    assert played.controller.lanes == 1
    played.play(
        lambda k: account({k: 1.0 if k == 1 else 1.8}, busy=0.95, refused=40, in_time=100 * k), 45
    )
    assert played.controller.lanes == 2
    assert played.causes() == ["slow_together", "trial", "kept"]
    assert "40 rows were refused: one more is tried" in played.changes[-2].reason


@pytest.mark.parametrize("slo_s", [SLO_S, None])
@pytest.mark.parametrize(("busy", "more"), [(0.5, []), (0.95, ["trial"])])
def test_where_nobody_is_refused_more_are_tried_only_when_all_are_busy(
    slo_s: float | None, busy: float, more: list[str]
) -> None:
    played = Played(slo_s=slo_s)
    played.play(account({1: 1.0, 2: 0.9}), 2)
    played.play(account({1: 1.0}, busy=busy, lanes=1), 34)
    assert played.causes() == ["slow_together", *more]


def test_no_lane_more_is_tried_where_slower_runs_would_miss_the_objective() -> None:
    played = Played(slo_s=0.025)
    played.play(account({1: 1.0, 2: 0.9}), 2)
    busy = account({1: 1.0}, busy=0.95, refused=40, lanes=1)
    played.play(busy, 60, State(1, 8, 0.010))
    assert played.causes() == ["slow_together"]
    played.play(busy, 2, State(1, 8, 0.005))
    assert played.causes() == ["slow_together", "trial"]


def test_a_neighbour_who_comes_is_answered_though_something_was_tried_before() -> None:
    played = Played()
    played.play(lambda k: account({k: 0.98}, refused=50, in_time=300 if k == 2 else 200), 70)
    assert played.controller.lanes == 2
    tried = len(played.causes())
    played.play(lambda k: account({k: 0.6}, refused=50, in_time=150), 10)
    assert played.controller.lanes == 1
    assert len(played.causes()) == tried + 2


def test_a_second_with_more_answers_than_others_is_not_what_a_trial_must_do() -> None:
    played = Played()
    for in_time in (300, 320, *[300] * 8):
        lanes = played.controller.lanes
        played.play(account({lanes: 0.9}, refused=50, in_time=in_time), 1)
    assert played.causes() == ["trial", "kept"]


def test_what_is_odd_once_is_no_reason_to_try_again_what_was_worse() -> None:
    played = Played()
    usual = {1: 200, 2: 300}
    played.play(lambda k: account({k: 0.9}, refused=50, in_time=usual[k]), 10)
    assert played.causes() == ["trial", "not_kept"]
    played.play(account({2: 0.5}, refused=50, in_time=300), 1)
    played.play(lambda k: account({k: 0.9}, refused=50, in_time=usual[k]), 5)
    assert played.causes() == ["trial", "not_kept"]


def test_beside_other_models_all_lanes_run_again_and_no_trial_goes_on() -> None:
    played = Played()
    played.play(account({2: 0.9}, refused=50), 4)
    assert played.causes() == ["trial"]
    (change,) = played.controller.beside_others(played.now)
    assert (change.before, change.after, change.cause) == ("1", "2", "beside_others")
    assert played.controller.beside_others(played.now) == []
    played.play(account({1: 1.0, 2: 1.8}), 10)
    assert played.controller.lanes == 2


def test_a_single_lane_is_left_alone() -> None:
    played = Played(lanes=1)
    played.play(account({1: 0.4}, busy=1.0, lanes=1), 30)
    assert played.causes() == []


def test_an_overload_that_begins_and_ends_is_told_once_each() -> None:
    played = Played(lanes=1)
    played.play(account({1: 1.0}, lanes=1), 5)
    played.play(account({1: 1.0}, lanes=1, in_time=100, refused=100), 20)
    played.play(account({1: 1.0}, lanes=1), 20)
    assert played.causes("admission") == ["overload", "room"]
    assert "50% of what is asked is refused" in played.changes[0].reason


def test_a_batch_size_that_stays_another_is_told_and_one_that_passes_is_not() -> None:
    played = Played(lanes=1)
    for cap, seconds in ((8, 5), (4, 1), (8, 5), (4, 5)):
        played.play(account({1: 1.0}, lanes=1), seconds, State(1, cap, 0.0045))
    (change,) = played.changes
    assert (change.what, change.before, change.after) == ("batch_cap", "8", "4")
    assert "one of 4 takes up to 4.5 ms" in change.reason


def test_shapes_that_take_turns_are_no_change_of_batch_sizes() -> None:
    played = Played(lanes=1)
    for _ in range(20):
        played.play(account({1: 1.0}, lanes=1), 1, State(10, 8, 0.01))
        played.play(account({1: 1.0}, lanes=1), 1, State(99, 2, 0.01))
    assert played.changes == []


def test_a_quiet_model_decides_nothing() -> None:
    played = Played()
    played.play(Account(1.0, 0, 0, 0, 0.0, 0.0, {}), 100)
    assert played.changes == []


accounts = st.builds(
    account,
    st.dictionaries(st.integers(1, 4), st.floats(0.1, 4.0), max_size=4),
    busy=st.floats(0.01, 1.0),
    in_time=st.integers(0, 500),
    refused=st.sampled_from([0, 0, 0, 1, 100]),
    lanes=st.integers(1, 4),
    runs=st.integers(0, 50),
)


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.lists(accounts, min_size=1, max_size=60), st.integers(1, 4))
def test_whatever_happens_lanes_stay_in_bounds_move_by_one_and_say_why(
    seen: list[Account], most: int
) -> None:
    played = Played(lanes=most)
    for one in seen:
        before = played.controller.lanes
        played.play(one, 1)
        assert 1 <= played.controller.lanes <= most
        assert abs(played.controller.lanes - before) <= 1
        glance = played.controller.glance
        if glance is not None:  # over before the next look, and then all go on
            assert glance.lanes == played.controller.lanes - 1 >= 1
            assert 0 < glance.seconds < PERIOD_S
            assert played.controller.lanes == before
    moved = [change for change in played.changes if change.what == "lanes"]
    assert all(change.reason for change in played.changes)
    # Trials end before the next begins.
    others = {"slow_together", "glance"}
    trials = [change.cause for change in moved if change.cause not in others]
    assert all(
        a == "trial" and b != "trial" for a, b in zip(trials[::2], trials[1::2], strict=False)
    )
