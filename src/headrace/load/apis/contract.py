"""What there is to know of a protocol to ask a model through it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from headrace.load.plan import Message, Protocol
from headrace.load.result import Answer
from headrace.values import Array, TensorSpec

Inputs = Mapping[str, Array]
Outputs = dict[str, Array]
Specs = tuple[TensorSpec, ...]
"""What a model takes; a dimension that may be of any size is None."""

UNNAMED = "output"
"""What an answer's only output is called where the protocol does not name it."""


@dataclass(frozen=True, slots=True)
class Question:
    """How a model is asked what it takes."""

    protocol: Protocol
    method: str
    path: Callable[[str], str]
    message: Callable[[str], Message]
    read: Callable[[Answer], Specs]


@dataclass(frozen=True, slots=True)
class Api:
    """One way to ask a model: how it travels, where it goes, how it is written and read.

    ``questions`` are the ways to find out what a model takes, to be tried in order.
    """

    protocol: Protocol
    path: Callable[[str], str]
    encode: Callable[[str, Inputs], Message]
    decode: Callable[[Answer], Outputs]
    questions: tuple[Question, ...]


def free(size: int) -> int | None:
    """Read a dimension as protocols write it: negative is any size."""
    return None if size < 0 else size
