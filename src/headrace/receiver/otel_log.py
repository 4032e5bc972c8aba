"""What OpenTelemetry's libraries say, among our own lines; not what they say of clients' headers.

A collector that is away is told of again and again, and a client may send as many headers that
cannot be read as it likes: each sentence is told once in a while, and those of headers never.
"""

from __future__ import annotations

import logging

import structlog

_LIBRARY, _OF_HEADERS = "opentelemetry", "opentelemetry.trace"
_EVERY_S = 60.0


def hear() -> None:
    """Have what they say logged as our events are, from now on; once in a process."""
    logging.getLogger(_LIBRARY).addHandler(_Teller())
    logging.getLogger(_OF_HEADERS).setLevel(logging.CRITICAL)


class _Teller(logging.Handler):
    """Tells of each place in the libraries that says something once in ``_EVERY_S``."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._told_s: dict[tuple[str, int], float] = {}
        self._log = structlog.get_logger("headrace.receiver")

    def emit(self, record: logging.LogRecord) -> None:
        place = (record.pathname, record.lineno)
        if record.created - self._told_s.get(place, 0.0) < _EVERY_S:
            return
        self._told_s[place] = record.created
        self._log.log(
            record.levelno, _LIBRARY, says=record.getMessage(), exc_info=record.exc_info or None
        )
