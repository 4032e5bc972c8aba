"""Protobuf's wire format in requests: what finds the raw tensors of a ModelInferRequest."""

from __future__ import annotations

from collections.abc import Iterator

from headrace.errors import MalformedRequest
from headrace.formats import wire
from headrace.formats.wire import varint

__all__ = ["RAW_INPUT_TAG", "fields", "varint"]

RAW_INPUT_TAG = 0x3A
"""Field 7 of ModelInferRequest, length-delimited."""


def fields(view: memoryview) -> Iterator[tuple[int, int, int, int]]:
    """Walk the top-level fields: tag, start, start of the data, end.

    Raises:
        MalformedRequest: the bytes are no message.
    """
    try:
        yield from wire.fields(view)
    except ValueError as error:
        raise MalformedRequest(f"the message is no ModelInferRequest: {error}") from error
