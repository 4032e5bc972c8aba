"""Plain HTTP: the timeout header, bodies in pieces, encodings, refusals."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
import zlib
from typing import Any

import pytest
import zstandard

from headrace.errors import (
    BodyTooLarge,
    Cancelled,
    InvalidTimeout,
    MalformedRequest,
    ModelNotFound,
    QueueFull,
    UnsupportedEncoding,
)
from headrace.receiver.bodies import Bodies
from headrace.receiver.exchange import Exchange, Headers
from headrace.receiver.grpc import MESSAGE_LIMIT
from headrace.receiver.http import decode, json_reply, read_body, read_timeout, refusal

LIMIT = 10


@pytest.mark.parametrize(
    ("value", "seconds"), [(b"1500", 1.5), (b"0.5", 0.0005), (b"1e3", 1), (b" 20 ", 0.02)]
)
def test_the_timeout_header_is_milliseconds(value: bytes, seconds: float) -> None:
    assert read_timeout({b"headrace-timeout-ms": value}) == pytest.approx(seconds)
    assert read_timeout({}) is None


@pytest.mark.parametrize(
    "value", [b"", b"soon", b"0", b"-1", b"nan", b"inf", b"1e999", b"\xff", b"1,2"]
)
def test_other_timeouts_are_refused(value: bytes) -> None:
    with pytest.raises(InvalidTimeout, match="must be a positive number of milliseconds, not '"):
        read_timeout({b"headrace-timeout-ms": value})


class Client:
    """Sends a body in pieces, as ASGI says, and may leave in the middle."""

    def __init__(self, *pieces: bytes, leaves: bool = False) -> None:
        self._pieces = list(pieces)
        self._leaves = leaves
        self.asked = 0

    def __call__(self) -> asyncio.Future[dict[str, Any]]:
        self.asked += 1
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        if self._pieces:
            piece = self._pieces.pop(0)
            more = bool(self._pieces) or self._leaves
            future.set_result({"type": "http.request", "body": piece, "more_body": more})
        else:
            future.set_result({"type": "http.disconnect"})
        return future


async def _read(client: Client, headers: Headers | None = None) -> bytes | memoryview:
    return await read_body(Exchange(headers or {}, client, time.monotonic()), Bodies(), LIMIT)


@pytest.mark.parametrize("pieces", [[b""], [b"0123456789"], [b"01234", b"56789"], [b"", b"a", b""]])
async def test_a_body_is_its_pieces(pieces: list[bytes]) -> None:
    assert await _read(Client(*pieces)) == b"".join(pieces)


@pytest.mark.parametrize(
    "pieces", [[b"0123456789a"], [b"0123456789", b"a"], [b"01", b"0123456789"]]
)
async def test_a_body_over_the_limit_is_refused(pieces: list[bytes]) -> None:
    with pytest.raises(BodyTooLarge, match=r"larger than 10 bytes: .* raise server\.max_body_mib"):
        await _read(Client(*pieces))


async def test_a_body_that_says_it_is_too_large_is_not_read() -> None:
    client = Client(b"0")
    with pytest.raises(BodyTooLarge):
        await _read(client, {b"content-length": b"11"})
    assert client.asked == 0
    assert await _read(client, {b"content-length": b"10"}) == b"0"


async def test_a_body_without_an_end_is_not_read_to_its_end() -> None:
    client = Client(*[b"01234"] * 100)
    with pytest.raises(BodyTooLarge):
        await _read(client)
    assert client.asked <= 4


@pytest.mark.parametrize("pieces", [[], [b"0"], [b"0", b"1"]])
async def test_a_client_that_leaves_in_its_body_has_cancelled(pieces: list[bytes]) -> None:
    with pytest.raises(Cancelled, match="closed the connection"):
        await _read(Client(*pieces, leaves=True))


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (b"plain", b"identity"),
        (gzip.compress(b"plain", mtime=0), b"gzip"),
        (gzip.compress(b"plain", mtime=0), b"GZIP"),
        (gzip.compress(b"plain", mtime=0), b"gzip, identity"),
        (b"plain", b""),
        (zlib.compress(b"plain"), b"deflate"),
        (zstandard.compress(b"plain"), b"zstd"),
    ],
)
async def test_encodings_are_undone(body: bytes, encoding: bytes) -> None:
    assert await decode(body, encoding, LIMIT) == b"plain"


@pytest.mark.parametrize("encoding", [b"br", b"gzip, gzip", b"zstd,br", b"\xff"])
async def test_encodings_not_spoken_are_refused(encoding: bytes) -> None:
    with pytest.raises(UnsupportedEncoding, match="is not spoken: use one of identity, gzip, def"):
        await decode(b"", encoding, LIMIT)


async def test_encoded_bodies_are_bounded_and_whole() -> None:
    with pytest.raises(BodyTooLarge):
        await decode(gzip.compress(bytes(LIMIT + 1), mtime=0), b"gzip", LIMIT)
    with pytest.raises(MalformedRequest):
        await decode(b"", b"gzip", LIMIT)


def test_a_refusal_says_what_and_when_to_come_again() -> None:
    reply = refusal(QueueFull('full: "no"', retry_after_s=1.2), pretty=False)
    assert (reply.status, json.loads(reply.body)) == (429, {"error": 'full: "no"'})
    assert dict(reply.headers) == {
        b"content-type": b"application/json",
        b"headrace-error": b"queue_full",
        b"retry-after": b"2",
    }
    assert b"retry-after" not in dict(refusal(ModelNotFound("x"), pretty=False).headers)


def test_tensorflow_servings_clients_get_it_indented() -> None:
    reply = refusal(ModelNotFound('no "x" é'), pretty=True)
    assert reply.body.decode() == '{\n    "error": "no \\"x\\" é"\n}'


@pytest.mark.parametrize("pretty", [True, False])
def test_any_message_can_be_said_in_bounds(*, pretty: bool) -> None:
    broken = refusal(ModelNotFound("a\ud800\n"), pretty=pretty)
    assert json.loads(broken.body) == {"error": "a\\ud800\n"}
    long = json.loads(refusal(ModelNotFound("x" * 10**6), pretty=pretty).body)
    assert len(long["error"]) == MESSAGE_LIMIT


def test_json_is_answered_as_json() -> None:
    reply = json_reply({"ready": False}, 503)
    assert (reply.status, reply.body) == (503, b'{"ready":false}')
    assert reply.headers == ((b"content-type", b"application/json"),)
