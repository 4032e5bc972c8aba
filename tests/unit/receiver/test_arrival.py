from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.receiver.arrival import HEADER, arrival_s

UNIX_S = 1_795_000_000.0


def _came_s(ago_s: float) -> float:
    return arrival_s({HEADER.encode(): b"%.6f" % (UNIX_S - ago_s)}, 100.0, UNIX_S)


@given(st.floats(1e-5, 4.9))
def test_a_request_came_when_envoy_saw_it(ago_s: float) -> None:
    assert _came_s(ago_s) == pytest.approx(100.0 - ago_s, abs=2e-6)


@pytest.mark.parametrize("ago_s", [-3600.0, -1e-3, 6.0, 3600.0])
def test_when_the_clock_was_set_meanwhile_it_came_now(ago_s: float) -> None:
    assert _came_s(ago_s) == 100.0


def test_without_envoy_it_came_now() -> None:
    assert arrival_s({}, 100.0, UNIX_S) == 100.0
