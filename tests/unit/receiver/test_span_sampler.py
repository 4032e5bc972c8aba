"""Which requests become spans: the client decides, else chance or Envoy, and never too many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.receiver.span_sampler import (
    SpanOfEnvoy,
    SpanSampler,
    by_chance,
    by_envoy,
    span_of_envoy,
)

TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-"
ENVOYS = {b"headrace-span": b"0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"}
SAMPLED, UNSAMPLED = {b"traceparent": TRACE + b"01"}, {b"traceparent": TRACE + b"00"}
CHOSEN = {b"x-request-id": b"60b2351b-eb87-9889-ada0-9c0cc98d9f0c", **ENVOYS}
LEFT_OUT = {b"x-request-id": b"60b2351b-eb87-4889-ada0-9c0cc98d9f0c", **ENVOYS}


def _always(_: Mapping[bytes, bytes]) -> bool:
    return True


def test_the_client_decides_whatever_is_chosen_and_the_limit() -> None:
    sampler = SpanSampler(1.0, by_envoy)
    assert [sampler.takes(SAMPLED | LEFT_OUT, 0.0) for _ in range(3)] == [True] * 3
    assert not sampler.takes(UNSAMPLED | CHOSEN, 0.0)
    assert sampler.takes(CHOSEN, 0.0)  # and it has cost the others nothing


@pytest.mark.parametrize(
    "said",
    [
        None,
        b"",
        b"nonsense",
        b"00-1-2-zz",
        b"00-xyz-b-01",
        TRACE + b"1",
        TRACE + b"01-more",
        TRACE.upper() + b"01",
        b"ff" + TRACE[2:] + b"01",
        b"00-" + b"0" * 32 + TRACE[35:] + b"01",
        TRACE[:36] + b"0" * 16 + b"-01",
    ],
)
def test_where_the_client_says_nothing_chance_does(said: bytes | None) -> None:
    drawn = iter([0.0, 0.29, 0.3, 0.9])
    sampler = SpanSampler(100.0, by_chance(0.3, lambda: next(drawn)))
    client = {} if said is None else {b"traceparent": said}
    assert [sampler.takes(client, 0.0) for _ in range(4)] == [True, True, False, False]


def test_of_a_later_version_more_may_follow() -> None:
    later = {b"traceparent": b"01" + TRACE[2:] + b"01-more"}
    assert SpanSampler(1.0, by_chance(0.0, lambda: 0.5)).takes(later, 0.0)


def test_or_envoy_does() -> None:
    assert by_envoy(CHOSEN)
    assert not by_envoy(LEFT_OUT)
    assert not by_envoy({})


@pytest.mark.parametrize("name", [b"", b"9", b"order 9", CHOSEN[b"x-request-id"][:-1]])
def test_a_request_id_that_is_not_envoys_chooses_nothing(name: bytes) -> None:
    assert not by_envoy({b"x-request-id": name, **ENVOYS})


def test_what_envoy_makes_no_span_of_it_has_not_chosen() -> None:
    assert not by_envoy(CHOSEN | {b"headrace-span": b"-"})


@given(
    st.floats(0.1, 1000.0),
    st.lists(st.floats(0.0, 3.0, allow_subnormal=False), min_size=1, max_size=200),
)
def test_no_second_has_more_than_the_limit_and_a_full_bucket(
    limit_per_s: float, pauses_s: Sequence[float]
) -> None:
    times_s = list(accumulate(pauses_s))
    sampler = SpanSampler(limit_per_s, _always)
    taken_s = [at_s for at_s in times_s if sampler.takes({}, at_s)]
    for number, from_s in enumerate(taken_s):
        within = sum(1 for at_s in taken_s[number:] if at_s <= from_s + 1)
        assert within <= max(limit_per_s, 1.0) + limit_per_s + 1e-6


def test_a_quiet_server_takes_all_that_is_chosen() -> None:
    sampler = SpanSampler(2.0, _always)
    assert all(sampler.takes({}, float(second)) for second in range(100))


def test_a_limit_below_one_a_second_still_takes_some() -> None:
    sampler = SpanSampler(0.1, _always)
    taken = [second for second in range(100) if sampler.takes({}, float(second))]
    assert 9 <= len(taken) <= 11


def test_envoys_span_is_read_from_its_header() -> None:
    found = span_of_envoy(ENVOYS)
    assert found == SpanOfEnvoy(0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331)


@pytest.mark.parametrize("said", [None, b"", b"-", b"---", b"0af7-b7ad"])
def test_where_envoy_made_no_span_there_is_none(said: bytes | None) -> None:
    assert span_of_envoy({} if said is None else {b"headrace-span": said}) is None
