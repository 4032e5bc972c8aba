"""The messages of a gRPC stream out of its bytes, however these were split and joined on the way.

Source: grpc/doc/PROTOCOL-HTTP2.md, Length-Prefixed-Message. Pure: bytes in, frames out. No more is
kept than one frame that is not whole yet, and none is begun that is larger than the limit.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from headrace.errors import MalformedRequest
from headrace.receiver.codecs.limits import too_large

PREFIX = struct.Struct(">BI")
"""Before every message: whether it is compressed, and its size in bytes."""


def read_prefix(data: bytes | bytearray | memoryview) -> tuple[bool, int]:
    """Read the prefix at the start: whether the message is compressed, and its size in bytes.

    Raises:
        MalformedRequest: a flag that is neither 0 nor 1.
    """
    compressed, size = PREFIX.unpack_from(data)
    if compressed > 1:
        raise MalformedRequest(f"the gRPC frame's compressed flag is {compressed}, not 0 or 1")
    return compressed == 1, size


class Frame(NamedTuple):
    """One message, and whether it is compressed."""

    compressed: bool
    message: bytes


class FrameDecoder:
    """Takes chunks and gives frames; ``finish`` says whether the last one was whole."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._held = bytearray()
        self._wanted_bytes = PREFIX.size

    def feed(self, chunk: bytes) -> Iterator[Frame]:
        """Take a chunk, give the frames that it makes whole.

        Raises:
            MalformedRequest: a flag that is neither 0 nor 1.
            BodyTooLarge: a frame announces more than the limit.
        """
        self._held += chunk
        while len(self._held) >= self._wanted_bytes:
            compressed, size = self._head()
            end = PREFIX.size + size
            if len(self._held) < end:
                self._wanted_bytes = end
                return
            message = bytes(memoryview(self._held)[PREFIX.size : end])
            del self._held[:end]
            self._wanted_bytes = PREFIX.size
            yield Frame(compressed, message)

    def finish(self) -> None:
        """The stream has ended.

        Raises:
            MalformedRequest: in the middle of a frame.
        """
        if self._held:
            raise MalformedRequest(
                f"the stream ended inside a gRPC frame, after {len(self._held)} bytes of it"
            )

    def _head(self) -> tuple[bool, int]:
        compressed, size = read_prefix(self._held)
        if size > self._limit_bytes:
            limit_bytes = self._limit_bytes
            raise too_large(f"a message of {size} bytes is larger than {limit_bytes}", limit_bytes)
        return compressed, size
