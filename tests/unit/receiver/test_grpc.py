"""gRPC's framing: prefixes, timeouts, encodings, and refusals in headers."""

from __future__ import annotations

import gzip
import zlib
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import (
    HeadraceError,
    InvalidTimeout,
    MalformedRequest,
    ModelNotFound,
    QueueFull,
    UnsupportedEncoding,
)
from headrace.receiver.grpc import MESSAGE_LIMIT, decompress, frame, read_timeout, refusal, unframe

LIMIT = 1000


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"2H", 7200),
        (b"3M", 180),
        (b"4S", 4),
        (b"250m", 0.25),
        (b"250u", 250e-6),
        (b"99999999n", 0.099999999),
        (b"0m", 0),
        (b"00000001S", 1),
    ],
)
def test_timeouts_are_digits_and_a_unit(value: bytes, seconds: float) -> None:
    assert read_timeout(value) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"5",
        b"S",
        b"5s",
        b"123456789S",
        b"-1S",
        b"1.5S",
        b" 1S",
        b"1S ",
        b"1S\n",
        b"\xff",
        b"1\xb2S",
    ],
)
def test_other_timeouts_are_refused(value: bytes) -> None:
    with pytest.raises(InvalidTimeout, match="is not 1 to 8 digits and one of H M S m u n"):
        read_timeout(value)


@given(st.binary(max_size=100))
def test_a_framed_message_comes_out_of_its_frame(message: bytes) -> None:
    assert bytes(unframe(frame(message))) == message


async def test_a_compressed_message_comes_out_of_its_frame() -> None:
    for encoding, packed in (
        (b"gzip", gzip.compress(b"message", mtime=0)),
        (b"deflate", zlib.compress(b"message")),
    ):
        message = unframe(b"\x01" + frame(packed)[1:])
        assert await decompress(message, encoding, LIMIT) == b"message"


@pytest.mark.parametrize(
    ("body", "encoding", "error", "message"),
    [
        (b"", b"identity", MalformedRequest, "no 5-byte prefix"),
        (b"\0\0\0\0", b"identity", MalformedRequest, "no 5-byte prefix"),
        (b"\0\0\0\0\x02a", b"identity", MalformedRequest, "announces 2 bytes and 1 came"),
        (frame(b"a") * 2, b"identity", MalformedRequest, "announces 1 bytes and 7 came"),
        (b"\x02\0\0\0\0", b"identity", MalformedRequest, "flag is 2, not 0 or 1"),
        (b"\x01\0\0\0\0", b"identity", MalformedRequest, "does not say how"),
        (b"\x01\0\0\0\0", b"br", UnsupportedEncoding, "grpc-encoding br is not spoken"),
        (b"\x01\0\0\0\0", b"", UnsupportedEncoding, r"grpc-encoding \(none\)"),
        (b"\x01\0\0\0\x01a", b"gzip", MalformedRequest, "gzip data is cut off"),
        (b"\x01\0\0\0\x04gzip", b"gzip", MalformedRequest, "gzip data is broken"),
    ],
)
async def test_frames_that_are_not_one_whole_message_are_refused(
    body: bytes, encoding: bytes, error: type[HeadraceError], message: str
) -> None:
    with pytest.raises(error, match=message):
        await decompress(unframe(body), encoding, LIMIT)


def headers_of(error: HeadraceError) -> dict[bytes, bytes]:
    start = refusal(error)
    assert start["status"] == 200
    return dict(start["headers"])


def test_a_refusal_says_when_to_come_again_where_that_is_known() -> None:
    headers = dict(refusal(QueueFull("full", retry_after_s=0.0201))["headers"])
    assert headers[b"grpc-retry-pushback-ms"] == b"21"
    assert b"grpc-retry-pushback-ms" not in dict(refusal(QueueFull("full"))["headers"])


def test_a_refusal_is_all_in_the_headers() -> None:
    headers = headers_of(ModelNotFound("unknown model 'x'"))
    assert headers == {
        b"content-type": b"application/grpc",
        b"grpc-status": b"5",
        b"grpc-message": b"unknown model 'x'",
        b"headrace-error": b"model_not_found",
    }
    assert (
        headers_of(UnsupportedEncoding("no"))[b"grpc-accept-encoding"] == b"identity,gzip,deflate"
    )


@given(st.text(max_size=60))
def test_any_message_comes_through_a_header(message: str) -> None:
    value = headers_of(QueueFull(message))[b"grpc-message"]
    assert all(0x20 <= byte < 0x7F for byte in value)
    assert unquote(value.decode("ascii")) == message


def test_long_messages_and_broken_text_are_cut_down_to_what_a_header_takes() -> None:
    cut = headers_of(QueueFull("x" * 10**6))[b"grpc-message"]
    assert cut == b"x" * MESSAGE_LIMIT + b"...TRUNCATED"
    whole = headers_of(QueueFull("x" * MESSAGE_LIMIT))[b"grpc-message"]
    assert whole == b"x" * MESSAGE_LIMIT
    for letter in "é模😀\n":
        cut = headers_of(QueueFull(letter * 10**4))[b"grpc-message"]
        kept = MESSAGE_LIMIT // len(letter.encode())
        assert unquote(cut.decode()) == letter * kept + "...TRUNCATED"
        assert len(cut) < 4096
    assert headers_of(QueueFull("a\ud800b"))[b"grpc-message"] == b"a\\ud800b"
