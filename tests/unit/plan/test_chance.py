"""What requests take besides their runs is drawn as it was seen: in stretches."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from headrace.plan.chance import resampled

SEEN = range(1000)


@given(st.integers(1, 300), st.integers(1, 5000))
def test_as_many_as_are_wanted_are_drawn_and_none_that_was_not_seen(seen: int, count: int) -> None:
    drawn = resampled(np.random.default_rng(1), SEEN[:seen], count)
    assert len(drawn) == count
    assert set(drawn) <= {*SEEN[:seen]}


def test_what_followed_each_other_still_does() -> None:
    drawn = resampled(np.random.default_rng(1), SEEN, 32_000)
    followed = [(after - before) in {1, 1 - len(SEEN)} for before, after in pairwise(drawn)]
    assert np.mean(followed) > 0.96


def test_another_seed_is_another_chance() -> None:
    one, same, other = (
        resampled(np.random.default_rng(seed), SEEN, 100).tolist() for seed in (1, 1, 2)
    )
    assert one == same != other
