from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headrace.loader.residency import (
    Budget,
    Prospect,
    Resident,
    Room,
    Tie,
    guess_bytes,
    make_room,
    surplus,
)

SIZES = st.integers(0, 40)
BUDGETS = st.builds(Budget, st.none() | st.integers(0, 100), st.none() | st.integers(1, 6))


@st.composite
def crowds(draw: st.DrawFn) -> list[Resident]:
    """Some resident models, each with a key of its own."""
    rows = draw(st.lists(st.tuples(SIZES, st.floats(0, 100), st.sampled_from(Tie)), max_size=8))
    return [Resident(number, *row) for number, row in enumerate(rows)]


def fits(size_bytes: int, there: list[Resident], budget: Budget, *, pinned: bool) -> bool:
    taken_bytes = size_bytes + sum(one.size_bytes for one in there)
    taken = 1 + sum(one.tie is not Tie.PINNED for one in there)
    return (budget.size_bytes is None or taken_bytes <= budget.size_bytes) and (
        pinned or budget.count is None or taken <= budget.count
    )


def test_with_room_nobody_leaves() -> None:
    there = [Resident("a", 10, 1.0)]
    assert make_room(10, there, Budget(20, 2)) == Room(Prospect.NOW)
    assert make_room(10, there, Budget()) == Room(Prospect.NOW)


def test_the_least_recently_used_leave_first_and_no_more_than_needed() -> None:
    there = [Resident("b", 10, 2.0), Resident("a", 10, 1.0), Resident("c", 10, 3.0)]
    assert make_room(15, there, Budget(30)) == Room(Prospect.NOW, ("a", "b"))
    assert make_room(1, there, Budget(count=3)) == Room(Prospect.NOW, ("a",))


def test_pinned_and_held_ones_stay_however_old() -> None:
    there = [
        Resident("pinned", 10, 0.0, Tie.PINNED),
        Resident("held", 10, 0.0, Tie.HELD),
        Resident("a", 10, 9.0),
    ]
    assert make_room(10, there, Budget(30)) == Room(Prospect.NOW, ("a",))
    assert make_room(11, there, Budget(30)) == Room(Prospect.LATER)
    assert make_room(21, there, Budget(30)) == Room(Prospect.NEVER)


def test_room_that_comes_by_itself_is_waited_for() -> None:
    there = [Resident("leaving", 10, 5.0, Tie.LEAVING), Resident("a", 10, 1.0)]
    assert make_room(10, there, Budget(20)) == Room(Prospect.SOON)
    coming = [Resident("coming", 20, 5.0, Tie.BRIEF)]
    assert make_room(10, coming, Budget(20)) == Room(Prospect.SOON)


def test_a_pinned_one_takes_no_place_of_those_on_demand() -> None:
    there = [Resident("a", 1, 1.0), Resident("p", 1, 1.0, Tie.PINNED)]
    assert make_room(1, there, Budget(count=1), pinned=True) == Room(Prospect.NOW)
    assert make_room(1, there, Budget(count=1)) == Room(Prospect.NOW, ("a",))


def test_a_guess_is_more_than_the_files() -> None:
    assert guess_bytes(0) > 0
    assert guess_bytes(10**9) > 10**9


@given(size_bytes=SIZES, there=crowds(), budget=BUDGETS, pinned=st.booleans())
def test_who_leaves_may_leave_in_order_and_makes_room(
    size_bytes: int, there: list[Resident], budget: Budget, pinned: bool
) -> None:
    room = make_room(size_bytes, there, budget, pinned=pinned)
    leave = [one for key in room.leave for one in there if one.key == key]
    assert len(leave) == len(room.leave) == len(set(room.leave))
    assert all(one.tie is Tie.NONE for one in leave)
    assert [one.used_s for one in leave] == sorted(one.used_s for one in leave)
    if room.prospect is not Prospect.NOW:
        assert not leave
        return
    # Those on their way out have gone when those chosen have, or there was room beside them.
    left = [one for one in there if one not in leave]
    gone = [one for one in left if one.tie is not Tie.LEAVING]
    assert fits(size_bytes, gone if leave else left, budget, pinned=pinned)


@given(size_bytes=SIZES, there=crowds(), budget=BUDGETS, pinned=st.booleans())
def test_no_one_leaves_who_is_not_needed(
    size_bytes: int, there: list[Resident], budget: Budget, pinned: bool
) -> None:
    room = make_room(size_bytes, there, budget, pinned=pinned)
    if room.leave:  # without the last of them it would not have done
        kept = [
            one for one in there if one.key not in room.leave[:-1] and one.tie is not Tie.LEAVING
        ]
        assert not fits(size_bytes, kept, budget, pinned=pinned)


@given(size_bytes=SIZES, there=crowds(), budget=BUDGETS, pinned=st.booleans())
def test_a_refusal_says_how_long_it_holds(
    size_bytes: int, there: list[Resident], budget: Budget, pinned: bool
) -> None:
    room = make_room(size_bytes, there, budget, pinned=pinned)
    pins = [one for one in there if one.tie is Tie.PINNED]
    holds = [one for one in there if one.tie in {Tie.PINNED, Tie.HELD}]
    assert (room.prospect is Prospect.NEVER) == (not fits(size_bytes, pins, budget, pinned=pinned))
    if room.prospect is Prospect.LATER:
        assert not fits(size_bytes, holds, budget, pinned=pinned)
    if room.prospect is Prospect.SOON:  # something is on its way, and there will be room
        assert any(one.tie in {Tie.BRIEF, Tie.LEAVING} for one in there)
        assert fits(size_bytes, holds, budget, pinned=pinned)


@given(there=crowds(), budget=BUDGETS)
def test_what_is_too_much_leaves_in_order_and_only_where_that_helps(
    there: list[Resident], budget: Budget
) -> None:
    leave = [one for key in surplus(there, budget) for one in there if one.key == key]
    assert all(one.tie is Tie.NONE for one in leave)
    assert len(leave) == len({one.key for one in leave})
    pins = sum(one.size_bytes for one in there if one.tie is Tie.PINNED)
    most = budget.size_bytes
    large = [one for one in leave if most is not None and one.size_bytes + pins > most]
    assert leave[: len(large)] == large  # first those that would never fit
    rest = leave[len(large) :]
    assert [one.used_s for one in rest] == sorted(one.used_s for one in rest)
    if rest and most is not None:
        stay = [one for one in there if one not in leave and one.tie is not Tie.LEAVING]
        total = sum(one.size_bytes for one in stay)
        assert total <= most < total + rest[-1].size_bytes


def test_within_the_budget_nobody_leaves() -> None:
    there = [Resident("a", 10, 1.0), Resident("b", 10, 2.0)]
    assert surplus(there, Budget(20, 2)) == ()
    assert surplus(there, Budget()) == ()
    assert surplus(there, Budget(19)) == ("a",)
    assert surplus([*there, Resident("c", 21, 0.0)], Budget(20)) == ("c",)
