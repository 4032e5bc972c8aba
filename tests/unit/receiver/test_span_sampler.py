"""Which requests become spans: the client decides, else a share of them, and never too many."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.receiver.span_sampler import SpanSampler

TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-"
SAMPLED, UNSAMPLED = TRACE + b"01", TRACE + b"00"


def test_the_client_decides_whatever_the_ratio_and_the_limit() -> None:
    nobody, all_ = SpanSampler(0.0, 1.0), SpanSampler(1.0, 1.0)
    assert [nobody.takes(SAMPLED, 0.0) for _ in range(3)] == [True] * 3
    assert not all_.takes(UNSAMPLED, 0.0)
    assert all_.takes(None, 0.0)  # and it has cost the others nothing


@pytest.mark.parametrize("said", [None, b"", b"nonsense", b"00-1-2-zz"])
def test_where_the_client_says_nothing_the_ratio_does(said: bytes | None) -> None:
    drawn = iter([0.0, 0.29, 0.3, 0.9])
    sampler = SpanSampler(0.3, 100.0, lambda: next(drawn))
    assert [sampler.takes(said, 0.0) for _ in range(4)] == [True, True, False, False]


@given(
    st.floats(0.1, 1000.0),
    st.lists(st.floats(0.0, 3.0, allow_subnormal=False), min_size=1, max_size=200),
)
def test_no_second_has_more_than_the_limit_and_a_full_bucket(
    limit_per_s: float, pauses_s: Sequence[float]
) -> None:
    times_s = list(accumulate(pauses_s))
    sampler = SpanSampler(1.0, limit_per_s, lambda: 0.0)
    taken_s = [at_s for at_s in times_s if sampler.takes(None, at_s)]
    for number, from_s in enumerate(taken_s):
        within = sum(1 for at_s in taken_s[number:] if at_s <= from_s + 1)
        assert within <= max(limit_per_s, 1.0) + limit_per_s + 1e-6


def test_a_quiet_server_takes_all_of_its_share() -> None:
    sampler = SpanSampler(1.0, 2.0, lambda: 0.0)
    assert all(sampler.takes(None, float(second)) for second in range(100))


def test_a_limit_below_one_a_second_still_takes_some() -> None:
    sampler = SpanSampler(1.0, 0.1, lambda: 0.0)
    taken = [second for second in range(100) if sampler.takes(None, float(second))]
    assert 9 <= len(taken) <= 11
