"""Requests that took as long as a test says."""

from __future__ import annotations

from headrace.observe.phases import Run
from headrace.observe.requests import Requests

_RUN = Run(start_s=0.0, assemble_s=0.0, infer_s=0.0, end_s=0.0, rows=1, requests=1)


def passed(requests: Requests, seconds: float, outcome: str = "ok", priority: int = 0) -> None:
    """Count one that was in a batch and has outputs, whatever then became of it."""
    requests.ended(priority, outcome, 0.0, 0.0, 0.0, 0.0, _RUN, seconds, seconds)
