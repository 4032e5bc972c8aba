"""What becomes of an engine that has lost its GPU, as after a fault in a kernel."""

from __future__ import annotations

import os
from typing import NoReturn

import structlog

_log = structlog.get_logger("headrace.engine")

_STATUS = 70  # EX_SOFTWARE, of sysexits.h


def end(device: str, error: Exception) -> NoReturn:
    """End the process: every call after the fault would fail. The supervisor starts another."""
    _log.error("gpu_lost", device=device, reason=str(error)[:500])
    os._exit(_STATUS)
