"""Logs: events with fields; text on a terminal, JSON lines elsewhere; on standard error."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Literal, TextIO

import orjson
import structlog
from structlog.tracebacks import ExceptionDictTransformer

# Longer text of a client's says no more, and it may send megabytes.
_MOST_LETTERS = 1000

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["auto", "text", "json"]


def configure(
    level: Level,
    form: Format,
    stream: TextIO | None = None,
    *,
    iso_time: bool = False,
    only: frozenset[str] | None = None,
) -> None:
    """Set how this process logs, from now on; ``stream`` None is standard error.

    With ``iso_time`` text has the date too, as JSON lines always do. ``only`` names the levels that
    are logged of those from ``level`` on; None means all.
    """
    out = sys.stderr if stream is None else stream
    terminal = out.isatty()
    text = form == "text" or (form == "auto" and terminal)
    structlog.configure(
        processors=[
            *([] if only is None else [_Only(only)]),
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.StackInfoRenderer(),
            *(_text(colors=terminal, iso_time=iso_time) if text else _json()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        # A line and its end in one write: other processes write to the same pipe, and where Python
        # does not buffer (PYTHONUNBUFFERED, as in many images of containers) theirs came between.
        logger_factory=structlog.WriteLoggerFactory(out),
        cache_logger_on_first_use=False,
    )


def cut(text: str) -> str:
    """A text that clients may have a hand in, as it may stand in the log."""
    return text if len(text) <= _MOST_LETTERS else f"{text[:_MOST_LETTERS]}..."


class _Only:
    """Drops events of other levels."""

    __slots__ = ("_levels",)

    def __init__(self, levels: frozenset[str]) -> None:
        self._levels = levels

    def __call__(
        self, _: Any, method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        level = {"exception": "error", "warn": "warning", "fatal": "critical"}.get(method, method)
        if level not in self._levels:
            raise structlog.DropEvent
        return event


def _text(*, colors: bool, iso_time: bool) -> list[Any]:
    return [
        structlog.processors.TimeStamper(fmt="iso" if iso_time else "%H:%M:%S", utc=iso_time),
        structlog.dev.ConsoleRenderer(
            colors=colors, exception_formatter=structlog.dev.plain_traceback
        ),
    ]


def _json() -> list[Any]:
    return [
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        # Without the values of locals: they are slow to write, and may be what a client sent.
        structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
        structlog.processors.JSONRenderer(serializer=_dump),
    ]


def _dump(event: dict[str, Any], **_: Any) -> str:
    try:
        return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:  # a file's name that is no text
        return json.dumps(event, default=str)
