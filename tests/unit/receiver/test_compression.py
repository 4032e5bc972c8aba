"""gzip, deflate and zstd: what is packed comes out again, bombs do not, wishes are read."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import BodyTooLarge, MalformedRequest, UnsupportedEncoding
from headrace.receiver.codecs.compression import (
    CODINGS,
    choose,
    compress,
    content_codings,
    decompress,
    deflate,
    inflate,
    names_one,
)

LIMIT = 1000

codings = pytest.mark.parametrize("coding", CODINGS)


def _unsized_zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_content_size=False).compress(data)


@given(st.binary(max_size=LIMIT), st.sampled_from(CODINGS))
def test_what_is_packed_comes_out_again(data: bytes, coding: str) -> None:
    assert inflate(memoryview(deflate(data, coding)), coding, LIMIT) == data


@given(st.binary(max_size=200), st.sampled_from(CODINGS))
def test_any_bytes_are_data_or_a_typed_error(data: bytes, coding: str) -> None:
    try:
        assert len(inflate(data, coding, LIMIT)) <= LIMIT
    except (MalformedRequest, BodyTooLarge):
        return


def test_a_second_text_of_deflate_is_refused_not_dropped() -> None:
    packed = deflate(b"first", "deflate")
    with pytest.raises(MalformedRequest):
        inflate(packed + deflate(b"second", "deflate"), "deflate", LIMIT)


def test_members_of_gzip_are_one_text() -> None:
    first, second = deflate(b"first ", "gzip"), deflate(b"second", "gzip")
    assert inflate(memoryview(first + second), "gzip", LIMIT) == b"first second"
    assert inflate((first + deflate(b"", "gzip")) * 40, "gzip", LIMIT) == b"first " * 40
    for broken in (first + second[:-1], first + second[:5]):
        with pytest.raises(MalformedRequest, match="gzip data is cut off"):
            inflate(broken, "gzip", LIMIT)
    for broken in (first + b"second", first + second + b"a", first + second[:-8] + bytes(8)):
        with pytest.raises(MalformedRequest, match=r"gzip data"):
            inflate(broken, "gzip", LIMIT)
    with pytest.raises(MalformedRequest, match=r"more than 65536 members"):
        inflate(deflate(b"", "gzip") * 70_000, "gzip", LIMIT)
    half = deflate(bytes(LIMIT // 2), "gzip")
    assert inflate(half * 2, "gzip", LIMIT) == bytes(LIMIT)
    with pytest.raises(BodyTooLarge, match="inflates to more than the limit of 1000 bytes"):
        inflate(half * 2 + deflate(b"a", "gzip"), "gzip", LIMIT)


@pytest.mark.parametrize("pack", [zstandard.compress, _unsized_zstd])
def test_frames_of_zstd_are_one_text(pack: Callable[[bytes], bytes]) -> None:
    first, second, nothing = pack(b"first "), pack(b"second"), pack(b"")
    skipped = b"\x50\x2a\x4d\x18\x04\0\0\0" + b"abcd"  # a frame of what is no text
    assert inflate(memoryview(first + second), "zstd", LIMIT) == b"first second"
    assert inflate((first + nothing) * 40, "zstd", LIMIT) == b"first " * 40
    assert inflate(nothing + second, "zstd", LIMIT) == b"second"
    assert inflate(skipped + first + skipped + second + skipped, "zstd", LIMIT) == b"first second"
    for broken in (first + second[:-1], first + second[:5], first + skipped[:-1]):
        with pytest.raises(MalformedRequest, match="zstd data is cut off"):
            inflate(broken, "zstd", LIMIT)
    for broken in (first + b"second", first + second + b"a", nothing + b"a", first + first[:2]):
        with pytest.raises(MalformedRequest, match="zstd data is"):
            inflate(broken, "zstd", LIMIT)
    with pytest.raises(MalformedRequest, match="more than 65536 frames: send one"):
        inflate(nothing * 70_000, "zstd", LIMIT)
    half = pack(bytes(LIMIT // 2))
    assert inflate(half * 2, "zstd", LIMIT) == bytes(LIMIT)
    for bomb in (half * 2 + pack(b"a"), half + pack(bytes(10**8)), nothing + pack(bytes(10**8))):
        tracemalloc.start()
        with pytest.raises(BodyTooLarge, match="inflates to more than the limit of 1000 bytes"):
            inflate(bomb, "zstd", LIMIT)
        assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
        tracemalloc.stop()


@given(
    st.lists(st.binary(max_size=LIMIT // 4), min_size=1, max_size=4),
    st.sampled_from(("gzip", "zstd")),
)
def test_texts_packed_one_after_the_other_are_one(parts: list[bytes], coding: str) -> None:
    packed = b"".join(deflate(part, coding) for part in parts)
    assert inflate(packed, coding, LIMIT) == b"".join(parts)


@codings
async def test_large_ones_take_a_thread_and_come_out_the_same(coding: str) -> None:
    data = bytes(range(256)) * 400
    packed = await compress(data, coding)
    assert await decompress(packed + b"", coding, len(data)) == data
    noise = zlib.compress(data, 0)  # stays large
    assert await decompress(await compress(noise, coding), coding, len(noise)) == noise


@pytest.mark.parametrize(
    ("coding", "pack"),
    [
        ("gzip", lambda data: gzip.compress(data, mtime=0)),
        ("deflate", zlib.compress),
        ("zstd", zstandard.compress),
        ("zstd", _unsized_zstd),
    ],
)
def test_no_more_is_inflated_than_the_limit(coding: str, pack: object) -> None:
    assert callable(pack)
    assert len(inflate(pack(bytes(LIMIT)), coding, LIMIT)) == LIMIT
    assert inflate(pack(b""), coding, LIMIT) == b""
    for size in (LIMIT + 1, 10**8):
        bomb = pack(bytes(size))
        tracemalloc.start()
        with pytest.raises(BodyTooLarge, match="inflates to more than the limit of 1000 bytes"):
            inflate(bomb, coding, LIMIT)
        assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
        tracemalloc.stop()
    for broken in (pack(b"a" * 50)[:-1], pack(b"a" * 50)[:9], b"", b"not packed"):
        with pytest.raises(MalformedRequest, match=rf"{coding} data is (broken|cut off)"):
            inflate(broken, coding, LIMIT)
    with pytest.raises(MalformedRequest):
        inflate(pack(b"a") + b"b", coding, LIMIT)


def test_zstd_may_not_ask_for_a_window_larger_than_the_web_allows() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=25)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    data = packer.compress(b"a" * 100) + packer.flush()
    with pytest.raises(MalformedRequest, match="too much memory"):
        inflate(data, "zstd", LIMIT)


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (b"gzip", ("gzip",)),
        (b"X-GZIP", ("gzip",)),
        (b"identity", ()),
        (b"", ()),
        (b"gzip , identity", ("gzip",)),
        (b"zstd", ("zstd",)),
    ],
)
def test_content_encodings_are_read(value: bytes, names: tuple[str, ...]) -> None:
    assert content_codings(value) == names


@pytest.mark.parametrize("value", [b"br", b"gzip, gzip", b"gzip, zstd", b"\xff", b"gzip;q=1"])
def test_other_content_encodings_are_refused(value: bytes) -> None:
    with pytest.raises(UnsupportedEncoding, match="use one of identity, gzip, deflate and zstd"):
        content_codings(value)


@pytest.mark.parametrize(
    ("accepted", "chosen"),
    [
        (b"gzip", "gzip"),
        (b"gzip, deflate, br, zstd", "zstd"),
        (b"gzip, deflate", "gzip"),
        (b"deflate", "deflate"),
        (b"gzip;q=0.5, deflate;q=0.9", "deflate"),
        (b"zstd;q=0, gzip", "gzip"),
        (b"*", "zstd"),
        (b"*, zstd;q=0", "gzip"),
        (b"*;q=0", None),
        (b"identity", None),
        (b"identity, gzip;q=0.5", None),
        (b"identity;q=0.5, gzip", "gzip"),
        (b"br", None),
        (b"", None),
        (b"gzip;q=0", None),
        (b"gzip;q=0.000", None),
        (b"GZIP ; Q=1", "gzip"),
        (b"x-gzip", "gzip"),
        (b"gzip;q=nan", None),
        (b"gzip;q=2", None),
        (b"gzip;level=1", None),
        (b"\xff,;,=,gzip", "gzip"),
    ],
)
def test_wishes_are_read_with_their_weights(accepted: bytes, chosen: str | None) -> None:
    assert choose(accepted) == chosen


@pytest.mark.parametrize(
    ("accepted", "one"),
    [
        (b"gzip", True),
        (b" GZIP;q=0.5", True),
        (b"x-gzip", True),
        (b"deflate", True),
        (b"zstd", True),
        (b"gzip, deflate", False),
        (b"gzip,", False),
        (b"identity", False),
        (b"*", False),
        (b"", False),
        (b"\xff", False),
    ],
)
def test_one_coding_alone_is_told_from_a_list(accepted: bytes, one: bool) -> None:
    assert names_one(accepted) is one


@given(st.binary(max_size=60))
def test_any_wish_has_an_answer(accepted: bytes) -> None:
    assert choose(accepted) in {None, *CODINGS}
