"""What a batch takes beyond its run is learnt from who did not wait, and let go where all wait."""

from __future__ import annotations

import pytest

from headrace.scheduler.handover import Handover


def test_it_follows_those_that_did_not_wait_and_a_hiccup_counts_for_little() -> None:
    handover = Handover()
    for _ in range(200):
        handover.follow(0.003, waited=False)
        handover.follow(0.1, waited=True)
    assert handover.seconds == pytest.approx(0.003, rel=0.01)
    handover.follow(9.0, waited=False)
    assert handover.seconds < 0.006
    handover.follow(-0.001, waited=False)  # by clocks of two processes
    assert handover.seconds > 0.0


def test_where_all_wait_it_is_let_go_until_one_shows_it_again() -> None:
    handover = Handover()
    for _ in range(100):
        handover.follow(0.02, waited=False)
    for _ in range(512):
        handover.follow(0.1, waited=True)
    assert handover.seconds == pytest.approx(0.02, rel=0.01)
    for _ in range(200):
        handover.follow(0.1, waited=True)
    assert handover.seconds < 0.0005
    handover.follow(0.01, waited=False)
    low_s = handover.seconds
    for _ in range(512):
        handover.follow(0.1, waited=True)
    assert handover.seconds == low_s
