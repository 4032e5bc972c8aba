"""Whether an objective was kept, and when it is lost for sure."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.load.objective import Objective
from headrace.load.result import NOT_SENT, OK, TIMEOUT, Outcome, Result
from headrace.load.rows import Rows
from headrace.load.search import Held

SLO_S = 0.05
OBJECTIVE = Objective(SLO_S)


def _result(waited_s: list[float], lag_s: float = 0.0, outcome: Outcome = OK) -> Result:
    at = np.arange(len(waited_s)) / max(len(waited_s), 1)
    return Result(
        intended_s=at,
        sent_s=at + lag_s,
        done_s=at + np.array(waited_s),
        outcome=np.full(len(waited_s), 0 if outcome is OK else 1, np.uint16),
        outcomes=(OK, outcome) if outcome is not OK else (OK,),
        answers={},
        started_s=0.0,
        duration_s=1.0,
        cpu_s=0.0,
    )


@pytest.mark.parametrize(
    ("slow", "held"),
    [(0, Held.YES), (10, Held.YES), (11, Held.NO), (50, Held.NO), (51, Held.CLEARLY_NOT)],
)
def test_a_rate_holds_when_99_of_100_were_answered_in_time(slow: int, held: Held) -> None:
    waited_s = [SLO_S + 0.001] * slow + [SLO_S - 0.001] * (1000 - slow)
    assert OBJECTIVE.judge(_result(waited_s), warm_s=0.0) is held


def test_what_was_not_answered_is_missed_however_soon_it_ended() -> None:
    assert OBJECTIVE.judge(_result([0.001] * 100, outcome=TIMEOUT), 0.0) is Held.CLEARLY_NOT
    assert OBJECTIVE.judge(_result([0.001] * 100, outcome=NOT_SENT), 0.0) is Held.CLEARLY_NOT


def test_the_warm_up_does_not_count() -> None:
    waited_s = [1.0] * 100 + [0.001] * 900
    assert OBJECTIVE.judge(_result(waited_s), warm_s=0.1) is Held.YES


@pytest.mark.parametrize(("requests", "warm_s"), [(0, 0.0), (100, 1.0)])
def test_where_nothing_counted_nothing_held(requests: int, warm_s: float) -> None:
    result = _result([0.001] * requests)
    assert OBJECTIVE.judge(result, warm_s) is Held.NO
    assert OBJECTIVE.share_missed(result, warm_s) == 1
    assert not OBJECTIVE.was_the_sender(result, warm_s)


def test_a_miss_that_is_the_senders_own_is_told_from_the_servers() -> None:
    late = _result([0.06] * 100, lag_s=0.02)
    assert OBJECTIVE.judge(late, 0.0) is Held.CLEARLY_NOT
    assert OBJECTIVE.was_the_sender(late, 0.0)
    assert not OBJECTIVE.was_the_sender(_result([0.08] * 100, lag_s=0.02), 0.0)


def test_a_miss_while_all_connections_wait_for_answers_is_the_servers() -> None:
    late = replace(_result([0.06] * 100, lag_s=0.02), queued_s=np.full(100, 0.019))
    assert not OBJECTIVE.was_the_sender(late, 0.0)


def _rows(done: list[tuple[float, int]]) -> Rows:
    """A request every millisecond: how long it took (0: not yet), and its outcome."""
    rows = Rows.alone(len(done))
    for index, (waited_s, outcome) in enumerate(done):
        rows.intended_s[index] = index / 1000
        rows.done_s[index] = index / 1000 + waited_s if waited_s else 0.0
        rows.outcome[index] = outcome
    rows.count = len(done)
    return rows


@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 0.01, 0.049, 0.06, 0.2]), st.integers(0, 1)),
        min_size=1,
        max_size=300,
    ),
    st.floats(0, 0.4),
)
def test_what_is_given_up_could_not_have_held(done: list[tuple[float, int]], at_s: float) -> None:
    """Whatever becomes of those who still wait: if it is lost early it is lost at the end."""
    early = [(w, o) if w and n / 1000 + w <= at_s else (0.0, 0) for n, (w, o) in enumerate(done)]
    sent = [one for n, one in enumerate(early) if n / 1000 <= at_s]
    if not OBJECTIVE.is_lost([_rows(sent)], len(done), 0.0, at_s):
        return
    best = [
        (w, o) if w and n / 1000 + w <= at_s else (max(0.001, at_s - n / 1000), 0)
        for n, (w, o) in enumerate(done)
    ]
    kept = sum(o == 0 and w <= SLO_S for w, o in best)
    assert kept < 0.99 * len(done)


def test_a_run_is_lost_as_soon_as_it_has_clearly_failed_and_not_before() -> None:
    """Of 200 counted requests 10 are five times what may be missed."""
    rows = _rows([(0.2, 0)] * 11 + [(0.0, 0)] * 50)
    assert not OBJECTIVE.is_lost([rows], 200, 0.0, at_s=0.0595)  # the eleventh still may
    assert OBJECTIVE.is_lost([rows], 200, 0.0, at_s=0.0605)
    assert not OBJECTIVE.is_lost([rows], 200, 0.005, at_s=0.0605)  # five of them are warm-up
    assert OBJECTIVE.is_lost([_rows([(0.2, 0)] * 6)] * 2, 200, 0.0, at_s=0.0605)
