"""Files as clients send them, made in memory."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import soundfile
from PIL import Image

# Left half red, right half blue, 8 wide and 4 high.
FLAG = np.zeros((4, 8, 3), np.uint8)
FLAG[:, :4, 0] = 255
FLAG[:, 4:, 2] = 255


def encode(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """An image as a file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def flag(kind: str = "PNG", **options: Any) -> bytes:
    """The flag as a file."""
    return encode(Image.fromarray(FLAG), kind, **options)


def bomb(side: int) -> bytes:
    """A PNG that says it is square and huge, and has next to nothing in it."""
    return png((side, side), 8, 2, b"\0" * 1000)


def png(
    size: tuple[int, int], bits: int, kind: int, rows: bytes, transparent: bytes | None = None
) -> bytes:
    """A PNG of (width, height): bits of a sample, its kind of colour, and its rows as packed."""

    def chunk(name: bytes, data: bytes) -> bytes:
        check = zlib.crc32(name + data)
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", check)

    head = struct.pack(">IIBBBBB", *size, bits, kind, 0, 0, 0)
    key = b"" if transparent is None else chunk(b"tRNS", transparent)
    data = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + key + data + chunk(b"IEND", b"")


def tone(rate_hz: int = 16000, seconds: float = 0.5, channels: int = 1, hz: float = 440) -> Any:
    """A sine, (samples, channels)."""
    time_s = np.arange(round(rate_hz * seconds)) / rate_hz
    wave = 0.5 * np.sin(2 * np.pi * hz * time_s).astype(np.float32)
    return np.repeat(wave[:, None], channels, axis=1)


def sound(
    samples: Any, rate_hz: int = 16000, kind: str = "WAV", subtype: str | None = None
) -> bytes:
    """Samples as a file."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, subtype, format=kind)
    return file.getvalue()
