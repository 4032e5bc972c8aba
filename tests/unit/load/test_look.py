"""A look at rows that are being written."""

from __future__ import annotations

import numpy as np
import pytest

from headrace.load.look import look
from headrace.load.result import Kind
from headrace.load.rows import KINDS, Rows


def _rows(count: int, latency_s: float, gap_s: float = 0.01) -> Rows:
    rows = Rows.alone(count + 10)
    for index in range(count):
        rows.intended_s[index] = index * gap_s
        rows.sent_s[index] = index * gap_s
        rows.done_s[index] = index * gap_s + latency_s
    rows.count = count
    rows.ended(KINDS.index(Kind.OK), count)
    return rows


def test_only_the_answers_of_the_window_count() -> None:
    rows = _rows(300, 0.002)
    rows.outcome[295] = 1  # no answer, but a refusal
    found = look([rows], at_s=3.0, window_s=1.0)
    assert found.per_s == pytest.approx(99)
    assert found.p50_s == pytest.approx(0.002)
    assert (found.sent, found.ended[Kind.OK], found.ended[Kind.LATE]) == (300, 300, 0)


def test_senders_are_looked_at_together() -> None:
    found = look([_rows(100, 0.001), _rows(100, 0.003)], at_s=1.0, window_s=2.0)
    assert found.sent == 200
    assert found.per_s == pytest.approx(200)
    assert found.p99_s == pytest.approx(0.003)


def test_before_anything_was_answered_there_is_no_latency() -> None:
    found = look([Rows.alone(5)], at_s=0.0, window_s=1.0)
    assert (found.sent, found.per_s, found.p50_s, found.p99_s) == (0, 0.0, None, None)


def test_a_request_under_way_is_no_answer() -> None:
    rows = Rows.alone(3)
    rows.count = 2
    rows.intended_s[1] = 0.5
    assert look([rows], at_s=1.0, window_s=1.0).p50_s is None


def test_rows_that_were_never_sent_have_no_time() -> None:
    rows = _rows(2, 0.1)
    rows.sent_s[0] = 0.0
    rows.sent_s[1] = 0.5
    _, sent_s, _, _ = rows.columns()
    np.testing.assert_array_equal(sent_s, [np.nan, 0.5])
