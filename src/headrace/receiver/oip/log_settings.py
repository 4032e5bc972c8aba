"""Triton's logging extension: what the receiver logs, read and changed while it runs.

Source: Triton's docs/protocol/extension_logging.md.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any

from headrace.errors import MalformedRequest, Unsupported
from headrace.observe import logs

_FORMATS = ("default", "ISO8601")
_MOST_VERBOSE = 2**31


class LogSettings:
    """The settings in force; the engines and the supervisor keep their own."""

    def __init__(self, level: logs.Level, form: logs.Format, *, fixed: bool = False) -> None:
        self._form = form
        self._fixed = fixed  # for there are other receivers, which would not follow
        self._values: dict[str, Any] = {
            "log_file": "",
            "log_info": level in {"debug", "info"},
            "log_warning": level != "error",
            "log_error": True,
            "log_verbose_level": int(level == "debug"),
            "log_format": "default",
        }

    def read(self) -> dict[str, Any]:
        """Every setting, by the protocol's names."""
        return dict(self._values)

    def change(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Change what is named, all of it or nothing; None leaves a setting as it is.

        Raises:
            MalformedRequest: a key or a value that is none.
            Unsupported: another file, or one of several receivers is asked.
        """
        # A client may say "s" as Triton's document does, or not, as its server.
        named = {key.removesuffix("s"): value for key, value in asked.items()}
        new = {key: value for key, value in named.items() if value is not None}
        for key, value in named.items():
            if key not in self._values:
                known = ", ".join(self._values)
                raise MalformedRequest(f"unknown log setting {reprlib.repr(key)}; one of {known}")
            if value is not None:
                _check(key, value)
        if new and self._fixed:
            raise Unsupported(
                "of several receivers one would change what it logs: set server.log_level instead"
            )
        if new:
            self._values |= new
            self._apply()
        return self.read()

    def _apply(self) -> None:
        values = self._values
        wanted = {
            "debug": values["log_verbose_level"] > 0,
            "info": values["log_info"],
            "warning": values["log_warning"],
            "error": values["log_error"],
            "critical": values["log_error"],
        }
        logs.configure(
            "debug",
            self._form,
            iso_time=values["log_format"] == "ISO8601",
            only=frozenset(level for level, on in wanted.items() if on),
        )


def _check(key: str, value: Any) -> None:
    if key == "log_file":
        if value != "":
            raise Unsupported("log_file cannot be changed: logs go to standard error")
    elif key == "log_format":
        if value not in _FORMATS:
            raise MalformedRequest(
                f"log_format must be default or ISO8601, not {reprlib.repr(value)}"
            )
    elif key == "log_verbose_level":
        if type(value) is not int or not 0 <= value < _MOST_VERBOSE:
            raise MalformedRequest(
                f"log_verbose_level must be a whole number, not {reprlib.repr(value)}"
            )
    elif not isinstance(value, bool):
        raise MalformedRequest(f"{key} must be true or false, not {reprlib.repr(value)}")
