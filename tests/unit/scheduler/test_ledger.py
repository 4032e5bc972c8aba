"""What is noted of runs: who was beside whom, and what that cost."""

from __future__ import annotations

import pytest

from headrace.scheduler.ledger import Ledger, Together


def test_a_run_alone_has_no_company_and_two_at_a_time_have_each_other() -> None:
    ledger = Ledger()
    ledger.started(1, 0.0, 2)
    assert ledger.ended(1, 1.0, 2) == pytest.approx(1.0)
    ledger.started(2, 2.0, 2)
    ledger.started(3, 2.0, 2)
    assert ledger.ended(2, 3.0, 2) == pytest.approx(2.0)
    assert ledger.ended(3, 3.0, 2) == pytest.approx(2.0)


def test_company_for_a_while_counts_for_that_while() -> None:
    ledger = Ledger()
    ledger.started(1, 0.0, 2)
    ledger.started(2, 3.0, 2)
    assert ledger.ended(1, 4.0, 2) == pytest.approx(1.25)


def test_what_waits_for_a_lane_is_no_company_and_runs_when_there_is_one() -> None:
    ledger = Ledger()
    ledger.started(1, 0.0, 1)
    ledger.started(2, 0.0, 1)
    assert ledger.ended(1, 1.0, 1) == pytest.approx(1.0)
    assert ledger.ended(2, 2.0, 1) == pytest.approx(1.0)


def test_fewer_lanes_hold_up_who_comes_later() -> None:
    ledger = Ledger()
    for number in (1, 2, 3):
        ledger.started(number, 0.0, 2)
    assert ledger.ended(1, 1.0, 1) == pytest.approx(2.0)
    assert ledger.ended(2, 2.0, 1) == pytest.approx(1.5)
    assert ledger.ended(3, 3.0, 1) == pytest.approx(1.0)


def test_only_clear_company_is_counted_by_its_number_and_all_by_its_time() -> None:
    ledger = Ledger()
    ledger.close(0.0)
    for company, busy_s in ((1.1, 2.0), (2.0, 3.0), (1.5, 5.0), (1.9, 1.0)):
        ledger.ran(company, 1.0, busy_s)
    account = ledger.close(10.0)
    assert account.together == {1: Together(1, 1.0, 2.0), 2: Together(2, 2.0, 4.0)}
    assert (account.busy_s, account.alone_s) == (11.0, 4.0)


def test_an_account_has_what_happened_since_the_last() -> None:
    ledger = Ledger()
    ledger.close(100.0)
    ledger.answered(7, 1)
    ledger.refused += 2
    assert ledger.close(102.0)[:4] == (2.0, 7, 1, 2)
    assert ledger.close(103.0)[:5] == (1.0, 0, 0, 0, 0.0)
