from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headrace.observe.slowest import Slowest

PASSED = st.lists(st.tuples(st.floats(0, 10), st.floats(0, 30)), max_size=60)


def _kept(passed: list[tuple[float, float]], limit: int = 4) -> tuple[Slowest[int], float]:
    """What is left of things that took so long, each so long after the one before; and when."""
    slowest = Slowest[int](limit, window_s=60.0)
    now_s = 0.0
    for number, (seconds, later_s) in enumerate(passed):
        now_s += later_s
        if slowest.wants(seconds, now_s):
            slowest.put(seconds, number, now_s)
    return slowest, now_s


@given(PASSED)
def test_within_a_window_it_keeps_exactly_the_slowest(passed: list[tuple[float, float]]) -> None:
    at_once = [(seconds, 0.0) for seconds, _ in passed]
    slowest, now_s = _kept(at_once)
    found = [passed[number][0] for number in slowest.things(now_s)]
    assert found == sorted((seconds for seconds, _ in passed), reverse=True)[:4]


@given(PASSED)
def test_it_keeps_few_and_none_older_than_two_windows(passed: list[tuple[float, float]]) -> None:
    slowest, now_s = _kept(passed)
    times, clock_s = [], 0.0
    for _, later_s in passed:
        clock_s += later_s
        times.append(clock_s)
    things = slowest.things(now_s)
    assert len(things) == len(set(things)) <= 4
    assert all(times[number] > now_s - 120.0 or times[number] == now_s for number in things)
    seconds = [passed[number][0] for number in things]
    assert seconds == sorted(seconds, reverse=True)


@given(PASSED)
def test_the_slowest_of_the_last_window_is_never_lost(passed: list[tuple[float, float]]) -> None:
    slowest, now_s = _kept(passed)
    clock_s, recent = 0.0, []
    for number, (seconds, later_s) in enumerate(passed):
        clock_s += later_s
        if clock_s > now_s - 60.0:
            recent.append((seconds, number))
    if recent:
        longest = max(seconds for seconds, _ in recent)
        assert max(passed[number][0] for number in slowest.things(now_s)) >= longest


def test_after_a_long_silence_nothing_old_is_left() -> None:
    slowest, now_s = _kept([(3.0, 0.0), (5.0, 1.0)])
    assert slowest.things(now_s) == [1, 0]
    assert slowest.things(now_s + 61.0) == [1, 0]
    assert slowest.things(now_s + 200.0) == []
