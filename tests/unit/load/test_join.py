"""Runs put end to end."""

from __future__ import annotations

import numpy as np

from headrace.load.join import join
from headrace.load.report import make_report
from headrace.load.result import OK, TIMEOUT, Outcome, Result


def _result(
    count: int, names: tuple[Outcome, ...] = (OK, TIMEOUT), concurrency: int | None = None
) -> Result:
    at = np.arange(count) / count * 2.0
    return Result(
        intended_s=at,
        sent_s=at + 0.001,
        done_s=at + 0.01,
        outcome=(np.arange(count) % 2).astype(np.uint16),
        outcomes=names,
        answers={},
        started_s=5.0,
        duration_s=2.0,
        cpu_s=0.5,
        concurrency=concurrency,
    )


def test_runs_are_one_run_without_their_warm_ups() -> None:
    joined = join([_result(200), _result(400, (TIMEOUT, OK))], warm_s=0.5)
    assert joined.duration_s == 3.0
    assert len(joined) == 150 + 300
    assert np.all(np.diff(joined.intended_s) >= 0)
    assert joined.intended_s[0] == 0.0
    report = make_report(joined)
    assert (report.ok, report.late) == (75 + 150, 75 + 150)
    np.testing.assert_allclose(joined.done_s - joined.intended_s, 0.01)
    assert report.offered_per_s == 150


def test_callers_are_not_added_up() -> None:
    assert join([_result(10, concurrency=4)] * 3, 0.0).concurrency == 4
