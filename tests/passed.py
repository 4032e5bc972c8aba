"""Requests that took as long as a test says."""

from __future__ import annotations

from typing import NamedTuple

from headrace.observe.phases import Run
from headrace.observe.requests import Requests


class Request(NamedTuple):
    """What is noted of one; it has not come to what is not said."""

    arrival_s: float
    received_s: float = 0.0
    decoded_s: float = 0.0
    run: Run | None = None
    answered_s: float = 0.0
    load_s: float = 0.0
    priority: int = 0


def run(start_s: float, end_s: float, assemble_s: float = 0.0, infer_s: float = 0.0) -> Run:
    """A batch of one request of one row."""
    return Run(start_s, assemble_s, infer_s, end_s, rows=1, requests=1)


def passed(requests: Requests, seconds: float, outcome: str = "ok", priority: int = 0) -> None:
    """Count one that was in a batch and has outputs, whatever then became of it."""
    one = Request(0.0, run=run(0.0, 0.0), answered_s=seconds, priority=priority)
    requests.ended(one, outcome, seconds)
