"""Which sequence a request belongs to: what its parameters or its headers say.

Both mean the same by an id: text, in which a number is its digits, and 0 is none.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any

from headrace.errors import MalformedRequest
from headrace.values import SequenceCall

ID_HEADER = b"headrace-sequence-id"
START_HEADER = b"headrace-sequence-start"
END_HEADER = b"headrace-sequence-end"
"""For protocols without parameters; over gRPC they are metadata."""

_NONE = frozenset({"", "0"})
_FLAGS = {b"": False, b"0": False, b"false": False, b"1": True, b"true": True}
# Triton's limit for an id that is text.
_ID_CHARACTERS = 128


def parameter_sequence(parameters: Mapping[str, Any]) -> SequenceCall | None:
    """Read ``sequence_id``, ``sequence_start`` and ``sequence_end``; no id, 0 and "" are none.

    Raises:
        MalformedRequest: the id is neither a number from 0 to 2**64 - 1 nor a short text, or a flag
            is not true or false.
    """
    identity = parameters.get("sequence_id")
    if identity is None:
        return None
    if isinstance(identity, int) and not isinstance(identity, bool) and 0 <= identity < 2**64:
        identity = str(identity)
    if not isinstance(identity, str) or len(identity) > _ID_CHARACTERS:
        raise _no_id(identity)
    if identity in _NONE:
        return None
    return SequenceCall(
        identity, _flag(parameters, "sequence_start"), _flag(parameters, "sequence_end")
    )


def read_headers(headers: Mapping[bytes, bytes]) -> SequenceCall | None:
    """Read the headers of a sequence; None when there is no id, or 0.

    Raises:
        MalformedRequest: the id is too long, or a flag is neither true nor false.
    """
    identity = _text(headers.get(ID_HEADER, b""))
    if identity in _NONE:
        return None
    if len(identity) > _ID_CHARACTERS:
        raise _no_id(identity)
    return SequenceCall(
        identity, _header_flag(headers, START_HEADER), _header_flag(headers, END_HEADER)
    )


def _text(header: bytes) -> str:
    """A header as text: UTF-8 as parameters are, or else Latin-1, which some clients write."""
    try:
        return header.decode()
    except UnicodeDecodeError:
        return header.decode("latin-1")


def _flag(parameters: Mapping[str, Any], name: str) -> bool:
    flag = parameters.get(name, False)
    if not isinstance(flag, bool):
        raise MalformedRequest(f"parameter {name} must be true or false, not {reprlib.repr(flag)}")
    return flag


def _header_flag(headers: Mapping[bytes, bytes], name: bytes) -> bool:
    value = headers.get(name, b"")
    flag = _FLAGS.get(value.lower())
    if flag is None:
        raise MalformedRequest(
            f"{name.decode()} must be true or false, not {reprlib.repr(value.decode('latin-1'))}"
        )
    return flag


def _no_id(identity: object) -> MalformedRequest:
    return MalformedRequest(
        "sequence_id must be a whole number from 0 to 2**64 - 1, or text of at most "
        f"{_ID_CHARACTERS} characters, not {reprlib.repr(identity)}"
    )
