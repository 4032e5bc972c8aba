"""Logs: events with fields; text on a terminal, JSON lines elsewhere; on standard error."""

from __future__ import annotations

import logging
import sys
from typing import Any, Literal, TextIO

import orjson
import structlog
from structlog.tracebacks import ExceptionDictTransformer

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["auto", "text", "json"]


def configure(level: Level, form: Format, stream: TextIO | None = None) -> None:
    """Set how this process logs; ``stream`` None is standard error. Call it once, at the start."""
    out = sys.stderr if stream is None else stream
    terminal = out.isatty()
    text = form == "text" or (form == "auto" and terminal)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.StackInfoRenderer(),
            *(_text(colors=terminal) if text else _json()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=False,
    )


def _text(*, colors: bool) -> list[Any]:
    return [
        structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
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
    return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
