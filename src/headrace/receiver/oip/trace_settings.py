"""Triton's trace extension: the settings are kept, traces are not written.

Source: Triton's docs/protocol/extension_trace.md. A level other than OFF is refused, so nobody
waits for traces that never come.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any

from headrace.errors import MalformedRequest, Unsupported

_LEVELS = ("OFF", "TIMESTAMPS", "TENSORS")
_LEAST = {"trace_rate": 1, "trace_count": -1, "log_frequency": 0}
_START: dict[str, list[str]] = {
    "trace_file": [""],
    "trace_level": ["OFF"],
    "trace_rate": ["1000"],
    "trace_count": ["-1"],
    "log_frequency": ["0"],
    "trace_mode": ["triton"],
}
_MOST_DIGITS = 10

Values = dict[str, list[str]]


class TraceSettings:
    """Settings for all models, and for those that have some of their own; texts, as on the wire."""

    def __init__(self) -> None:
        self._global: Values = {}
        self._models: dict[str, Values] = {}

    def read(self, model: str = "") -> Values:
        """Every setting of a model, or of all."""
        return {**_START, **self._global, **self._models.get(model, {})}

    def change(self, asked: Mapping[str, Any], model: str = "") -> Values:
        """Change what is named, all of it or nothing; None or nothing clears a setting.

        The model must be known: models are what bounds this.

        Raises:
            MalformedRequest: a key or a value that is none.
            Unsupported: it would turn tracing on.
        """
        new = {key: _check(key, value) for key, value in asked.items()}
        held = self._models.setdefault(model, {}) if model else self._global
        for key, value in new.items():
            if value is None:
                held.pop(key, None)
            else:
                held[key] = value
        return self.read(model)


def _check(key: str, value: Any) -> list[str] | None:
    if key not in _START:
        raise MalformedRequest(
            f"unknown trace setting {reprlib.repr(key)}; one of {', '.join(_START)}"
        )
    if value is None or value == []:
        return None
    texts = [str(v) for v in (value if isinstance(value, list) else [value])]
    if key == "trace_level":
        _check_levels(texts)
        return ["OFF"]
    if len(texts) != 1:
        raise MalformedRequest(f"{key} takes one value, not {len(texts)}")
    if key in _LEAST:
        return [_number(key, texts[0])]
    if texts != _START[key]:
        raise Unsupported(
            f"{key} cannot be changed: traces are not written here; /metrics has the time of "
            "every phase"
        )
    return texts


def _check_levels(texts: list[str]) -> None:
    for text in texts:
        if text not in _LEVELS:
            raise MalformedRequest(
                f"trace_level must be of {', '.join(_LEVELS)}, not {reprlib.repr(text)}"
            )
    if any(text != "OFF" for text in texts):
        raise Unsupported(
            "traces are not written here, so trace_level stays OFF; /metrics has the time of "
            "every phase"
        )


def _number(key: str, text: str) -> str:
    digits = text.removeprefix("-")
    fits = digits.isascii() and digits.isdigit() and len(digits) <= _MOST_DIGITS
    if not fits or int(text) < _LEAST[key]:
        raise MalformedRequest(
            f"{key} must be a whole number from {_LEAST[key]}, not {reprlib.repr(text)}"
        )
    return str(int(text))
