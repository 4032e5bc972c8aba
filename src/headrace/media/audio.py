"""A sound file to samples: decode, mix, resample, cut to length."""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from headrace.accepts import AcceptedAudio
from headrace.errors import BodyTooLarge, HeadraceError, InvalidInput, ModelLoadError
from headrace.media import incomplete, libraries
from headrace.media.resample import resample
from headrace.values import Array, DType, TensorSpec

# The first bytes of WAV, FLAC, Ogg and AIFF. libsndfile knows more, which nobody sends, and MP3,
# whose decoder writes to the log whatever it dislikes in a file: anybody could fill it.
_BEGINNINGS = (b"RIFF", b"RF64", b"fLaC", b"OggS", b"FORM")
_WAV, _RIFF = b"RIFF", (b"RIFF", b"RF64")
# MP3 (0x55) and what came before it (0x50) within WAV are not read either. Any chunk that says so
# counts: which of them libsndfile takes, in a file that is made to mislead, is its own affair.
_MPEG = re.compile(rb"fmt .{4}(?:\xfe\xff.{22})?[\x50\x55]\0", re.DOTALL)
_MPEG_BYTES = 34
# Pages of Ogg by their flags: those with which a stream begins come before all others. One that
# comes later begins another file behind the first (chained), which libsndfile leaves out.
_OGG, _OGG_PAGE_BYTES = b"OggS", 6
_OGG_BEGINS, _OGG_GOES_ON = (
    re.compile(rb"OggS\0" + flags, re.DOTALL) for flags in (rb"[\2\3\6\7]", rb"[\0\1\4\5]")
)
# A chunk of WAV: its name and its size. What holds samples is among the first.
_CHUNK, _MOST_CHUNKS = struct.Struct("<4sI"), 64
_FIRST_CHUNK, _TO_THE_END = 12, b"\xff" * 4
# Searched at once; Python's lock can be had by others in between.
_WINDOW_BYTES = 2**18
_FLOATS = frozenset({DType.FP16, DType.BF16, DType.FP32, DType.FP64})
_MOST_CHANNELS = 16
# Resampling from an odd rate has a filter for each fraction: bounded with the rate.
_MOST_HZ = 384_000
_LEAST_HZ = 1000
_BLOCK = 65536  # samples of each channel; all channels of all of it are never in memory
_SAMPLE_BYTES = 4
# What one sound may take, between its file and the model's tensor.
_MOST_BYTES = 256 * 2**20
_UNKNOWN = 2**62  # more samples than this are no announcement: FLAC that was written to a pipe


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done to every file of one input; ``axes`` are those of an item."""

    accepted: AcceptedAudio
    name: str
    dtype: DType
    channels: int | None
    samples: int | None
    axes: int


def reader(spec: TensorSpec, accepted: AcceptedAudio, *, batched: bool) -> Callable[[bytes], Array]:
    """Return what makes an item (no batch axis) of a file.

    Raises:
        ModelLoadError: the entry does not fit the input; the message names the key.
        BackendMissing: soundfile is not installed.
    """
    library = libraries.load("audio")
    made = plan(spec, accepted, batched=batched)
    return lambda data: read(library, data, made)


def plan(spec: TensorSpec, accepted: AcceptedAudio, *, batched: bool) -> Plan:
    """Settle an entry against the input it feeds.

    Raises:
        ModelLoadError: it does not fit; the message names the key.
    """
    here = f"accepts: audio of input {spec.name!r}"
    if spec.dtype not in _FLOATS and spec.dtype is not DType.INT16:
        raise ModelLoadError(
            f"{here}: the input is {spec.dtype.value}; samples are floating-point numbers or INT16"
        )
    item = spec.shape[1:] if batched or len(spec.shape) == 3 else spec.shape  # noqa: PLR2004
    if len(item) not in {1, 2}:
        raise ModelLoadError(
            f"{here}: the input has shape {list(spec.wire_shape)}; it needs samples, or channels "
            "of samples, behind a batch axis or alone"
        )
    samples, said = item[-1], accepted.samples
    if isinstance(samples, int) and said not in {None, samples}:
        raise ModelLoadError(f"{here}: `samples` says {said} where the signature has {samples}")
    channels = item[0] if len(item) == 2 else 1  # noqa: PLR2004
    if accepted.mono and isinstance(channels, int) and channels != 1:
        raise ModelLoadError(f"{here}: the input has {channels} channels; set `mono: false`")
    fixed = samples if isinstance(samples, int) else said
    number = channels if isinstance(channels, int) else None
    return Plan(accepted, spec.name, spec.dtype, number, fixed, len(item))


def read(library: Any, data: bytes, made: Plan) -> Array:
    """Decode a file and make an item of it.

    Raises:
        InvalidInput: it is broken, of a format that is not read, or of a length that is refused.
        BodyTooLarge: it is too long.
    """
    if not data.startswith(_BEGINNINGS):
        raise InvalidInput(
            f"input {made.name!r}: this is no sound that can be read; send WAV, FLAC, Ogg or AIFF"
        )
    if data.startswith(_RIFF) and _has_mpeg(data):
        raise InvalidInput(
            f"input {made.name!r}: the sound is MP3 within WAV, which is not read; send samples"
        )
    if data.startswith(_OGG) and _is_chained(data):
        raise InvalidInput(
            f"input {made.name!r}: the sound is several, one after the other in one Ogg file "
            "(chained); send each by itself"
        )
    try:
        with library.SoundFile(_Bytes(_as_long_as_it_is(data))) as file:
            # Or it seeks after each block to where it is, which fails in FLAC without a length.
            file.seekable = lambda: False
            rate_hz = int(file.samplerate)
            limit = int(made.accepted.max_s * rate_hz)
            _check(made, rate_hz, int(file.channels))
            samples = _read_mixed(file, limit, made)
    except HeadraceError:
        raise
    except Exception as error:
        # Its own words without the file's name, which is an address of Python's here.
        says = getattr(error, "error_string", None) or str(error) or type(error).__name__
        raise InvalidInput(f"input {made.name!r}: the sound is broken: {says}") from error
    if samples.shape[1] > limit:
        raise _too_long(made)
    if reason := incomplete.reason(data):  # of which the library makes a shorter sound
        raise InvalidInput(f"input {made.name!r}: the sound is broken: {reason}")
    return numbers(samples, rate_hz, made)


def _has_mpeg(data: bytes) -> bool:
    return _find(_MPEG, data, 0, _MPEG_BYTES) is not None


def _is_chained(data: bytes) -> bool:
    begun = _find(_OGG_GOES_ON, data, 0, _OGG_PAGE_BYTES)
    return begun is not None and _find(_OGG_BEGINS, data, begun, _OGG_PAGE_BYTES) is not None


def _find(pattern: re.Pattern[bytes], data: bytes, start: int, longest_bytes: int) -> int | None:
    """Where a pattern is first, window by window."""
    for window in range(start, len(data), _WINDOW_BYTES):
        found = pattern.search(data, window, window + _WINDOW_BYTES + longest_bytes)
        if found is not None:
            return found.start()
    return None


def _as_long_as_it_is(data: bytes) -> bytes:
    """Have samples go on to the end of a WAV file that was written to a pipe, as from nothing.

    Who could not go back to say how long it is may have left 0 for the samples, with a length of
    the file that is no more than that comes to, or more than there is.
    """
    at = _FIRST_CHUNK
    for _ in range(_MOST_CHUNKS if data.startswith(_WAV) else 0):
        if at + _CHUNK.size >= len(data):
            break
        name, size_bytes = _CHUNK.unpack_from(data, at)
        start = at + _CHUNK.size
        if name == b"data":
            goes_on = start < _CHUNK.size + _CHUNK.unpack_from(data)[1] <= len(data)
            return data if size_bytes or goes_on else data[: start - 4] + _TO_THE_END + data[start:]
        at = start + size_bytes + size_bytes % 2
    return data


def _read_mixed(file: Any, limit: int, made: Plan) -> Array:
    """Channels of samples, to just over the limit."""
    if limit < file.frames < _UNKNOWN:
        raise _too_long(made)
    if file.frames < _UNKNOWN:
        _check_bytes(made, file, file.frames)
    blocks, count = [np.empty((1 if made.accepted.mono else file.channels, 0), np.float32)], 0
    while count <= limit:
        block = file.read(_BLOCK, dtype="float32", always_2d=True).T
        if not block.size:
            break
        count += block.shape[1]
        _check_bytes(made, file, count)
        blocks.append(mix(block, made))
    return np.concatenate(blocks, axis=1)


def _check_bytes(made: Plan, file: Any, count: int) -> None:
    """Refuse so many samples where they would be too much, as it is or at the model's rate."""
    channels, rate_hz = 1 if made.accepted.mono else file.channels, made.accepted.rate_hz
    samples = channels * count * max(1.0, rate_hz / file.samplerate)
    if samples * _SAMPLE_BYTES > _MOST_BYTES:
        raise BodyTooLarge(
            f"input {made.name!r}: {count / file.samplerate:.0f} s of {channels} channels at "
            f"{file.samplerate} Hz are more than {_MOST_BYTES >> 20} MiB of samples, as they are "
            f"or at the model's {rate_hz} Hz: send less at once, or at the model's rate"
        )


def _too_long(made: Plan) -> BodyTooLarge:
    return BodyTooLarge(
        f"input {made.name!r}: the sound is longer than {made.accepted.max_s:g} s; send less at "
        "once, or raise `max_s` of `accepts` in the model's card"
    )


class _Bytes(io.BytesIO):
    """Goes where a broken file sends its reader only as far as there is something.

    An exception here would pass through C, and end in the log instead of an answer.
    """

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Seek, from the start to the end."""
        size = self.getbuffer().nbytes
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self.tell()}.get(whence, size)
        return super().seek(min(max(0, start + offset), size))


def _check(made: Plan, rate_hz: int, channels: int) -> None:
    if not _LEAST_HZ <= rate_hz <= _MOST_HZ:
        raise InvalidInput(f"input {made.name!r}: a sample rate of {rate_hz} Hz is not read")
    if channels > _MOST_CHANNELS:
        raise InvalidInput(f"input {made.name!r}: {channels} channels are too many")
    if not made.accepted.mono and made.channels not in {None, channels}:
        raise InvalidInput(
            f"input {made.name!r} takes {made.channels} channels, the sound has {channels}"
        )


def mix(samples: Array, made: Plan) -> Array:
    """Average the channels where one is wanted."""
    if made.accepted.mono and len(samples) > 1:
        mixed: Array = samples.mean(axis=0, keepdims=True, dtype=np.float32)
        return mixed
    return samples


def numbers(samples: Array, rate_hz: int, made: Plan) -> Array:
    """Make of channels of samples what the model takes.

    Raises:
        InvalidInput: there is nothing in it, or its length is refused.
    """
    if not samples.shape[1]:
        raise InvalidInput(f"input {made.name!r}: the sound has no samples")
    samples = resample(samples, rate_hz, made.accepted.rate_hz)
    if made.samples is not None:
        samples = _of_length(samples, made.samples, made)
    if made.dtype is DType.INT16:
        if not np.isfinite(samples).all():
            raise InvalidInput(
                f"input {made.name!r}: the sound has samples that are no numbers (NaN or infinite)"
            )
        samples = np.rint(samples * 32768).clip(-32768, 32767)
    values = samples.astype(made.dtype.numpy, copy=False)
    return np.ascontiguousarray(values if made.axes > 1 else values[0])


def _of_length(samples: Array, wanted: int, made: Plan) -> Array:
    count = samples.shape[1]
    if count == wanted:
        return samples
    if made.accepted.length == "refuse":
        raise InvalidInput(
            f"input {made.name!r}: the sound has {count} samples at {made.accepted.rate_hz} Hz, "
            f"the model takes {wanted}; send that many, or set `length: pad_or_cut` in its card"
        )
    return np.pad(samples[:, :wanted], ((0, 0), (0, max(0, wanted - count))))
