"""What one inference may ask for besides its inputs, written once for both clients."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np

from headrace.errors import InvalidInput, MalformedRequest


class OptionKeys(TypedDict, total=False):
    """The keyword arguments of ``infer``; the fields of ``Options``, for type checkers."""

    outputs: Sequence[str] | None
    version: int | str | None
    timeout_s: float | None
    priority: int | None
    request_id: str
    classification: int | None
    sequence_id: int | str | None
    sequence_start: bool
    sequence_end: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """One inference's options.

    Attributes:
        outputs: which outputs to answer with; None is all of them.
        version: the version to ask; None is the one the server prefers, the newest.
        timeout_s: how long the whole call may take; None is the client's own timeout.
        priority: 1 goes first, larger numbers later; None is in the middle.
        request_id: comes back with the result, and stands in the server's logs.
        classification: answer with so many best classes instead of the numbers.
        sequence_id: the sequence this request belongs to. Such a call is never sent twice.
        sequence_start: it is the first of its sequence.
        sequence_end: it is the last of its sequence.
    """

    outputs: Sequence[str] | None = None
    version: int | str | None = None
    timeout_s: float | None = None
    priority: int | None = None
    request_id: str = ""
    classification: int | None = None
    sequence_id: int | str | None = None
    sequence_start: bool = False
    sequence_end: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.outputs, str):
            raise InvalidInput(f"outputs is a list of names: [{self.outputs!r}], not a string")
        for name in ("priority", "classification", "sequence_id"):
            object.__setattr__(self, name, _whole(name, getattr(self, name)))
        for name in ("sequence_start", "sequence_end"):
            object.__setattr__(self, name, _flag(name, getattr(self, name)))
        if self.sequence_id is None and (self.sequence_start or self.sequence_end):
            raise MalformedRequest("sequence_start and sequence_end need a sequence_id")

    @property
    def parameters(self) -> dict[str, bool | int | str]:
        """The protocol's parameters of the request."""
        found: dict[str, bool | int | str] = {}
        if self.priority is not None:
            found["priority"] = self.priority
        if self.sequence_id is not None:
            found["sequence_id"] = self.sequence_id
            found["sequence_start"] = self.sequence_start
            found["sequence_end"] = self.sequence_end
        return found


def _whole(name: str, value: Any) -> int | str | None:
    """Numpy's whole numbers become Python's, which the protocols can write."""
    if value is None or (name == "sequence_id" and isinstance(value, str)):
        return value
    number: Any = None if isinstance(value, bool) else value  # True is 1 to Python
    try:
        return operator.index(number)
    except TypeError:
        kinds = "a whole number or text" if name == "sequence_id" else "a whole number"
        raise InvalidInput(f"{name} is {kinds}, not {value!r}") from None


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, (bool, np.bool_)):
        raise InvalidInput(f"{name} is True or False, not {value!r}")
    return bool(value)
