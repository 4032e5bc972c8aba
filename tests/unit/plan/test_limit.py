from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headrace.plan.limit import fewest, highest


@given(st.floats(0, 2), st.integers(1, 20))
def test_what_is_found_is_good_and_as_near_as_the_steps_allow(true: float, steps: int) -> None:
    asked: list[float] = []

    def good(value: float) -> bool:
        asked.append(value)
        return value <= true

    found = highest(good, 1.0, steps)
    assert len(asked) <= steps + 1
    if found:
        assert found <= true
        assert found in asked
    assert min(true, 1.0) - found <= 1 / 2**steps


@given(st.floats(2**-12, 2**-5))
def test_where_the_steps_find_none_more_look_deeper(true: float) -> None:
    found = highest(lambda value: value <= true, 1.0, 4, deeper=8)
    assert 0 < found <= true
    assert true - found <= 1 / 2**12
    assert highest(lambda value: value <= true, 1.0, 4) == 0


def test_where_nothing_is_good_it_is_nothing() -> None:
    assert highest(lambda _: False, 100.0) == 0
    assert highest(lambda _: False, 100.0, deeper=8) == 0


@given(st.integers(1, 200), st.integers(1, 100), st.integers(0, 100))
def test_the_fewest_that_are_enough_are_found(needed: int, least: int, more: int) -> None:
    most = least + more
    found = fewest(lambda count: count >= needed, least, most)
    assert found == (None if needed > most else max(needed, least))
