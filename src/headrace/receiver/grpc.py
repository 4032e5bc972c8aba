"""gRPC over ASGI: the five-byte prefix, ``grpc-timeout``, message encodings, trailers.

Source: grpc/doc/PROTOCOL-HTTP2.md and compression.md. Nothing of the messages themselves.
"""

from __future__ import annotations

import math
import re
from typing import Any
from urllib.parse import quote

from headrace.errors import HeadraceError, InvalidTimeout, MalformedRequest, UnsupportedEncoding
from headrace.receiver.codecs import compression
from headrace.receiver.codecs.compression import Bytes
from headrace.receiver.codecs.frames import PREFIX, read_prefix
from headrace.receiver.exchange import Headers
from headrace.statuses import GrpcStatus

CONTENT_TYPE = b"application/grpc"
_TIMEOUT = re.compile(rb"([0-9]{1,8})([HMSmun])")
_UNITS_S = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
# Printable ASCII but the percent sign stands for itself in grpc-message.
_SAFE = "".join(chr(code) for code in range(0x20, 0x7F) if code != ord("%"))
_CODINGS = frozenset({b"gzip", b"deflate"})
MESSAGE_LIMIT = 1024
"""The longest message of an error, in UTF-8: TF Serving's; clients refuse longer header fields."""

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


def unframe(body: bytes | memoryview) -> memoryview:
    """Take the one message out of a unary request's body; its first byte says if it is compressed.

    Raises:
        MalformedRequest: the frame is cut off, too long, or its flag is unknown.
    """
    if len(body) < PREFIX.size:
        raise MalformedRequest("the gRPC frame is cut off: no 5-byte prefix")
    _, size = read_prefix(body)
    if size != len(body) - PREFIX.size:
        raise MalformedRequest(
            f"the gRPC frame announces {size} bytes and {len(body) - PREFIX.size} came: a unary "
            "request is exactly one whole message"
        )
    return memoryview(body)[PREFIX.size :]


async def decompress(message: Bytes, encoding: bytes | None, limit_bytes: int) -> bytes:
    """Undo the encoding of a message whose frame says that it is compressed.

    Raises:
        MalformedRequest: nothing says how, or the data is broken.
        UnsupportedEncoding: its message encoding is not gzip or deflate.
        BodyTooLarge: it is larger than the limit once inflated.
    """
    if encoding is None or encoding == b"identity":
        raise MalformedRequest(
            "the gRPC frame says it is compressed, grpc-encoding does not say how"
        )
    if encoding not in _CODINGS:
        raise UnsupportedEncoding(
            f"grpc-encoding {encoding.decode('latin-1') or '(none)'} is not spoken: use identity, "
            "gzip or deflate"
        )
    return await compression.decompress(message, encoding.decode(), limit_bytes)


def answer_coding(headers: Headers, encoding: bytes) -> bytes | None:
    """How to compress what answers a client that has compressed: its way, if it reads that too."""
    if encoding not in _CODINGS:
        return None
    accepted = headers.get(b"grpc-accept-encoding", b"").split(b",")
    return encoding if encoding in map(bytes.strip, accepted) else None


async def pack(message: bytes, coding: bytes) -> bytes:
    """Frame a message, compressed if it is worth that."""
    if len(message) < compression.WORTH_BYTES:
        return frame(message)
    packed = await compression.compress(message, coding.decode())
    return PREFIX.pack(1, len(packed)) + packed


def start(coding: bytes | None) -> dict[str, Any]:
    """The response start of an answer whose messages may be compressed."""
    if coding is None:
        return START
    return {**START, "headers": [*START["headers"], (b"grpc-encoding", coding)]}


def frame(message: bytes) -> bytes:
    """Put the prefix before a message."""
    return PREFIX.pack(0, len(message)) + message


def _cut(message: str) -> str:
    """Cut a long message as TensorFlow Serving does: its bytes, of which each is three at most."""
    data = message.encode(errors="replace")
    if len(data) <= MESSAGE_LIMIT:
        return message
    return f"{data[:MESSAGE_LIMIT].decode(errors='ignore')}...TRUNCATED"


def refusal(error: HeadraceError) -> dict[str, Any]:
    """The response start of a trailers-only answer that carries an error."""
    headers = [(b"content-type", CONTENT_TYPE), *_status(error)]
    return {"type": "http.response.start", "status": 200, "headers": headers}


def trailers(error: HeadraceError | None) -> dict[str, Any]:
    """The end of an answer that has begun."""
    if error is None:
        return OK_TRAILERS
    return {**OK_TRAILERS, "headers": _status(error)}


def _status(error: HeadraceError) -> list[tuple[bytes, bytes]]:
    headers = [
        (b"grpc-status", str(int(error.grpc_status)).encode()),
        (b"grpc-message", quote(_cut(error.message), _SAFE, errors="replace").encode()),
        (b"headrace-error", error.code.encode()),
    ]
    if error.grpc_status is GrpcStatus.UNIMPLEMENTED:
        headers.append((b"grpc-accept-encoding", b"identity,gzip,deflate"))
    if error.retry_after_s is not None:  # gRPC's Retry-After (grpc/proposal A6)
        pushback_ms = max(0, math.ceil(error.retry_after_s * 1e3))
        headers.append((b"grpc-retry-pushback-ms", b"%d" % pushback_ms))
    return headers
