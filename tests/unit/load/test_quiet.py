"""Whether a server has done with what was sent before."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from headrace.load import quiet
from headrace.load.result import (
    CONNECTION_LOST,
    CONNECTION_REFUSED,
    NOT_SENT,
    OK,
    TIMEOUT,
    Outcome,
    Result,
)
from headrace.load.rows import Rows


def _result(*took_s: float, outcome: int = 0) -> Result:
    """Requests one after the other, each a second after the one before."""
    at = np.arange(len(took_s), dtype=np.float64)
    ended = np.full(at.size, outcome, np.uint16)
    return Result(at, at, at + took_s, ended, (OK, TIMEOUT), {}, 0.0, 9.0, 0.0, 1)


@pytest.mark.parametrize(
    ("alone", "limit_s"),
    [
        (_result(0.01, 0.5, 0.01), 0.1),
        (_result(0.2, 0.3, 9.0), 0.6),  # longer than the objective, which no rate will hold
        (_result(9.0, outcome=1), 0.1),
        (_result(), 0.1),
    ],
)
def test_a_request_is_waited_for_as_long_as_the_objective_or_twice_what_one_takes(
    alone: Result, limit_s: float
) -> None:
    assert quiet.limit_s(0.1, alone) == pytest.approx(limit_s)


def test_one_answer_in_time_shows_that_nothing_else_is_to_be_done() -> None:
    assert quiet.is_quiet(_result(9.0, 0.1), 0.2)
    assert not quiet.is_quiet(_result(9.0, 0.3), 0.2)
    assert not quiet.is_quiet(_result(0.1, outcome=1), 0.2)
    assert not quiet.is_quiet(_result(), 0.2)


def test_of_a_run_that_goes_on_all_but_the_last_request_are_looked_at() -> None:
    rows = Rows.alone(5)
    assert not quiet.is_quiet_already([rows], 0.2)
    for index, (took_s, outcome) in enumerate([(9.0, 0), (0.1, 1), (0.1, 0)]):
        rows.intended_s[index] = float(index)
        rows.done_s[index] = index + took_s
        rows.outcome[index] = outcome
        rows.count = index + 1
    assert not quiet.is_quiet_already([rows], 0.2)
    rows.count = 4
    assert quiet.is_quiet_already([rows], 0.2)


_ERROR, _FULL = Outcome("500 Internal Server Error"), Outcome("503 Service Unavailable")
_BUSY = "the server is still busy with what was sent before"


@pytest.mark.parametrize(
    ("ended", "took_s", "hopeless", "words"),
    [
        ((OK,), 9.0, False, _BUSY),
        ((TIMEOUT, NOT_SENT), 9.0, False, _BUSY),
        ((TIMEOUT, _ERROR), 0.1, False, _BUSY),
        ((_ERROR,), 9.0, False, _BUSY),
        ((_ERROR, _ERROR, CONNECTION_LOST, NOT_SENT), 0.1, True, f"answers nothing: {_ERROR}"),
        ((_FULL, _FULL, _ERROR), 0.1, False, f"answers nothing: {_FULL}"),  # has it work to do?
        ((OK, CONNECTION_LOST, CONNECTION_REFUSED, NOT_SENT), 0.1, True, "the server went away"),
        ((CONNECTION_REFUSED, OK), 0.5, False, _BUSY),  # it came back
        ((NOT_SENT,), 0.0, False, _BUSY),
    ],
)
def test_a_server_that_is_gone_or_only_fails_is_not_waited_for_and_not_called_busy(
    ended: tuple[Outcome, ...], took_s: float, hopeless: bool, words: str
) -> None:
    outcomes = (*dict.fromkeys((OK, *ended)),)
    result = replace(
        _result(*[took_s] * len(ended)),
        outcome=np.array([outcomes.index(one) for one in ended], np.uint16),
        outcomes=outcomes,
    )
    assert quiet.is_hopeless(result) is hopeless
    assert quiet.unrest(result).endswith(words)
