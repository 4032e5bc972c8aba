"""Runs are drawn as they were seen: in stretches, of either load."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.plan.chance import resampled

SOME, OTHERS = range(1000), range(5000, 5300)


@given(st.integers(1, 300), st.integers(1, 300), st.floats(0, 1), st.integers(1, 5000))
def test_as_many_as_are_wanted_are_drawn_and_none_that_was_not_seen(
    some: int, others: int, share: float, count: int
) -> None:
    seen = SOME[:some], OTHERS[:others]
    drawn = resampled(np.random.default_rng(1), *seen, share, count)
    assert len(drawn) == count
    assert set(drawn) <= {*seen[0], *seen[1]}


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_what_followed_each_other_still_does(share: float) -> None:
    drawn = resampled(np.random.default_rng(1), SOME, OTHERS, share, 32_000)
    followed = [(after - before) in {1, 1 - 1000, 1 - 300} for before, after in pairwise(drawn)]
    assert np.mean(followed) > 0.96
    assert np.mean(drawn < 5000) == pytest.approx(share, abs=0.05)


def test_another_seed_is_another_chance() -> None:
    one, same, other = (
        resampled(np.random.default_rng(seed), SOME, OTHERS, 0.5, 100).tolist()
        for seed in (1, 1, 2)
    )
    assert one == same != other
