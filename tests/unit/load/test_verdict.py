"""What is to be thought of a run, on results made by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from headrace.load.command.show import rows
from headrace.load.result import (
    CONNECTION_LOST,
    CONNECTION_REFUSED,
    OK,
    TIMEOUT,
    Outcome,
    Result,
)
from headrace.load.verdict import judge


def _result(outcomes: list[Outcome], lag_s: float = 0.0, duration_s: float = 1.0) -> Result:
    names = tuple(dict.fromkeys([OK, *outcomes]))
    at = np.arange(len(outcomes)) / max(len(outcomes), 1) * duration_s
    return Result(
        intended_s=at,
        sent_s=at + lag_s,
        done_s=at + lag_s + 0.01,
        outcome=np.array([names.index(one) for one in outcomes], np.uint16),
        outcomes=names,
        answers={},
        started_s=0.0,
        duration_s=duration_s,
        cpu_s=0.1,
    )


def test_a_run_with_answers_and_a_punctual_sender_is_believed() -> None:
    verdict = judge(_result([OK] * 9 + [TIMEOUT]))
    assert verdict.failure is None
    assert verdict.report is not None
    assert verdict.report.ok == 9


def test_a_server_that_goes_away_ends_what_is_counted() -> None:
    outcomes = [OK] * 50 + [CONNECTION_LOST] * 3 + [CONNECTION_REFUSED] * 47
    verdict = judge(_result(outcomes))
    assert verdict.gone_s == pytest.approx(0.5)
    assert verdict.failure is not None
    assert "went away 0.5 s into the run" in verdict.failure
    assert verdict.report is not None
    assert (verdict.report.planned, verdict.report.ok, verdict.report.failed) == (50, 50, 0)
    assert verdict.report.offered_per_s == pytest.approx(100)
    assert len(verdict.result) == 100


def test_beside_a_count_of_none_there_is_no_rate() -> None:
    """What came late of the warm-up is not what was sent after it."""
    result = _result([OK] * 5 + [TIMEOUT] * 5)
    came = replace(result, done_s=result.done_s + 0.5)
    report = judge(came, warm_s=0.5).report
    assert report is not None
    assert report.ok == 0
    assert report.per_s == pytest.approx(10)
    told = dict(rows(report))
    assert (told["sent"], told["answered"]) == ("5 of 5, 10.0/s", "0")
    nothing = judge(replace(came, sent_s=came.sent_s * np.nan), warm_s=0.5).report
    assert nothing is not None
    assert dict(rows(nothing))["sent"] == "0 of 5"


def test_a_server_that_came_back_did_not_go_away() -> None:
    verdict = judge(_result([OK] * 5 + [CONNECTION_REFUSED] * 4 + [OK]))
    assert verdict.gone_s is None
    assert verdict.failure is None
    assert verdict.report is not None
    assert verdict.report.failed == 4


def test_a_server_that_hangs_up_on_a_client_is_still_there() -> None:
    verdict = judge(_result([OK] * 5 + [CONNECTION_LOST] * 5))
    assert verdict.gone_s is None
    assert verdict.report is not None
    assert verdict.report.failed == 5


def test_a_server_that_was_away_from_the_start_leaves_nothing_to_count() -> None:
    verdict = judge(_result([CONNECTION_LOST] * 2 + [CONNECTION_REFUSED] * 3))
    assert verdict.report is None
    assert verdict.failure is not None
    assert "went away 0.0 s" in verdict.failure


@pytest.mark.parametrize(("limit_s", "believed"), [(None, False), (0.004, False), (0.006, True)])
def test_a_late_sender_fails_the_run_unless_it_may_be_so_late(
    limit_s: float | None, *, believed: bool
) -> None:
    verdict = judge(_result([OK] * 10, lag_s=0.005), lag_limit_s=limit_s)
    assert (verdict.failure is None) is believed
    if verdict.failure is not None:
        assert "5.00 ms late at p99" in verdict.failure


def test_a_run_without_one_answer_has_failed() -> None:
    assert judge(_result([TIMEOUT] * 3)).failure == "not one request was answered"


def test_a_run_that_was_interrupted_says_so_and_keeps_its_numbers() -> None:
    verdict = judge(_result([OK] * 10), interrupted=True)
    assert verdict.failure is not None
    assert verdict.failure.startswith("interrupted")
    assert verdict.report is not None
    assert verdict.report.ok == 10


def test_a_run_interrupted_in_its_warm_up_has_no_numbers() -> None:
    verdict = judge(_result([OK] * 3), warm_s=2.0, interrupted=True)
    assert verdict.report is None
    assert verdict.failure == "the run ended before there was anything to count"
