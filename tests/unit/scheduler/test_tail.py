"""The tail comes down soon after trouble, and stays where long runs are rare but do come."""

from __future__ import annotations

from random import Random

import pytest

from headrace.scheduler.tail import Tail


def test_after_a_noisy_time_it_comes_down_within_a_few_hundred_runs() -> None:
    tail = Tail(1.1)
    for _ in range(300):
        noisy = tail.follow(2.5)
    after = [tail.follow(1.0) for _ in range(512)]
    assert noisy == pytest.approx(2.5, abs=0.05)
    assert after[191] > 2.3  # long runs may still be among the last
    assert after[-1] < 1.15


@pytest.mark.parametrize("share", [0.03, 0.05, 0.2])
def test_it_stays_where_long_runs_are_rare(share: float) -> None:
    tail, random, over = Tail(1.1), Random(3), 0
    now = 1.1
    for number in range(20_000):
        ratio = 2.0 if random.random() < share else 1.0
        over += number >= 10_000 and ratio > now
        now = tail.follow(ratio)
    assert over <= 0.025 * 10_000
