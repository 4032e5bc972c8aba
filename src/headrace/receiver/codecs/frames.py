"""The messages of a gRPC stream out of its bytes, however these were split and joined on the way.

Source: grpc/doc/PROTOCOL-HTTP2.md, Length-Prefixed-Message. Pure: bytes in, frames out. No more is
kept than one frame that is not whole yet, and none is begun that is larger than the limit.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from headrace.errors import BodyTooLarge, MalformedRequest

_PREFIX = struct.Struct(">BI")


class Frame(NamedTuple):
    """One message, and whether it is compressed."""

    compressed: bool
    message: bytes


class FrameDecoder:
    """Takes chunks and gives frames; ``finish`` says whether the last one was whole."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._held = bytearray()
        self._wanted_bytes = _PREFIX.size

    def feed(self, chunk: bytes) -> Iterator[Frame]:
        """Take a chunk, give the frames that it makes whole.

        Raises:
            MalformedRequest: a flag that is neither 0 nor 1.
            BodyTooLarge: a frame announces more than the limit.
        """
        self._held += chunk
        while len(self._held) >= self._wanted_bytes:
            compressed, size = self._head()
            end = _PREFIX.size + size
            if len(self._held) < end:
                self._wanted_bytes = end
                return
            message = bytes(memoryview(self._held)[_PREFIX.size : end])
            del self._held[:end]
            self._wanted_bytes = _PREFIX.size
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
        flag, size = _PREFIX.unpack_from(self._held)
        if flag > 1:
            raise MalformedRequest(f"the gRPC frame's compressed flag is {flag}, not 0 or 1")
        if size > self._limit_bytes:
            raise BodyTooLarge(
                f"a message of {size} bytes is larger than {self._limit_bytes}: send less at once, "
                "or raise server.max_body_mib"
            )
        return bool(flag), size
