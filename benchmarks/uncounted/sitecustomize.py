"""On the path of a server that is to count nothing: Python imports this at its start.

It takes the work out and leaves the calls, whose little is still counted as the server's own.
"""

from __future__ import annotations

from headrace.observe.histogram import Histogram
from headrace.observe.requests import Requests
from headrace.observe.runs import Runs
from headrace.observe.slowest import Slowest


def _nothing(*_: object) -> None:
    """Count nothing."""


def _never(*_: object) -> bool:
    return False


for _kind, _name, _empty in (
    (Histogram, "observe", _nothing),
    (Runs, "assembled", _nothing),
    (Runs, "ended", _nothing),
    (Requests, "ended", _nothing),
    (Slowest, "wants", _never),
):
    setattr(_kind, _name, _empty)
