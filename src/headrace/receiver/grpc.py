"""Unary gRPC over ASGI: the five-byte prefix, ``grpc-timeout``, message encodings, trailers.

Source: grpc/doc/PROTOCOL-HTTP2.md and compression.md. Nothing of the messages themselves.
"""

from __future__ import annotations

import math
import re
import struct
import zlib
from typing import Any
from urllib.parse import quote

from headrace.errors import (
    BodyTooLarge,
    GrpcStatus,
    HeadraceError,
    InvalidTimeout,
    MalformedRequest,
    UnsupportedEncoding,
)

CONTENT_TYPE = b"application/grpc"
_PREFIX = struct.Struct(">BI")
_TIMEOUT = re.compile(rb"([0-9]{1,8})([HMSmun])")
_UNITS_S = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
# Printable ASCII but the percent sign stands for itself in grpc-message.
_SAFE = "".join(chr(code) for code in range(0x20, 0x7F) if code != ord("%"))
MESSAGE_LIMIT = 1024
"""The longest message of an error: TF Serving's; clients refuse longer header fields."""

START: dict[str, Any] = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", CONTENT_TYPE)],
    "trailers": True,
}
OK_TRAILERS: dict[str, Any] = {
    "type": "http.response.trailers",
    "headers": [(b"grpc-status", b"0")],
    "more_trailers": False,
}


def is_grpc(content_type: bytes) -> bool:
    """Whether this is gRPC itself: gRPC-Web, whose name begins alike, is framed otherwise."""
    return content_type == CONTENT_TYPE or content_type.startswith(
        (b"application/grpc+", b"application/grpc;")
    )


def read_timeout(value: bytes) -> float:
    """Read a ``grpc-timeout`` header as seconds.

    Raises:
        InvalidTimeout: it is not one to eight digits and a unit.
    """
    match = _TIMEOUT.fullmatch(value)
    if match is None:
        raise InvalidTimeout(
            f"grpc-timeout {value.decode('latin-1')!r} is not 1 to 8 digits and one of H M S m u n"
        )
    return int(match[1]) * _UNITS_S[match[2]]


def unframe(body: bytes | memoryview, encoding: bytes, limit_bytes: int) -> bytes | memoryview:
    """Take the one message out of a unary request's body.

    Raises:
        MalformedRequest: the frame is cut off, too long, or its compression is broken.
        UnsupportedEncoding: its message encoding is not gzip or deflate.
        BodyTooLarge: it is larger than the limit once inflated.
    """
    if len(body) < _PREFIX.size:
        raise MalformedRequest("the gRPC frame is cut off: no 5-byte prefix")
    compressed, size = _PREFIX.unpack_from(body)
    if compressed > 1:
        raise MalformedRequest(f"the gRPC frame's compressed flag is {compressed}, not 0 or 1")
    if size != len(body) - _PREFIX.size:
        raise MalformedRequest(
            f"the gRPC frame announces {size} bytes and {len(body) - _PREFIX.size} came: a unary "
            "request is exactly one whole message"
        )
    message = memoryview(body)[_PREFIX.size :]
    if not compressed:
        return message
    if encoding == b"identity":
        raise MalformedRequest(
            "the gRPC frame says it is compressed, grpc-encoding does not say how"
        )
    if encoding not in {b"gzip", b"deflate"}:
        raise UnsupportedEncoding(
            f"grpc-encoding {encoding.decode('latin-1') or '(none)'} is not spoken: use identity, "
            "gzip or deflate"
        )
    return inflate(message, encoding, limit_bytes)


def inflate(data: bytes | memoryview, encoding: bytes, limit_bytes: int) -> bytes:
    """Decompress gzip or deflate, never more than the limit.

    Raises:
        MalformedRequest: the data is broken or cut off.
        BodyTooLarge: it is larger than the limit.
    """
    inflater = zlib.decompressobj(wbits=31 if encoding == b"gzip" else 15)
    try:
        plain = inflater.decompress(data, limit_bytes + 1)
    except zlib.error as error:
        raise MalformedRequest(f"the {encoding.decode()} data is broken: {error}") from error
    if len(plain) > limit_bytes:
        raise BodyTooLarge(f"the body inflates to more than the limit of {limit_bytes} bytes")
    if not inflater.eof:
        raise MalformedRequest(f"the {encoding.decode()} data is cut off")
    if inflater.unused_data:
        raise MalformedRequest(f"bytes follow the end of the {encoding.decode()} data")
    return plain


def frame(message: bytes) -> bytes:
    """Put the prefix before a message."""
    return _PREFIX.pack(0, len(message)) + message


def _cut(message: str) -> str:
    """Cut a long message as TensorFlow Serving does."""
    if len(message) <= MESSAGE_LIMIT:
        return message
    return f"{message[:MESSAGE_LIMIT]}...TRUNCATED"


def refusal(error: HeadraceError) -> dict[str, Any]:
    """The response start of a trailers-only answer that carries an error."""
    headers = [
        (b"content-type", CONTENT_TYPE),
        (b"grpc-status", str(int(error.grpc_status)).encode()),
        (b"grpc-message", quote(_cut(error.message), _SAFE, errors="replace").encode()),
        (b"headrace-error", error.code.encode()),
    ]
    if error.grpc_status is GrpcStatus.UNIMPLEMENTED:
        headers.append((b"grpc-accept-encoding", b"identity,gzip,deflate"))
    if error.retry_after_s is not None:  # gRPC's Retry-After (grpc/proposal A6)
        pushback_ms = max(0, math.ceil(error.retry_after_s * 1e3))
        headers.append((b"grpc-retry-pushback-ms", b"%d" % pushback_ms))
    return {"type": "http.response.start", "status": 200, "headers": headers}
