"""What the flags of ``headrace tune`` may say."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.tune.wanted import Objective, Wanted, read_objective, read_share, read_time


@pytest.mark.parametrize(
    ("text", "slo_s", "quantile"),
    [
        ("p99=50ms", 0.05, 0.99),
        ("50ms", 0.05, 0.99),
        ("p95=0.1s", 0.1, 0.95),
        (" p99.9 = 800 us ", 0.0008, 0.999),
    ],
)
def test_an_objective_is_a_quantile_and_a_time(text: str, slo_s: float, quantile: float) -> None:
    read = read_objective(text)
    assert read.slo_s == pytest.approx(slo_s)
    assert read.quantile == pytest.approx(quantile)


@pytest.mark.parametrize(
    "text", ["", "fast", "p99", "p99=50", "p99=0ms", "p12=50ms", "p100=5ms", "-5ms"]
)
def test_what_is_no_objective_says_what_one_is(text: str) -> None:
    with pytest.raises(ValueError, match="should be"):
        read_objective(text)


@pytest.mark.parametrize(
    ("text", "share"), [("0.5%", 0.005), ("0.005", 0.005), ("0", 0), ("100 %", 1)]
)
def test_a_share_is_in_per_cent_or_of_one(text: str, share: float) -> None:
    assert read_share(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["", "half", "101%", "-1%", "2", "nan", "0.5%typo", "0.5%%"])
def test_what_is_no_share_says_what_one_is(text: str) -> None:
    with pytest.raises(ValueError, match=r"as 0\.5%"):
        read_share(text)


@given(st.text(max_size=20))
def test_whatever_is_said_is_read_or_refused_with_a_reason(text: str) -> None:
    for read in (read_objective, read_share, read_time):
        assert "should be" in (said(read, text) or "should be")


def said(read: Callable[[str], object], text: str) -> str | None:
    """Why it is refused."""
    try:
        read(text)
    except ValueError as error:
        return str(error)
    return None


def test_of_a_rate_past_what_is_wanted_nothing_more_is_worth() -> None:
    wanted = Wanted(Objective(0.05), 0.005, 240.0, rate_rps=100)
    assert wanted.worth(90) == 90
    assert wanted.worth(500) == wanted.worth(120) == 120
    assert Wanted(Objective(0.05), 0.005, 240.0).worth(500) == 500
