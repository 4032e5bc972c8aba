"""The parts of an image file, counted before Pillow opens it.

Pillow reads headers in Python, part by part and sometimes byte by byte, while everybody else waits
for Python's lock; and libjpeg goes through the whole image for each scan. A file of a few hundred
KiB could keep a thread busy for a minute. What is counted here is far above what cameras and
programs write.
"""

from __future__ import annotations

import math
import re
from typing import Literal, NamedTuple

_MOST_PARTS = 1000
_MOST_SCANS = 100
_MOST_PARSED = 32
"""Segments that Pillow takes apart: frames, tables, Exif and Photoshop's."""
_MOST_STRAY_BYTES = 2**16
# Of pixels in a PNG: usual are 8 KiB, and some have 1.
_LEAST_MEAN_CHUNK_BYTES = 1024
# Searched at once; Python's lock can be had by others in between.
_WINDOW_BYTES = 2**18

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8"
_MARKER = re.compile(rb"\xff[^\x00\xff]")
_MARKER_IN_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_END, _SCAN, _TABLE, _EXIF, _PHOTOSHOP = 0xD9, 0xDA, 0xDB, 0xE1, 0xED
_ALONE = frozenset({0x01, 0xC8, *range(0xD0, 0xDA), *range(0xF0, 0xFE)})
"""Markers that no length follows, as Pillow has it."""
_FRAMES = frozenset({*range(0xC0, 0xD0), 0xDE} - {0xC4, 0xC8, 0xCC})
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
# Of a GIF, with 255 bytes or fewer in each: half a megabyte of comments or of a profile.
_MOST_BLOCKS = 2**14
_BIG_TIFF = bytes([43])
_MOST_ENTRIES = 4096
# Where those of a TIFF's pixels are; some programs write one for each row.
_STRIPS = frozenset({273, 324})
_MOST_STRIPS = 2**15
_WIDTH, _HEIGHT, _TILE_WIDTH, _TILE_HEIGHT = 256, 257, 322, 323
_SIDES = frozenset({_WIDTH, _HEIGHT, _TILE_WIDTH, _TILE_HEIGHT})
# SHORT, LONG and BigTIFF's LONG8; where another kind has its number is not looked for.
_NUMBER_BYTES = {3: 2, 4: 4, 16: 8}
# A tile may be larger than its image, by as much as programs write.
_TILE_PIXELS = 2**24
_TILE_STEP = 16
_BMP_INFO_BYTES = 40
_RUN_LENGTHS = frozenset({1, 2})


class _Segment(NamedTuple):
    """A marker of a JPEG, and where what belongs to it begins and ends."""

    marker: int
    start: int
    end: int


def complaint(data: bytes) -> str | None:
    """Say why a file is not to be opened, in words that complete "the image"; None: it may be."""
    if data.startswith(_JPEG):
        return _jpeg(data)
    if data.startswith(_PNG):
        return _png(data)
    if data.startswith(b"BM"):
        return _bmp(data)
    if data.startswith(b"GIF"):
        return _gif(data)
    if data.startswith((b"II", b"MM")):
        return _tiff(data)
    return None


def _jpeg(data: bytes) -> str | None:
    parts = parsed = stray_bytes = 0
    sequential, components, at = False, b"", len(_JPEG)
    while True:
        found = _segment(data, at, _MARKER, _MOST_STRAY_BYTES)
        stray_bytes += (found.start - 2 if found else len(data)) - at
        if stray_bytes > _MOST_STRAY_BYTES:
            return "has too many stray bytes between its parts; save it anew"
        if found is None:
            return None  # it ends before its pixels begin: Pillow says so
        if found.marker == _SCAN:
            all_at_once = sequential and data[found.start + 2 : found.start + 3] >= components
            return None if all_at_once else _scans(data, found, parts)
        if found.marker in _FRAMES:
            sequential = found.marker not in _PROGRESSIVE
            components = data[found.start + 7 : found.start + 8]
        parts += 1
        parsed += _is_parsed(data, found)
        if parts > _MOST_PARTS or parsed > _MOST_PARSED:
            return "has too many parts before its pixels; save it without its metadata"
        at = found.end


def _scans(data: bytes, first: _Segment, parts: int) -> str | None:
    if _count(data, b"\xff\xda", first.start - 2) <= _MOST_SCANS:
        return None  # without a look at what is a scan, and what only has such bytes in it
    scans, at, marker = 1, first.end, _MARKER_IN_SCAN
    while found := _segment(data, at, marker):
        at, marker = found.end, _MARKER
        if found.marker == _END:
            return None  # what follows belongs to nobody: the film of a phone's photo
        if found.marker == _SCAN:
            scans, marker = scans + 1, _MARKER_IN_SCAN
        else:
            parts += 1
        if scans > _MOST_SCANS:
            return f"has more than {_MOST_SCANS} scans; save it with fewer, or as a baseline JPEG"
        if parts > _MOST_PARTS:
            return "has too many parts; save it without its metadata"
    return None


def _count(data: bytes, pair: bytes, start: int) -> int:
    windows = range(start, len(data), _WINDOW_BYTES)
    return sum(data.count(pair, one, one + _WINDOW_BYTES + 1) for one in windows)


def _segment(
    data: bytes, at: int, marker: re.Pattern[bytes], most_bytes: int | None = None
) -> _Segment | None:
    """Find the next marker, within so many bytes."""
    last = len(data) if most_bytes is None else min(len(data), at + most_bytes + 2)
    found = None
    while found is None:
        if at >= last:
            return None
        found = marker.search(data, at, min(last, at + _WINDOW_BYTES))
        at += _WINDOW_BYTES - 1  # a marker may lie across the border of two windows
    start = found.end()
    size = 0 if data[start - 1] in _ALONE else max(2, int.from_bytes(data[start : start + 2]))
    return _Segment(data[start - 1], start, start + size)


def _is_parsed(data: bytes, found: _Segment) -> bool:
    what = found.start + 2
    return (
        found.marker == _TABLE
        or found.marker in _FRAMES
        or (found.marker == _EXIF and data.startswith(b"Exif\0", what))
        or (found.marker == _PHOTOSHOP and data.startswith(b"Photoshop", what))
    )


def _png(data: bytes) -> str | None:
    others = pixels = 0
    most_pixels = _MOST_PARTS + len(data) // _LEAST_MEAN_CHUNK_BYTES
    at = len(_PNG)
    while at + 8 <= len(data):
        kind = data[at + 4 : at + 8]
        if kind in {b"IDAT", b"fdAT", b"fcTL"}:
            pixels += 1
        else:
            others += 1
        if others > _MOST_PARTS or pixels > most_pixels:
            return "has too many parts; save it without its metadata, or anew"
        at += 12 + int.from_bytes(data[at : at + 4])
    return None


def _bmp(data: bytes) -> str | None:
    if int.from_bytes(data[14:18], "little") < _BMP_INFO_BYTES:
        return None
    if int.from_bytes(data[30:34], "little") in _RUN_LENGTHS:
        return "is a BMP with run lengths, which is not read; save it as PNG"
    return None


def _gif(data: bytes) -> str | None:
    """Count the blocks, and the bytes that are none, to the first image."""
    flags = int.from_bytes(data[10:11])
    at = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    inside = False
    for _ in range(_MOST_BLOCKS):
        here = data[at : at + 1]
        if inside:
            at += 1 + int.from_bytes(here)
            inside = here > b"\0"
        elif here in {b"", b",", b";"}:
            return None
        else:
            inside = here == b"!"
            at += 2 if inside else 1
    return "has too many parts before its pixels; save it without its metadata"


def _tiff(data: bytes) -> str | None:
    """Count what the first directory says it has."""
    order: Literal["little", "big"] = "little" if data.startswith(b"II") else "big"
    big = data[2:3] == _BIG_TIFF  # as Pillow has it: in the order MM it reads no such file
    # Bytes of an address or a number, of how many entries there are, and of an entry.
    word, counter, entry = (8, 8, 20) if big else (4, 2, 12)
    first = word if big else 4
    start = int.from_bytes(data[first : first + word], order)
    entries = int.from_bytes(data[start : start + counter], order)
    if entries > _MOST_ENTRIES:
        return "has too many entries in its directory; save it without its metadata"
    start += counter
    sides: dict[int, list[int | None]] = {tag: [] for tag in _SIDES}
    for at in range(start, start + entries * entry, entry):
        tag = int.from_bytes(data[at : at + 2], order)
        if tag in _STRIPS:
            strips = int.from_bytes(data[at + 4 : at + 4 + word], order)
            if strips > _MOST_STRIPS:
                return f"has more than {_MOST_STRIPS} strips or tiles; save it with fewer"
        elif tag in _SIDES:
            size = _NUMBER_BYTES.get(int.from_bytes(data[at + 2 : at + 4], order), word + 1)
            value = data[at + 4 + word : at + 4 + word + size]
            sides[tag].append(int.from_bytes(value, order) if size <= word else None)
    return _tiles(sides)


def _tiles(sides: dict[int, list[int | None]]) -> str | None:
    """Compare a tile with its image; of what is there twice, the worst of both."""
    if None in sides[_TILE_WIDTH] or None in sides[_TILE_HEIGHT]:
        return "has tiles of a size that is not read; save it anew"
    image = math.prod(
        min((side or 0 for side in sides[tag]), default=0) + _TILE_STEP - 1
        for tag in (_WIDTH, _HEIGHT)
    )
    tile = math.prod(
        max((side or 0 for side in sides[tag]), default=0) for tag in (_TILE_WIDTH, _TILE_HEIGHT)
    )
    if tile > max(image, _TILE_PIXELS):
        return "has tiles that are far larger than itself; save it with smaller ones"
    return None
