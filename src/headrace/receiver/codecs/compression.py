"""gzip, deflate and zstd, both ways: which one a client takes, and bodies never over their limit.

Sources: RFC 9110 (Accept-Encoding), RFC 9659 (zstd's window), grpc/doc/compression.md. Larger
bodies are handled in a thread: all three let go of the interpreter while they work.
"""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from functools import lru_cache

import zstandard

from headrace.errors import BodyTooLarge, MalformedRequest, UnsupportedEncoding
from headrace.receiver.codecs.limits import too_large

Bytes = bytes | memoryview

CODINGS = ("zstd", "gzip", "deflate")
"""What is spoken, what we like best first."""

WORTH_BYTES = 1024
"""Smaller answers are sent as they are: one packet either way, and compressing costs more."""

# A thread costs 0.07 ms to ask. Inflating so little takes less, unless it is a bomb; and a bomb
# of that size is over after a few milliseconds, at its limit.
_INLINE_INFLATE_BYTES = 1024
_INLINE_DEFLATE_BYTES = 4 * 1024
# What RFC 9659 lets a sender ask of the memory of whoever reads `content-encoding: zstd`.
_ZSTD_WINDOW_BYTES = 8 * 2**20
_STEP_BYTES = 2**20
# The fastest of each: random floats become 7 % smaller, 602 kB in 15 ms (gzip) or 0.6 ms (zstd);
# JSON numbers halve, 1.7 MB in 15 ms or 5 ms.
_ZLIB_LEVEL, _ZSTD_LEVEL = 1, 1
_WBITS = {"gzip": 31, "deflate": 15}
_REMEMBERED = 256
_GZIP_MAGIC = b"\x1f\x8b"
# Each takes 6 us however short it is: half a second, in a thread.
_MOST_MEMBERS, _STEP_IN_BYTES = 2**16, 2**16


async def decompress(data: Bytes, coding: str, limit_bytes: int) -> bytes:
    """Undo a coding, in a thread when that may take a while.

    Raises:
        MalformedRequest: the data is broken or cut off.
        BodyTooLarge: it is larger than the limit.
    """
    if len(data) <= _INLINE_INFLATE_BYTES:
        return inflate(data, coding, limit_bytes)
    return await asyncio.to_thread(inflate, data, coding, limit_bytes)


async def compress(data: bytes, coding: str) -> bytes:
    """Apply a coding, in a thread when that may take a while."""
    if len(data) <= _INLINE_DEFLATE_BYTES:
        return deflate(data, coding)
    return await asyncio.to_thread(deflate, data, coding)


def deflate(data: bytes, coding: str) -> bytes:
    """Apply gzip, deflate or zstd."""
    if coding == "zstd":
        return zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(data)
    packer = zlib.compressobj(_ZLIB_LEVEL, wbits=_WBITS[coding])
    return packer.compress(data) + packer.flush()


def inflate(data: Bytes, coding: str, limit_bytes: int) -> bytes:
    """Undo gzip, deflate or zstd, never more than the limit.

    Raises:
        MalformedRequest: the data is broken or cut off, or something follows it.
        BodyTooLarge: it is larger than the limit.
    """
    if coding == "zstd":
        return _inflate_zstd(data, limit_bytes)
    inflater = zlib.decompressobj(wbits=_WBITS[coding])
    plain = _inflate_some(inflater, data, coding, limit_bytes)
    if len(plain) > limit_bytes:
        raise _too_large(limit_bytes)
    if not inflater.eof:
        raise MalformedRequest(f"the {coding} data is cut off")
    if coding == "gzip" and inflater.unused_data.startswith(_GZIP_MAGIC):
        return _inflate_members(data, limit_bytes)
    if inflater.unused_data:
        raise MalformedRequest(f"bytes follow the end of the {coding} data")
    return plain


def _inflate_some(inflater: zlib._Decompress, data: Bytes, coding: str, limit_bytes: int) -> bytes:
    """One byte more than the limit at most, which tells that there is more."""
    try:
        return inflater.decompress(data, limit_bytes + 1)
    except zlib.error as error:
        raise MalformedRequest(f"the {coding} data is broken: {error}") from error


def _inflate_members(data: Bytes, limit_bytes: int) -> bytes:
    """Members of gzip after one another are one text (RFC 1952, 2.2).

    They are read in steps: zlib copies what follows in a step, for each member.
    """
    view, at, left = memoryview(data), 0, limit_bytes
    parts: list[bytes] = []
    for _ in range(_MOST_MEMBERS):
        inflater = zlib.decompressobj(wbits=_WBITS["gzip"])
        while not inflater.eof:
            step = view[at : at + _STEP_IN_BYTES]
            if not step:
                raise MalformedRequest("the gzip data is cut off")
            parts.append(_inflate_some(inflater, step, "gzip", left))
            at += len(step) - len(inflater.unused_data)
            left -= len(parts[-1])
            if left < 0:
                raise _too_large(limit_bytes)
        if at == len(view):
            return b"".join(parts)
        if view[at : at + 2] != _GZIP_MAGIC:
            raise MalformedRequest("bytes follow the end of the gzip data")
    raise MalformedRequest(f"the gzip data has more than {_MOST_MEMBERS} members: send one")


def _inflate_zstd(data: Bytes, limit_bytes: int) -> bytes:
    """What a frame's head announces is held against the limit before it is made."""
    zstd = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES)
    try:
        size = zstandard.frame_content_size(data)
        if size > limit_bytes:
            raise _too_large(limit_bytes)
        if size > 0:  # it says so, and most often it is the only one
            with contextlib.suppress(zstandard.ZstdError):
                return zstd.decompress(data, max_output_size=size, allow_extra_data=False)
        return _inflate_frames(zstd, data, limit_bytes)
    except zstandard.ZstdError as error:
        raise MalformedRequest(f"the zstd data is broken or cut off: {error}") from error


def _inflate_frames(zstd: zstandard.ZstdDecompressor, data: Bytes, limit_bytes: int) -> bytes:
    """Frames of zstd after one another are one text (RFC 8878, 3); some say nothing of their size.

    After the first they are read in steps, as members of gzip are; no step can be limited, so all
    are measured first.
    """
    _measure(zstd, data, limit_bytes)
    view, at = memoryview(data), 0
    parts: list[bytes] = []
    for _ in range(_MOST_MEMBERS):
        inflater = zstd.decompressobj()
        while not inflater.eof:
            step = view[at : at + _STEP_IN_BYTES] if at else view
            if not step:
                raise MalformedRequest("the zstd data is cut off")
            parts.append(inflater.decompress(step))
            at += len(step) - len(inflater.unused_data)
        if at == len(view):
            return b"".join(parts)
    raise MalformedRequest(f"the zstd data has more than {_MOST_MEMBERS} frames: send one")


def _measure(zstd: zstandard.ZstdDecompressor, data: Bytes, limit_bytes: int) -> None:
    """Inflate it once without keeping it.

    Raises:
        BodyTooLarge: it is larger than the limit.
        ZstdError: it is broken.
    """
    size = 0
    with zstd.stream_reader(data, read_across_frames=True) as reader:
        while part := reader.read(_STEP_BYTES):
            size += len(part)
            if size > limit_bytes:
                raise _too_large(limit_bytes)


def content_codings(value: bytes) -> tuple[str, ...]:
    """Read ``content-encoding``: the codings to undo, in that order, without identity.

    Raises:
        UnsupportedEncoding: one that is not spoken, or more than one.
    """
    names = [name.strip().lower() for name in value.decode("latin-1").split(",")]
    names = [name.removeprefix("x-") for name in names if name not in {"identity", ""}]
    unknown = [name for name in names if name not in CODINGS]
    if unknown or len(names) > 1:
        raise UnsupportedEncoding(
            f"content-encoding {value.decode('latin-1')!r} is not spoken: use one of identity, "
            "gzip, deflate and zstd"
        )
    return tuple(names)


@lru_cache(_REMEMBERED)
def choose(accepted: bytes) -> str | None:
    """Read ``accept-encoding``: the coding to answer with, None for identity.

    What the client gives most weight wins, and among equals what we like best. What cannot be read
    is no wish: such a client gets the body as it is.
    """
    weights: dict[str, float] = {}
    for part in accepted.decode("latin-1").split(","):
        name, _, parameter = part.partition(";")
        weights[name.strip().lower().removeprefix("x-")] = _weight(parameter)
    anything = weights.get("*", 0.0)
    best = max(CODINGS, key=lambda coding: weights.get(coding, anything))
    weight = weights.get(best, anything)
    return best if weight > 0 and weight >= weights.get("identity", 0.0) else None


def names_one(accepted: bytes) -> bool:
    """Whether ``accept-encoding`` names one coding and nothing else, as one does who means it."""
    name = accepted.partition(b";")[0].strip().lower().removeprefix(b"x-")
    return b"," not in accepted and name.decode("latin-1") in CODINGS


def _weight(parameter: str) -> float:
    name, _, text = parameter.partition("=")
    if not name.strip():
        return 1.0
    try:
        weight = float(text)
    except ValueError:
        return 0.0
    return weight if name.strip().lower() == "q" and 0 <= weight <= 1 else 0.0


def _too_large(limit_bytes: int) -> BodyTooLarge:
    return too_large(
        f"the body inflates to more than the limit of {limit_bytes} bytes", limit_bytes
    )
