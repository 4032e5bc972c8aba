"""Frames out of chunks: whatever the chunks are, the messages are the same."""

from __future__ import annotations

import itertools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import BodyTooLarge, MalformedRequest
from headrace.receiver.codecs.frames import Frame, FrameDecoder

LIMIT = 100

messages = st.lists(st.tuples(st.booleans(), st.binary(max_size=LIMIT)), max_size=8)


def _bytes(frames: list[tuple[bool, bytes]]) -> bytes:
    return b"".join(struct.pack(">BI", flag, len(m)) + m for flag, m in frames)


@given(messages, st.lists(st.integers(0, 900), max_size=20))
def test_however_the_bytes_are_cut_the_frames_are_those_that_were_sent(
    frames: list[tuple[bool, bytes]], cuts: list[int]
) -> None:
    body = _bytes(frames)
    edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    decoder = FrameDecoder(LIMIT)
    chunks = [body[a:b] for a, b in itertools.pairwise(edges)]
    assert [one for chunk in chunks for one in decoder.feed(chunk)] == [Frame(*f) for f in frames]
    decoder.finish()


@given(messages.filter(bool), st.data())
def test_a_stream_that_ends_inside_a_frame_is_malformed(
    frames: list[tuple[bool, bytes]], data: st.DataObject
) -> None:
    whole, last = _bytes(frames[:-1]), _bytes(frames[-1:])
    decoder = FrameDecoder(LIMIT)
    end = data.draw(st.integers(1, len(last) - 1))
    assert len(list(decoder.feed(whole + last[:end]))) == len(frames) - 1
    with pytest.raises(MalformedRequest, match=f"inside a gRPC frame, after {end} bytes"):
        decoder.finish()


@given(st.lists(st.binary(max_size=50), max_size=10))
def test_any_bytes_are_frames_or_a_typed_error_and_little_is_held(chunks: list[bytes]) -> None:
    decoder = FrameDecoder(LIMIT)
    try:
        for chunk in chunks:
            for frame in decoder.feed(chunk):
                assert len(frame.message) <= LIMIT
            assert len(decoder._held) < LIMIT + 5
        decoder.finish()
    except (MalformedRequest, BodyTooLarge):
        return


def test_a_frame_over_the_limit_is_refused_by_its_prefix_alone() -> None:
    with pytest.raises(BodyTooLarge, match=r"4294967295 bytes is larger than 100: .*max_body_mib"):
        list(FrameDecoder(LIMIT).feed(b"\0\xff\xff\xff\xff"))


def test_an_unknown_flag_is_malformed() -> None:
    with pytest.raises(MalformedRequest, match="flag is 2, not 0 or 1"):
        list(FrameDecoder(LIMIT).feed(b"\x02\0\0\0\0"))
