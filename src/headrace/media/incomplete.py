"""Whether all of a sound file is there: libsndfile reads what there is, and calls that the sound.

FLAC is not asked about, for libsndfile itself refuses one of which something is missing.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

# Each is a name and a size; what holds samples is among the first.
_MOST_CHUNKS = 64
_FIRST_CHUNK = 12
# Who writes to a pipe cannot go back to say how much it was, and says 0, or close to 2 or 4 GiB.
_NO_SIZE = 0x7E000000
_OGG = b"OggS"
# A page: mark, version, flags, position, stream, number, check sum, how many lengths are behind it.
_PAGE = struct.Struct("<4sBBqIIIB")
_CHECK_AT, _CHECK_BYTES = 22, 4
# As many have 20 minutes of one packet each; a file that is made of empty ones has millions.
_MOST_PAGES = 2**16
# Its check sum goes through the bits of a byte the other way round than that of zlib.
_TURNED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_ALL_ONES = 2**32 - 1


def reason(data: bytes) -> str | None:
    """Why a file is not whole, in words that go behind a colon; None: it is, as far as it says."""
    if data.startswith(_OGG):
        return _of_pages(data)
    said = _samples(data)
    if said is None or said.size_bytes >= _NO_SIZE:
        return None
    there = len(data) - said.start
    # The byte that makes an odd size even is not in it, and may be missing.
    if said.size_bytes <= there:
        return None
    return f"it says that its samples are {said.size_bytes} bytes, and ends after {there} of them"


class _Chunk(NamedTuple):
    name: bytes
    start: int
    size_bytes: int


def _samples(data: bytes) -> _Chunk | None:
    """The chunk of WAV or AIFF that holds the samples."""
    is_aiff = data.startswith(b"FORM")
    wide_bytes: int | None = None
    for chunk in _chunks(data, struct.Struct(">4sI" if is_aiff else "<4sI")):
        if chunk.name == b"ds64" and chunk.start + 16 <= len(data):  # of RF64
            [wide_bytes] = struct.unpack_from("<Q", data, chunk.start + 8)
        if chunk.name == (b"SSND" if is_aiff else b"data"):
            if wide_bytes is None or chunk.size_bytes != _ALL_ONES:
                return chunk
            return chunk._replace(size_bytes=wide_bytes)
    return None


def _chunks(data: bytes, head: struct.Struct) -> Iterator[_Chunk]:
    at = _FIRST_CHUNK
    for _ in range(_MOST_CHUNKS):
        start = at + head.size
        if start > len(data):
            return
        name, size_bytes = head.unpack_from(data, at)
        yield _Chunk(name, start, size_bytes)
        at = start + size_bytes + size_bytes % 2


def _of_pages(data: bytes) -> str | None:
    """Go from page to page of Ogg; what is between and behind them is nobody's, and left out."""
    numbers: dict[int, int] = {}
    at = data.find(_OGG)
    for _ in range(_MOST_PAGES):
        if at < 0:
            # Not that the last one must say so: what is recorded live often ends without.
            return None
        end = _end(data, at)
        if end is None or not _is_whole(data[at:end]):
            return f"its page at byte {at} is damaged, or ends before its end"
        *_, stream, number, _, _ = _PAGE.unpack_from(data, at)
        if numbers.get(stream, number - 1) != number - 1:
            return f"pages are missing before byte {at}"
        numbers[stream] = number
        at = data.find(_OGG, end)
    return None


def _end(data: bytes, at: int) -> int | None:
    """Where a page ends; None: behind the end of the file."""
    lengths = at + _PAGE.size
    if lengths > len(data):
        return None
    body = lengths + data[lengths - 1]
    end = body + sum(data[lengths:body])
    return end if end <= len(data) else None


def _is_whole(page: bytes) -> bool:
    """Whether a page is as its check sum says."""
    behind = _CHECK_AT + _CHECK_BYTES
    turned = (page[:_CHECK_AT] + bytes(_CHECK_BYTES) + page[behind:]).translate(_TURNED)
    found = zlib.crc32(turned, _ALL_ONES) ^ _ALL_ONES
    return found == int.from_bytes(page[_CHECK_AT:behind].translate(_TURNED), "big")
