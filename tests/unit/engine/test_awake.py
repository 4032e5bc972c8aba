"""An answer that should be here at once is looked for, and not for long where that is in vain."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial

import pytest

from headrace.engine.awake import Awake, Patience

SHORT_S, LONG_S = 0.0002, 0.002


class Clock:
    """Stands still unless it is moved."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    yield made
    made.close()


def turn(loop: asyncio.AbstractEventLoop) -> None:
    """Have the loop do once what it has ready now."""
    loop.call_soon(loop.stop)
    loop.run_forever()


def test_an_answer_is_looked_for_until_it_is_heard(loop: asyncio.AbstractEventLoop) -> None:
    looks: list[int] = []
    awake = Awake(loop, Clock())

    def look() -> None:
        looks.append(7)
        if len(looks) == 3:
            awake.heard(7)

    awake.wait_for(7, SHORT_S, look)
    assert looks == [], "whoever hands a batch over has more to do first"
    for _ in range(6):
        turn(loop)
    assert len(looks) == 3


def test_it_is_given_up_when_its_time_has_passed(loop: asyncio.AbstractEventLoop) -> None:
    looks: list[float] = []
    clock = Clock()
    awake = Awake(loop, clock)
    awake.wait_for(7, SHORT_S, lambda: looks.append(clock.now_s))
    turn(loop)
    clock.now_s += SHORT_S
    turn(loop)
    clock.now_s += SHORT_S
    for _ in range(5):
        turn(loop)
    assert len(looks) == 3


@pytest.mark.parametrize("ends", ["sleep", "heard", "another"])
def test_nobody_looks_any_more_for_what_is_not_awaited(
    loop: asyncio.AbstractEventLoop, ends: str
) -> None:
    looks: list[int] = []
    awake = Awake(loop, Clock())
    awake.wait_for(7, SHORT_S, lambda: looks.append(7))
    turn(loop)
    if ends == "sleep":
        awake.sleep()
    elif ends == "heard":  # it has been woken
        awake.heard(7)
    else:
        awake.wait_for(8, LONG_S, lambda: looks.append(8))
    for _ in range(5):
        turn(loop)
    assert looks == [7]


def test_what_was_in_vain_again_and_again_is_done_rarely(loop: asyncio.AbstractEventLoop) -> None:
    looked: set[int] = set()
    clock = Clock()
    awake = Awake(loop, clock)
    for number in range(200):
        awake.wait_for(number, SHORT_S, partial(looked.add, number))
        clock.now_s += LONG_S
        for _ in range(2):
            turn(loop)
    assert set(range(8)) <= looked
    assert 2 <= len(looked - set(range(8))) <= 4


def test_one_that_came_is_reason_to_stay_awake_again() -> None:
    patience = Patience()
    for _ in range(8):
        assert patience.stay_s(SHORT_S) > SHORT_S
        patience.note(came=False)
    assert patience.stay_s(SHORT_S) == 0
    patience.note(came=True)
    assert patience.stay_s(SHORT_S) > SHORT_S


def test_for_what_takes_long_nobody_stays_awake() -> None:
    assert Patience().stay_s(LONG_S) == 0
