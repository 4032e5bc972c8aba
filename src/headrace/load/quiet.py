"""Whether a server has done with what was sent before: pure.

What a client has given up a server may do all the same, and who comes next waits behind it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from headrace.load.arrivals import Times
from headrace.load.result import CONNECTION_REFUSED, Kind, Result
from headrace.load.rows import Rows

# So many times longer than alone a request may take, where the model takes longer than the
# objective: one machine is not always equally fast.
_TIMES = 2.0
# What fails sooner than this is not behind other work.
_AT_ONCE_S = 1.0


def limit_s(slo_s: float, alone: Result) -> float:
    """How soon a server that has nothing else to do answers a request.

    ``alone`` are requests one after the other, before anything else was sent.
    """
    ok = alone.is_kind(Kind.OK)
    took_s = (alone.done_s - alone.intended_s)[ok]
    return max(slo_s, _TIMES * float(np.median(took_s))) if took_s.size else slo_s


def is_quiet(result: Result, within_s: float) -> bool:
    """Whether one of the requests, sent one after the other, was answered so soon."""
    return _any(result.is_kind(Kind.OK), result.intended_s, result.done_s, within_s)


def is_quiet_already(senders: Sequence[Rows], within_s: float) -> bool:
    """The same of a run that goes on; of its last request all may not be noted yet."""
    for rows in senders:
        intended_s, _, done_s, outcome = rows.columns()
        ok = (done_s > 0) & (outcome == 0)
        if _any(ok[:-1], intended_s[:-1], done_s[:-1], within_s):
            return True
    return False


def is_hopeless(result: Result) -> bool:
    """Whether waiting is of no use: the server is gone, or fails whatever it is asked, at once.

    One that refuses for lack of room may still have work to do.
    """
    return _is_gone(result) or _ended_at_once(result, Kind.FAILED)


def unrest(result: Result) -> str:
    """Say what a server does that has not come to rest, by its last requests."""
    if _is_gone(result):
        return "the server went away"
    if _ended_at_once(result, Kind.FAILED, Kind.REFUSED):
        number = np.bincount(result.outcome[_tried(result)]).argmax()
        return f"the server answers nothing: {result.outcomes[number]}"
    return "the server is still busy with what was sent before"


def _tried(result: Result) -> NDArray[np.bool_]:
    return ~result.is_kind(Kind.NOT_SENT)


def _is_gone(result: Result) -> bool:
    last = result.outcome[_tried(result)][-1:]
    return any(result.outcomes[number] == CONNECTION_REFUSED for number in last)


def _ended_at_once(result: Result, *kinds: Kind) -> bool:
    """Whether all ended so, and soon."""
    tried = _tried(result)
    so = np.any([result.is_kind(one) for one in kinds], axis=0)
    soon = result.done_s - result.intended_s <= _AT_ONCE_S
    return bool(tried.any() and (so & soon)[tried].all())


def _any(ok: NDArray[np.bool_], intended_s: Times, done_s: Times, within_s: float) -> bool:
    return bool(np.any(ok & (done_s - intended_s <= within_s)))
