from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import InternalError
from headrace.loader.lifecycle import (
    TRANSITIONS,
    Backoff,
    Deaths,
    Event,
    State,
    Tries,
    can_move,
    move,
)

TERMINAL = {State.FAILED, State.UNLOADED}


def test_the_usual_life() -> None:
    state = State.FOUND
    for event in (
        Event.START,
        Event.LOADED,
        Event.READY,
        Event.DIED,
        Event.DIED,
        Event.READY,
        Event.DRAIN,
        Event.STOPPED,
    ):
        state = move(state, event)
    assert state is State.UNLOADED


def test_what_is_listed_has_no_engine_until_it_starts_as_any_other() -> None:
    listed = move(State.FOUND, Event.LIST)
    assert TRANSITIONS[listed] == {
        Event.START: move(State.FOUND, Event.START),
        Event.DRAIN: State.UNLOADED,
    }


def test_what_leaves_memory_is_listed_again() -> None:
    evicting = move(State.SERVING, Event.EVICT)
    assert move(evicting, Event.STOPPED) is State.LISTED
    assert move(evicting, Event.DRAIN) is State.DRAINING


@pytest.mark.parametrize(("state", "event"), list(itertools.product(State, Event)))
def test_every_pair_either_moves_or_says_both_names(state: State, event: Event) -> None:
    if can_move(state, event):
        assert move(state, event) is TRANSITIONS[state][event]
    else:
        with pytest.raises(InternalError, match=f"{state.value} cannot take '{event.value}'"):
            move(state, event)


def test_only_the_ends_have_no_way_out_and_everything_can_be_reached() -> None:
    assert {state for state in State if not TRANSITIONS[state]} == TERMINAL
    reached = {State.FOUND}
    for _ in State:
        reached |= {after for state in reached for after in TRANSITIONS[state].values()}
    assert reached == set(State)


@given(st.lists(st.sampled_from(Event), max_size=40))
def test_serving_is_entered_by_ready_alone_and_failed_is_for_good(events: list[Event]) -> None:
    state = State.FOUND
    for event in events:
        before = state
        if can_move(state, event):
            state = move(state, event)
        assert before not in TERMINAL or state is before
        if state is State.SERVING and before is not State.SERVING:
            assert event is Event.READY


@given(st.lists(st.sampled_from(Event), max_size=40))
def test_whatever_lives_can_be_drained(events: list[Event]) -> None:
    state = State.FOUND
    for event in events:
        if can_move(state, event):
            state = move(state, event)
    if state not in TERMINAL | {State.DRAINING}:
        assert move(state, Event.DRAIN) in {State.DRAINING, State.UNLOADED}


# -- back-off ------------------------------------------------------------------------------------


def test_the_first_restart_is_at_once_then_it_doubles_to_the_longest() -> None:
    backoff = Backoff()
    assert [backoff.after_death(0.0) for _ in range(8)] == [0, 0.5, 1, 2, 4, 8, 10, 10]


def test_a_quiet_window_makes_the_next_death_a_first_one() -> None:
    backoff = Backoff(quiet_s=60)
    assert [backoff.after_death(at) for at in (0, 1, 61, 122.1, 123)] == [0, 0.5, 1, 0, 0.5]


def test_what_lives_for_a_while_after_each_restart_is_restarted_at_once() -> None:
    backoff = Backoff(quiet_s=10)
    assert [backoff.after_death(at) for at in (0, 20, 40, 60)] == [0, 0, 0, 0]


def test_a_crash_loop_is_not_quiet_while_its_restart_is_waited_for() -> None:
    backoff, now_s = Backoff(quiet_s=10), 0.0
    delays = []
    for _ in range(9):
        delays.append(backoff.after_death(now_s))
        now_s += delays[-1] + 0.5
    assert delays == [0, 0.5, 1, 2, 4, 8, 10, 10, 10]


@given(
    first_s=st.floats(0.01, 5),
    longest_s=st.floats(5, 100),
    gaps=st.lists(st.floats(0, 200), max_size=50),
)
def test_delays_are_bounded_and_grow_until_it_is_quiet(
    first_s: float, longest_s: float, gaps: list[float]
) -> None:
    backoff = Backoff(first_s=first_s, longest_s=longest_s, quiet_s=60)
    now_s, last_s = 0.0, backoff.after_death(0.0)
    assert last_s == 0
    for gap_s in gaps:
        before_s, now_s = now_s, now_s + gap_s
        delay_s = backoff.after_death(now_s)
        assert 0 <= delay_s <= longest_s
        if now_s - (before_s + last_s) > 60:
            assert delay_s == 0
        else:
            assert delay_s >= max(last_s, first_s)
        last_s = delay_s


# -- giving up -----------------------------------------------------------------------------------


def test_the_limit_th_death_within_the_window_is_one_too_many() -> None:
    deaths = Deaths(3, 60)
    assert [deaths.note(at) for at in (0, 50, 61, 100, 200)] == [False, False, False, True, False]


@given(
    limit=st.integers(1, 6),
    window_s=st.floats(0.1, 100),
    gaps=st.lists(st.floats(0, 100), min_size=1, max_size=50),
)
def test_too_many_is_what_counting_says(limit: int, window_s: float, gaps: list[float]) -> None:
    deaths = Deaths(limit, window_s)
    times = list(itertools.accumulate(gaps))
    for number, now_s in enumerate(times, start=1):
        recent = [at for at in times[:number] if now_s - at <= window_s]
        assert deaths.note(now_s) == (len(recent) >= limit)


def test_tries_are_bounded_in_number_and_in_time() -> None:
    quick, slow = Tries(3, 120), Tries(3, 120)
    assert [quick.note(at) for at in (500, 501, 502, 503)] == [True, True, True, False]
    assert [slow.note(at) for at in (500, 619, 620)] == [True, True, False]
    slow.clear()
    assert [slow.note(at) for at in (900, 901)] == [True, True]
