"""What would keep Pillow busy is refused before it is opened, and nothing else."""

from __future__ import annotations

import struct
import time
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin
from PIL.JpegImagePlugin import MARKER

from headrace.errors import InvalidInput
from headrace.media import envelope, image
from headrace.values import DType
from tests.unit.media.files import encode
from tests.unit.media.test_image import make

MIB = 2**20
NOISE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
PHOTO = Image.fromarray(NOISE)
BASELINE = encode(PHOTO, "JPEG")
PROGRESSIVE = encode(PHOTO, "JPEG", progressive=True)
PNG = encode(PHOTO)
GIF = encode(PHOTO, "GIF")


def segment(marker: int, data: bytes = b"") -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def in_front(file: bytes, parts: bytes) -> bytes:
    """A JPEG with parts after its first two bytes, a PNG with parts after its header."""
    at = 33 if file.startswith(b"\x89PNG") else 2
    return file[:at] + parts + file[at:]


def scans(number: int, between: bytes = b"") -> bytes:
    """A progressive JPEG whose last scan is there again and again."""
    last = PROGRESSIVE.rindex(b"\xff\xda")
    return PROGRESSIVE[:-2] + (between + PROGRESSIVE[last:-2]) * number + b"\xff\xd9"


def rle(data: bytes, side: int = 64) -> bytes:
    head = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 1, len(data), 0, 0, 256, 0)
    start = 14 + 40 + 1024
    return b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, start) + head + bytes(1024) + data


def gif(parts: bytes) -> bytes:
    """A GIF with parts before its image."""
    at = 13 + (3 << ((GIF[10] & 7) + 1))
    return GIF[:at] + parts + GIF[at:]


def tiff(strips: int) -> bytes:
    """A TIFF of one row that says its pixels are in so many places."""
    start = 8 + 2 + 12 * 9 + 4
    entries = [(256, 1, 4), (257, 1, 1), (258, 1, 8), (259, 1, 1), (262, 1, 1)]
    entries += [(273, strips, start), (277, 1, 1), (278, 1, 1), (279, strips, start)]
    packed = b"".join(struct.pack("<HHII", tag, 4, *rest) for tag, *rest in entries)
    return struct.pack("<2sHIH", b"II", 42, 8, 9) + packed + bytes(4 + 4 * strips)


def tiles(
    *sides: int, image: int = 16, kind: int = 4, order: str = "<", big: bool = False
) -> bytes:
    """A TIFF of one tile, of which it says once or twice how wide and high it is."""
    pixels = zlib.compress(bytes(sides[0] ** 2), 9)
    entries = [(256, 4, image), (257, 4, image), (258, 3, 8), (259, 3, 8), (262, 3, 1), (277, 3, 1)]
    entries += [(tag, kind, side) for tag in (322, 323) for side in sides]
    entries += [(324, 4, 16), (325, 4, len(pixels))]
    forms = {3: "H", 4: "I", 9: "i", 16: "Q"}
    packed = [
        struct.pack(f"{order}HH{'Q' if big else 'I'}", tag, of, 1)
        + struct.pack(order + forms[of], value).ljust(8 if big else 4, b"\0")
        for tag, of, value in entries
    ]
    start = (8, 0, 16 + len(pixels)) if big else (16 + len(pixels),)
    head = struct.pack(order + ("HHHQ" if big else "HI"), 43 if big else 42, *start)
    count = struct.pack(order + ("Q" if big else "H"), len(entries))
    mark = b"II" if order == "<" else b"MM"
    return (mark + head).ljust(16, b"\0") + pixels + count + b"".join(packed) + bytes(8)


def big_tiff(entries: int) -> bytes:
    one = struct.pack("<HHQQ", 1000, 4, 1, 1)
    return struct.pack("<2sHHHQQ", b"II", 43, 8, 0, 16, entries) + one * entries


@pytest.mark.parametrize(
    ("file", "says"),
    [
        (scans(200), "has more than 100 scans; save it with fewer"),
        (scans(200, segment(0xFE, b"\xff\xd9")), "has more than 100 scans"),
        (scans(99, segment(0xE7) * 20), "has too many parts; save it without its metadata"),
        (in_front(BASELINE, b"\xff" * MIB), "has too many stray bytes between its parts"),
        (in_front(BASELINE, b"\0" * MIB), "has too many stray bytes between its parts"),
        (in_front(BASELINE, b"\xff\0" * MIB), "has too many stray bytes between its parts"),
        (in_front(BASELINE, (segment(0xE7) + b"\xff" * 999) * 99), "has too many stray bytes"),
        (in_front(BASELINE, segment(0xE7) * MIB), "has too many parts before its pixels"),
        (in_front(BASELINE, segment(0xFE) * MIB), "has too many parts before its pixels"),
        (in_front(BASELINE, b"\xff\xd0" * MIB), "has too many parts before its pixels"),
        (in_front(BASELINE, segment(0xE1, b"Exif\0\0" + b"x" * 60_000) * 33), "too many parts"),
        (in_front(PNG, chunk(b"abCd") * MIB), "has too many parts; save it without"),
        (in_front(PNG, chunk(b"IDAT") * MIB), "has too many parts; save it without"),
        (gif(b"!\xfe\0" * MIB), "has too many parts before its pixels"),
        (gif(b"!\xfe" + b"\1x" * MIB + b"\0"), "has too many parts before its pixels"),
        (gif(b"x" * MIB), "has too many parts before its pixels"),
        (tiff(2 * MIB), "has more than 32768 strips or tiles; save it with fewer"),
        (tiles(4112), "has tiles that are far larger than itself; save it with smaller ones"),
        (tiles(4112, kind=3, order=">"), "has tiles that are far larger than itself"),
        (tiles(4112, 16), "has tiles that are far larger than itself"),
        (tiles(4112, kind=4, big=True), "has tiles that are far larger than itself"),
        (tiles(4112, kind=16, big=True), "has tiles that are far larger than itself"),
        (tiles(4112, kind=16), "has tiles of a size that is not read"),
        (tiles(4112, kind=9), "has tiles of a size that is not read; save it anew"),
        (big_tiff(MIB // 4), "has too many entries in its directory"),
        (rle(b"\1\0" * 4096), "is a BMP with run lengths, which is not read; save it as PNG"),
    ],
)
def test_what_would_hold_everybody_up_is_refused_at_once(file: bytes, says: str) -> None:
    began_s = time.thread_time()
    with pytest.raises(InvalidInput, match=f"^input 'x': the image .*{says}"):
        image.read(file, make((None, None, None, 3), DType.UINT8))
    assert time.thread_time() - began_s < 0.2


def test_a_minute_of_scans_is_refused() -> None:
    grey = encode(Image.new("L", (7000, 7000), 128), "JPEG", progressive=True)
    last = grey.rindex(b"\xff\xda")
    complaint = envelope.complaint(grey[:-2] + grey[last:-2] * 3000 + b"\xff\xd9")
    assert complaint is not None
    assert "scans" in complaint


def test_pillow_gives_a_length_to_the_same_markers() -> None:
    alone = {marker & 0xFF for marker, (_, _, read) in MARKER.items() if read is None}
    assert alone | {0x01} == envelope._ALONE
    frames = {marker & 0xFF for marker, (_, _, read) in MARKER.items() if "SOF" in str(read)}
    assert frames == envelope._FRAMES


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x010E] = "a cup " * 1000
    exif[0x0112] = 6
    return exif


def _text() -> PngImagePlugin.PngInfo:
    text = PngImagePlugin.PngInfo()
    for number in range(300):
        text.add_text(f"key {number}", "value" * number, zip=bool(number % 2))
    return text


GOOD: tuple[tuple[str, dict[str, Any]], ...] = (
    ("JPEG", {"progressive": True, "exif": _exif(), "icc_profile": b"p" * 500_000}),
    ("JPEG", {"quality": 100, "subsampling": 0, "xmp": b"<x/>", "comment": b"\xff\xda" * 200}),
    ("JPEG", {"restart_marker_blocks": 1, "optimize": True, "progressive": True}),
    ("MPO", {"save_all": True, "append_images": [PHOTO] * 3}),
    ("PNG", {"pnginfo": _text(), "exif": _exif(), "icc_profile": b"p" * 10_000}),
    ("PNG", {"save_all": True, "append_images": [PHOTO.rotate(90)] * 3}),
    ("PNG", {"compress_level": 0}),
    ("WEBP", {"exif": _exif()}),
    ("BMP", {}),
    ("GIF", {"comment": b"a cup " * 50_000}),
    ("TIFF", {"compression": "jpeg"}),
    ("TIFF", {"exif": _exif()}),
    ("TIFF", {"strip_size": 1}),
    ("TIFF", {"big_tiff": True}),
)


@pytest.mark.parametrize(("kind", "options"), GOOD)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_what_programs_write_is_read(kind: str, mode: str, options: dict[str, Any]) -> None:
    for one in (PHOTO, PHOTO.resize((900, 700))):
        file = encode(one.convert(mode), kind, **options)
        assert envelope.complaint(file) is None
        assert image.read(file, make((None, None, None, 3), DType.UINT8)).ndim == 3


@pytest.mark.parametrize(
    "file",
    [
        tiles(256),
        tiles(2048, kind=3),
        tiles(1024, order=">", kind=3),
        tiles(1024, order=">"),
        tiles(1024, kind=16, big=True),
        tiles(4096),
        tiles(4112, image=4100),
    ],
)
def test_tiles_as_programs_write_them_are_read(file: bytes) -> None:
    assert image.read(file, make((None, None, None, 3), DType.UINT8)).ndim == 3


def test_what_phones_write_is_read() -> None:
    depth = segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + b"\xff\xda" * 30_000)
    film = b"\xff\xda\xff\xe1\0\2" * 20_000
    for photo in (BASELINE, PROGRESSIVE):
        file = in_front(photo, segment(0xE1, b"Exif\0\0" + b"x" * 9) + depth * 60) + film
        assert envelope.complaint(file) is None
    assert envelope.complaint(in_front(BASELINE, b"\xff" * 2000)) is None


def test_a_png_in_small_chunks_is_read() -> None:
    at, pixels = PNG.index(b"IDAT") - 4, b""
    size = int.from_bytes(PNG[at : at + 4])
    for start in range(at + 8, at + 8 + size, 100):
        pixels += chunk(b"IDAT", PNG[start : min(start + 100, at + 8 + size)])
    file = PNG[:at] + pixels + PNG[at + 12 + size :]
    assert np.array_equal(image.read(file, make((None, None, None, 3), DType.UINT8)), NOISE)


_PARTS = st.sampled_from(
    [b"\xff", b"\0", b"\xff\xda", b"\xff\xd9", b"\xff\xc2", segment(0xDA, b"\1"), segment(0xE1)]
)


@settings(deadline=None)
@given(
    st.sampled_from([b"\xff\xd8", PNG[:8], b"BM", b"GIF", b"II*\0", b"MM\0*", b"II+\0"]),
    st.lists(_PARTS | st.binary()),
)
@example(b"\xff\xd8", [segment(0xDA)] * 102)
def test_any_bytes_are_looked_at(start: bytes, parts: list[bytes]) -> None:
    found = envelope.complaint(start + b"".join(parts))
    assert found is None or found.startswith(("has ", "is "))


@given(st.integers(1, 5), st.integers(0, 3))
def test_a_marker_on_the_border_of_two_windows_is_found(before: int, scan: int) -> None:
    """Every one of more than a hundred, wherever they begin."""
    filling = b"\1" * (envelope._WINDOW_BYTES - before)
    parts = segment(0xC2, bytes(9)) + (segment(0xDA, bytes(scan)) + filling) * 2
    file = b"\xff\xd8" + parts + segment(0xDA) * 99
    assert envelope.complaint(file) is not None
