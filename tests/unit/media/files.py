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

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


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
