"""HTTP/2 frames, and requests written as the frames that carry them.

Source: RFC 9113 and grpc/doc/PROTOCOL-HTTP2.md.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from headrace.errors import SettingsError
from headrace.load import hpack
from headrace.load.headers import check_headers, unless_given
from headrace.load.plan import Message, Target

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    0, 1, 3, 4, 6, 7, 8, 9,
)  # fmt: skip
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
TABLE_SIZE, ENABLE_PUSH, MAX_STREAMS, INITIAL_WINDOW, MAX_FRAME = 1, 2, 3, 4, 5
CANCEL = 8
_ERRORS = (
    "NO_ERROR PROTOCOL_ERROR INTERNAL_ERROR FLOW_CONTROL_ERROR SETTINGS_TIMEOUT STREAM_CLOSED "
    "FRAME_SIZE_ERROR REFUSED_STREAM CANCEL COMPRESSION_ERROR CONNECT_ERROR ENHANCE_YOUR_CALM "
    "INADEQUATE_SECURITY HTTP_1_1_REQUIRED"
)

# Every receiver takes frames of this size; asking for answers in larger ones gains nothing on a
# local wire.
FRAME_BYTES = 16384
# To a server that takes larger ones gRPC's own clients send up to so much at once.
LARGEST_FRAME_BYTES = 2**17
WINDOW_BYTES = 65535
LARGEST_WINDOW_BYTES = 2**31 - 1
LAST_STREAM = 2**31 - 1

FRAME = struct.Struct(">HBBBI")  # length in 16 and 8 bits, type, flags, stream
U32 = struct.Struct(">I")
SETTING = struct.Struct(">HI")
_STREAM_AT = FRAME.size - U32.size


class Encoded(NamedTuple):
    """A message to send on many streams.

    ``frames`` are all of a request, or only its headers (the first ``head_bytes`` of them) where
    ``data`` needs more than one frame. The stream's number goes to ``places`` in them.
    """

    frames: bytes
    places: tuple[int, ...]
    head_bytes: int
    data: bytes


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Write one frame."""
    size = len(payload)
    return FRAME.pack(size >> 8, size & 0xFF, kind, flags, stream) + payload


def encode(target: Target) -> tuple[Encoded, ...]:
    """Encode the target's messages: pseudo-headers, headers, the five-byte prefix, the frames.

    Raises:
        SettingsError: the headers are too large, or one cannot be sent.
    """
    check_headers(target.headers, http2=True)
    return tuple(_encode(target, message) for message in target.messages)


def _encode(target: Target, message: Message) -> Encoded:
    given = {name.lower(): value for name, value in target.headers}
    ours = (("content-type", "application/grpc"), *message.headers)
    block = hpack.encode(
        [
            (":method", target.method),
            (":scheme", "http"),
            (":path", target.path),
            (":authority", given.get("host", target.address)),
            ("te", "trailers"),
            *(
                (name.lower(), value)
                for name, value in (*target.headers, *unless_given(ours, target.headers))
                if name.lower() != "host"
            ),
        ]
    )
    if len(block) > FRAME_BYTES:
        raise SettingsError(
            f"{len(block):,} bytes of headers are more than the {FRAME_BYTES:,} that are sent with "
            "a gRPC request: give fewer or shorter ones (--header)"
        )
    head = frame(HEADERS, END_HEADERS, 0, block)
    data = b"\x00" + U32.pack(len(message.body)) + message.body
    if len(data) > FRAME_BYTES:
        return Encoded(head, (_STREAM_AT,), len(head), data)
    whole = head + frame(DATA, END_STREAM, 0, data)
    return Encoded(whole, (_STREAM_AT, len(head) + _STREAM_AT), len(head), data)


def unpad(flags: int, payload: bytes) -> bytes:
    """Take off the padding, and the priority nobody uses."""
    start, end = 0, len(payload)
    if flags & PADDED:
        start, end = 1, end - payload[0]
    if flags & PRIORITY:
        start += 5
    return payload[start:end]


def error_name(payload: bytes) -> str:
    """Name the error of a RST_STREAM."""
    (code,) = U32.unpack(payload)
    return dict(enumerate(_ERRORS.split())).get(code, str(code))
