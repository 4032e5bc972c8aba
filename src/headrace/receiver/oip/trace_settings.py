"""Triton's trace extension: settings for all models and for one, checked and put in force.

Source: Triton's docs/protocol/extension_trace.md.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Mapping
from typing import Any

from headrace.errors import MalformedRequest, Unsupported
from headrace.receiver.tracing.plan import Plan, Sampler
from headrace.receiver.tracing.tracer import Tracer
from headrace.receiver.tracing.writer import Writer

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
# Where traces go when nobody has named a file.
_FILE = "trace.json"
_FILE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")
# Clients name files: this bounds how many there may be of them.
_MOST_FILES = 100

Values = dict[str, list[str]]


class TraceSettings:
    """Settings for all models, and for those that have some of their own; texts, as on the wire.

    A model that has some of its own is sampled by itself, others together.
    """

    def __init__(self, tracer: Tracer, writer: Writer) -> None:
        self._tracer = tracer
        self._writer = writer
        self._held: dict[str, Values] = {"": {}}  # by model; "" are those of all
        self._samplers: dict[str, Sampler] = {}
        self._generations: dict[str, int] = {}  # of file names

    def read(self, model: str = "") -> Values:
        """Every setting of a model, or of all; of ``trace_count`` what is left of it."""
        values = self._values(self._held, model)
        sampler = self._samplers.get(model) or self._samplers.get("")
        if sampler is not None:
            values["trace_count"] = [_count(sampler.left)]
        return values

    def change(self, asked: Mapping[str, Any], model: str = "") -> Values:
        """Change what is named, all of it or nothing; None or nothing clears a setting.

        The model must be known: models are what bounds this.

        Raises:
            MalformedRequest: a key or a value that is none.
            Unsupported: there is nowhere to write traces to.
        """
        new = {key: _check(key, value) for key, value in asked.items()}
        if not new:
            return self.read(model)
        held = {**self._held, model: _merged(self._held.get(model, {}), new)}
        held = {name: values for name, values in held.items() if values or not name}
        self._check_file(self._values(held, model), named=bool(new.get("trace_file")))
        self._number_files(held)
        self._held = held
        self._samplers = {name: self._sampler(name, model, new) for name in sorted(held)}
        self._tracer.put(self._samplers)
        return self.read(model)

    def _values(self, held: Mapping[str, Values], model: str) -> Values:
        return {**_START, **held[""], **held.get(model, {})}

    def _check_file(self, values: Values, *, named: bool) -> None:
        """See that traces could be written, before anything changes."""
        on = values["trace_level"] != ["OFF"]
        if not (on or named):
            return
        self._writer.check(_file(values))
        if on:
            self._writer.start()

    def _number_files(self, held: Mapping[str, Values]) -> None:
        """A file name that nobody used until now starts its file again."""
        used = {_file(self._values(self._held, name)) for name in self._held}
        for name in held:
            file = _file(self._values(held, name))
            if file in used:
                continue
            if file not in self._generations and len(self._generations) >= _MOST_FILES:
                raise Unsupported(
                    f"{_MOST_FILES} trace files have been named since the start: name one of them"
                )
            self._generations[file] = self._generations.get(file, 0) + 1

    def _sampler(self, name: str, changed: str, new: Mapping[str, Any]) -> Sampler:
        """The sampler there is, or another where something has changed for it."""
        own, values = self._held[name], self._values(self._held, name)
        old = self._samplers.get(name)
        plan = self._plan(values)
        concerned = name == changed or (not changed and "trace_count" not in own)
        recount = concerned and "trace_count" in new
        if old is not None and old.plan == plan and not recount:
            return old
        if old is not None and not recount:
            return Sampler(plan, old.left)
        if old is None and "trace_count" not in own and "" in self._samplers:
            return Sampler(plan, self._samplers[""].left)
        count = int(values["trace_count"][0])
        return Sampler(plan, None if count < 0 else count)

    def _plan(self, values: Values) -> Plan:
        levels, file = values["trace_level"], _file(values)
        return Plan(
            times="TIMESTAMPS" in levels,
            tensors="TENSORS" in levels,
            rate=int(values["trace_rate"][0]),
            log_frequency=int(values["log_frequency"][0]),
            file=file,
            generation=self._generations.get(file, 0),
        )


def _merged(held: Values, new: Mapping[str, list[str] | None]) -> Values:
    both = {**held, **new}
    return {key: value for key, value in both.items() if value is not None}


def _file(values: Values) -> str:
    return values["trace_file"][0] or _FILE


def _count(left: int | None) -> str:
    return "-1" if left is None else str(left)


def _check(key: str, value: Any) -> list[str] | None:
    if key not in _START:
        raise MalformedRequest(
            f"unknown trace setting {reprlib.repr(key)}; one of {', '.join(_START)}"
        )
    if value is None or value == []:
        return None
    texts = [str(v) for v in (value if isinstance(value, list) else [value])]
    if key == "trace_level":
        return _levels(texts)
    if len(texts) != 1:
        raise MalformedRequest(f"{key} takes one value, not {len(texts)}")
    if key in _LEAST:
        return [_number(key, texts[0])]
    if key == "trace_file":
        return [_file_name(texts[0])] if texts[0] else None
    if texts != _START[key]:
        raise Unsupported("trace_mode is always triton here: traces are files")
    return texts


def _levels(texts: list[str]) -> list[str]:
    for text in texts:
        if text not in _LEVELS:
            raise MalformedRequest(
                f"trace_level must be of {', '.join(_LEVELS)}, not {reprlib.repr(text)}"
            )
    found = [level for level in _LEVELS if level in texts]
    if "OFF" in found and len(found) > 1:
        raise MalformedRequest("trace_level OFF stands alone: leave it out to trace")
    return found


def _file_name(text: str) -> str:
    if not _FILE_NAME.fullmatch(text):
        raise MalformedRequest(
            "trace_file must be a file's name in server.trace_dir (letters, digits, . _ -, up to "
            f"100, no path), not {reprlib.repr(text)}"
        )
    return text


def _number(key: str, text: str) -> str:
    digits = text.removeprefix("-")
    fits = digits.isascii() and digits.isdigit() and len(digits) <= _MOST_DIGITS
    if not fits or int(text) < _LEAST[key]:
        raise MalformedRequest(
            f"{key} must be a whole number from {_LEAST[key]}, not {reprlib.repr(text)}"
        )
    return str(int(text))
