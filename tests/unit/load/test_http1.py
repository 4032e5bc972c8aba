"""The reader of HTTP/1.1 answers, byte by byte: no socket is needed for it."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import SettingsError
from headrace.load import frames
from headrace.load.chunked import Chunks
from headrace.load.codec import BadAnswer, Ended, Kept
from headrace.load.http1 import Http1, encode
from headrace.load.plan import Message, Protocol, Target
from headrace.load.result import CONNECTION_LOST, OK, Answer, Outcome

TARGET = Target(
    Protocol.HTTP,
    "host:80",
    "/v2/models/m/infer",
    (Message(b"abc", (("x-own", "1"),)), Message(b"")),
    headers=(("accept", "*/*"),),
)
PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Model: m\r\n\r\nhello"
CHUNKED = (
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    b"3;ext=1\r\nhel\r\n2\r\nlo\r\n0\r\ntrailer: x\r\n\r\n"
)
INTERIM = b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"


def _codec(keep: int = 0) -> Http1:
    return Http1(encode(TARGET), Kept(keep))


def _answered(*pieces: bytes) -> tuple[list[Ended], Http1, Kept]:
    kept = Kept(1)
    codec = Http1(encode(TARGET), kept)
    codec.send(0)
    ended = [one for piece in pieces for one in codec.feed(piece)]
    return ended, codec, kept


def test_a_request_is_its_line_its_headers_and_its_body() -> None:
    codec = _codec()
    codec.send(0)
    assert b"".join(codec.out) == (
        b"POST /v2/models/m/infer HTTP/1.1\r\nhost: host:80\r\naccept: */*\r\nx-own: 1\r\n"
        b"content-length: 3\r\n\r\nabc"
    )


def test_a_header_that_is_given_takes_the_place_of_ours() -> None:
    target = Target(
        Protocol.HTTP,
        "10.0.0.1:80",
        "/",
        (Message(b"a", (("content-type", "image/png"), ("x-own", "1"))),),
        headers=(("Host", "model.example"), ("Content-Type", "image/webp"), ("x", "1"), ("x", "2")),
    )
    assert b"".join(encode(target)[0]) == (
        b"POST / HTTP/1.1\r\nHost: model.example\r\nContent-Type: image/webp\r\nx: 1\r\nx: 2\r\n"
        b"x-own: 1\r\ncontent-length: 1\r\n\r\na"
    )


@pytest.mark.parametrize("make", [encode, frames.encode])
@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["content-length"], "content-length cannot be given"),
        (["TE"], "te cannot be given"),
        ([":path"], "':path' is no name of a header"),
        (["a b"], "'a b' is no name"),
        (["x:y"], "'x:y' is no name"),
        (["host", "Host"], "host is given twice"),
    ],
)
def test_a_header_that_cannot_be_sent_is_refused(
    make: Callable[[Target], object], names: list[str], words: str
) -> None:
    given = tuple((name, "1") for name in names)
    with pytest.raises(SettingsError, match=words):
        make(Target(Protocol.HTTP, "h:1", "/", (Message(b""),), headers=given))


def test_messages_are_sent_in_turn() -> None:
    for index, end in ((0, b"abc"), (1, b"content-length: 0\r\n\r\n"), (2, b"abc")):
        codec = _codec()
        codec.send(index)
        assert b"".join(codec.out).endswith(end)


def test_a_large_body_is_not_copied_for_every_request() -> None:
    body = bytes(10**6)
    messages = encode(Target(Protocol.HTTP, "h:1", "/", (Message(body),)))
    codec = Http1(messages, Kept(0))
    codec.send(0)
    assert codec.out[-1] is body


@pytest.mark.parametrize("answer", [PLAIN, CHUNKED, INTERIM + PLAIN, INTERIM * 2 + CHUNKED])
@given(cuts=st.sets(st.integers(0, 150)))
def test_an_answer_is_the_same_however_it_arrives(answer: bytes, cuts: set[int]) -> None:
    edges = [0, *sorted(cut for cut in cuts if cut < len(answer)), len(answer)]
    pieces = [answer[a:b] for a, b in pairwise(edges) if a < b]
    ended, codec, kept = _answered(*pieces)
    assert ended == [(0, OK)]
    assert kept.answers[0].body == b"hello"
    assert (codec.room, codec.leaving) == (1, False)


def test_a_connection_takes_the_next_request_after_each_answer() -> None:
    codec = _codec()
    for index in range(3):
        assert codec.room == 1
        codec.send(index)
        assert codec.room == 0
        assert codec.feed(PLAIN) == [(index, OK)]


def test_only_the_first_answers_are_kept() -> None:
    kept = Kept(1)
    codec = Http1(encode(TARGET), kept)
    for index in range(2):
        codec.send(index)
        codec.feed(PLAIN)
    assert kept.answers == {0: Answer({"content-length": "5", "x-model": "m"}, b"hello")}


def test_a_refusal_has_its_status_and_the_error_code() -> None:
    raw = (
        b"HTTP/1.1 429 Too Many Requests\r\nheadrace-error: queue_full\r\ncontent-length: 0\r\n\r\n"
    )
    ended, _, _ = _answered(raw)
    assert ended == [(0, Outcome("429 Too Many Requests", "queue_full"))]


def test_an_answer_without_a_body_ends_with_its_head() -> None:
    ended, _, _ = _answered(b"HTTP/1.1 204 No Content\r\n\r\n")
    assert ended == [(0, OK)]


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 200 OK\r\nConnection: close", b"HTTP/1.0 200 OK\r\nx: y"]
)
def test_a_server_that_closes_gets_no_further_request(head: bytes) -> None:
    ended, codec, _ = _answered(head + b"\r\ncontent-length: 0\r\n\r\n")
    assert ended == [(0, OK)]
    assert (codec.room, codec.leaving) == (0, True)


def test_a_body_without_a_length_ends_with_the_connection() -> None:
    ended, codec, kept = _answered(b"HTTP/1.1 200 OK\r\n\r\nhel", b"lo")
    assert ended == []
    assert codec.end(CONNECTION_LOST) == [(0, OK)]
    assert kept.answers[0].body == b"hello"
    assert codec.leaving


@pytest.mark.parametrize("so_far", [b"", PLAIN[:10], PLAIN[:-1], CHUNKED[:-1]])
def test_a_connection_lost_before_the_end_loses_its_request(so_far: bytes) -> None:
    ended, codec, _ = _answered(*([so_far] if so_far else []))
    assert ended == []
    assert codec.end(CONNECTION_LOST) == [(0, CONNECTION_LOST)]
    assert codec.end(CONNECTION_LOST) == []


def test_giving_up_a_request_gives_up_the_connection() -> None:
    codec = _codec()
    codec.cancel(codec.send(0))
    assert (codec.room, codec.leaving) == (0, True)
    assert codec.end(CONNECTION_LOST) == []


@pytest.mark.parametrize(
    "raw",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 2\xb20 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n-5\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"5" * 70_000,
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nmore",
        b"x" * 70_000,
    ],
)
def test_what_is_no_answer_is_said_to_be_none(raw: bytes) -> None:
    with pytest.raises(BadAnswer):
        _answered(raw)


def test_an_answer_nobody_asked_for_is_none() -> None:
    with pytest.raises(BadAnswer, match="nobody asked"):
        _codec().feed(PLAIN)


@given(st.lists(st.binary(min_size=1, max_size=20)), st.sets(st.integers(0, 200)))
def test_chunks_are_put_together(parts: list[bytes], cuts: set[int]) -> None:
    coded = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    edges = [0, *sorted(cut for cut in cuts if 0 < cut < len(coded)), len(coded)]
    chunks = Chunks(keep=True)
    ended = [chunks.feed(coded[a:b]) for a, b in pairwise(edges)]
    assert ended == [False] * (len(ended) - 1) + [True]
    assert b"".join(chunks.parts) == b"".join(parts)


@pytest.mark.parametrize("how", [b"transfer-encoding: chunked", b"connection: close"])
def test_a_large_answer_that_is_not_kept_takes_no_memory(how: bytes) -> None:
    codec = _codec()
    codec.send(0)
    codec.feed(b"HTTP/1.1 200 OK\r\n%s\r\n\r\n" % how)
    piece = b"%x\r\n%s\r\n" % (4096, bytes(4096))
    tracemalloc.start()
    for _ in range(500):
        assert codec.feed(piece[:100]) == codec.feed(piece[100:]) == []
    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most_bytes < 100_000
    ended = codec.feed(b"0\r\n\r\n") or codec.end(CONNECTION_LOST)
    assert ended == [(0, OK)]


def test_heads_are_forgotten_before_they_fill_the_memory() -> None:
    make: Callable[[int], bytes] = (
        b"HTTP/1.1 200 OK\r\nx-request: %d\r\ncontent-length: 0\r\n\r\n".__mod__
    )
    codec = _codec()
    for index in range(1000):
        codec.send(index)
        assert codec.feed(make(index)) == [(index, OK)]
    assert len(codec._heads) <= 256
