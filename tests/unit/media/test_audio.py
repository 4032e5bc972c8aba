"""A sound file becomes what its card says, or a message that names the fix."""

from __future__ import annotations

import struct
import tracemalloc
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.accepts import AcceptedAudio
from headrace.errors import BodyTooLarge, HeadraceError, InvalidInput, ModelLoadError
from headrace.media import audio
from headrace.media import resample as resampling
from headrace.media.resample import resample
from headrace.values import Array, DType, TensorSpec
from tests.unit.media.files import sound, tone


def make(shape: tuple[Any, ...], dtype: DType = DType.FP32, **keys: Any) -> audio.Plan:
    accepted = AcceptedAudio(kind="audio", input="x", **{"rate_hz": 16000, **keys})
    return audio.plan(TensorSpec("x", dtype, shape), accepted, batched=shape[0] is None)


def read(
    data: bytes, shape: tuple[Any, ...] = (None, None), dtype: DType = DType.FP32, **keys: Any
) -> Array:
    return audio.read(soundfile, data, make(shape, dtype, **keys))


@pytest.mark.parametrize(
    ("kind", "near"),
    [("WAV", 1e-4), ("FLAC", 1e-4), ("AIFF", 1e-4), ("RF64", 1e-4), ("OGG", 0.1)],
)
def test_every_format_gives_the_samples(kind: str, near: float) -> None:
    samples = read(sound(tone(), kind=kind))
    wave = tone()[:, 0]
    assert samples.dtype == np.float32
    assert samples.shape == wave.shape
    assert np.sqrt(np.mean((samples - wave) ** 2)) < near


def test_channels_are_averaged() -> None:
    stereo = tone(channels=2)
    stereo[:, 1] = 0
    np.testing.assert_allclose(read(sound(stereo)), tone()[:, 0] / 2, atol=1e-4)


def test_channels_are_kept_where_the_model_has_them() -> None:
    stereo = sound(tone(channels=2))
    assert read(stereo, (None, 2, None), mono=False).shape == (2, 8000)
    with pytest.raises(InvalidInput, match="takes 2 channels, the sound has 1"):
        read(sound(tone()), (None, 2, None), mono=False)


@pytest.mark.parametrize("rate_hz", [8000, 22050, 44100, 48000, 44101])
def test_other_rates_are_resampled(rate_hz: int) -> None:
    samples = read(sound(tone(rate_hz), rate_hz, subtype="FLOAT"))
    wave = tone()[:, 0]
    assert abs(len(samples) - len(wave)) <= 1
    both = min(len(samples), len(wave))
    np.testing.assert_allclose(samples[200 : both - 200], wave[200 : both - 200], atol=1e-3)


@pytest.mark.parametrize(("rate_hz", "wanted_hz"), [(383_999, 1000), (44_101, 16_000), (999, 8009)])
def test_odd_rates_are_a_few_filters_of_which_only_those_wanted_are_made(
    rate_hz: int, wanted_hz: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    taps = resampling._taps

    def counted(half: int, *rest: float) -> Array:
        made.append(2 * half)
        return taps(half, *rest)

    monkeypatch.setattr(resampling, "_taps", counted)
    wave = resample(tone(rate_hz, hz=100).T, rate_hz, wanted_hz)[0]
    assert sum(made) < 80_000
    wanted = tone(wanted_hz, hz=100)[:, 0]
    both = min(len(wave), len(wanted))
    middle = slice(both // 8, both - both // 8)
    np.testing.assert_allclose(wave[middle], wanted[middle], atol=1e-3)
    made.clear()
    resample(np.ones((1, rate_hz // 500), np.float32), rate_hz, wanted_hz)
    assert len(made) <= -(-wanted_hz // 500) + 1


def test_what_is_too_high_for_the_lower_rate_is_left_out() -> None:
    high = tone(48000, hz=11_000).T
    assert np.abs(resample(high, 48000, 16000)[:, 200:-200]).max() < 1e-3


def test_integers_of_16_bits_are_those_of_the_file() -> None:
    samples = read(sound(tone(), subtype="PCM_16"), dtype=DType.INT16)
    assert np.abs(samples - np.rint(tone()[:, 0] * 32767)).max() <= 1
    loud = read(sound(np.ones((100, 1), np.float32), subtype="FLOAT"), dtype=DType.INT16)
    assert (loud == 32767).all()


def test_the_length_is_refused_or_made() -> None:
    with pytest.raises(
        InvalidInput, match=r"has 8000 samples at 16000 Hz, the model takes 4000.*pad_or_cut"
    ):
        read(sound(tone()), (None, 4000))
    cut = read(sound(tone()), (None, 4000), length="pad_or_cut")
    padded = read(sound(tone()), (None, 1, None), samples=9000, length="pad_or_cut")
    np.testing.assert_allclose(cut, tone()[:4000, 0], atol=1e-4)
    assert padded.shape == (1, 9000)
    assert not padded[0, 8000:].any()


@pytest.mark.parametrize("shape", [(576,), (1, 576), (1, 1, 576)])
def test_models_without_a_batch_axis(shape: tuple[int, ...]) -> None:
    item = read(sound(tone()), shape, length="pad_or_cut")
    assert item.shape == shape[-2:]


def test_a_long_file_is_refused() -> None:
    with pytest.raises(BodyTooLarge, match=r"longer than 0.2 s; send less.*raise `max_s`"):
        read(sound(tone()), max_s=0.2)


@pytest.mark.parametrize(
    ("channels", "rate_hz", "model_hz"),
    [(8, 192_000, 16_000), (8, 1000, 48_000)],  # huge as it is, huge at the model's rate
)
def test_a_sound_that_becomes_too_much_is_refused_before_it_is_read(
    channels: int, rate_hz: int, model_hz: int
) -> None:
    frames = 2**28 // (4 * channels) * rate_hz // max(rate_hz, model_hz) + rate_hz
    silence = sound(np.zeros((frames, channels), np.int16), rate_hz, kind="FLAC")
    tracemalloc.start()
    try:
        with pytest.raises(BodyTooLarge, match=r"more than 256 MiB.* at the model's rate"):
            read(silence, (None, None, None), mono=False, rate_hz=model_hz, max_s=3600)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 1e6 + len(silence)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_refused_where_samples_are_whole(value: float) -> None:
    data = sound(np.full((100, 1), value, np.float32), subtype="FLOAT")
    with pytest.raises(InvalidInput, match="input 'x': the sound has samples that are no numbers"):
        read(data, dtype=DType.INT16)


@pytest.mark.parametrize("data", [b"RIFF" + b"\0" * 40, b"fLaC" + b"\0" * 100, sound(tone())[:20]])
def test_a_broken_sound_is_told_without_addresses(data: bytes) -> None:
    with pytest.raises(InvalidInput, match=r"the sound is broken: \w") as told:
        read(data)
    assert "0x" not in str(told.value)
    assert "object" not in str(told.value)


def test_a_file_of_many_channels_is_never_in_memory_as_a_whole() -> None:
    silence = sound(np.zeros((3_000_000, 8), np.float32), 192_000, kind="FLAC")
    tracemalloc.start()
    try:
        samples = read(silence)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert samples.shape == (250_000,)
    assert peak_bytes < 50e6  # all channels are 96 MB


def test_an_odd_rate_takes_little_more_than_what_is_made_of_it() -> None:
    low = sound(np.zeros((1009 * 200, 1), np.float32), 1009, kind="FLAC")
    tracemalloc.start()
    try:
        samples = read(low, max_s=200)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert samples.shape == (16_000 * 200,)
    assert peak_bytes < 1.5 * samples.nbytes


def test_a_file_that_does_not_know_its_length_is_not_called_too_long() -> None:
    long = sound(np.tile(tone(), (20, 1)), kind="FLAC")
    np.testing.assert_array_equal(read(_piped(long)), read(long))
    with pytest.raises(BodyTooLarge, match=r"longer than 5 s; send less"):
        read(_piped(long), max_s=5)


def test_a_file_that_does_not_know_its_length_is_counted_while_it_is_read() -> None:
    silence = _piped(sound(np.zeros((2**19, 4), np.int16), 1000, kind="FLAC"))
    tracemalloc.start()
    try:
        with pytest.raises(BodyTooLarge, match=r"more than 256 MiB.* at the model's rate"):
            read(silence, (None, None, None), mono=False, rate_hz=48_000, max_s=3600)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 20e6


def _piped(flac: bytes) -> bytes:
    """FLAC as a program writes it that cannot go back to say how much it was."""
    piped = bytearray(flac)
    piped[21] &= 0xF0  # the header's count of samples: 36 bits, 0 is unknown
    piped[22:26] = bytes(4)
    return bytes(piped)


def _of_sizes(wav: bytes, riff: int, samples: int) -> bytes:
    """A WAV file that says so of itself, and of its samples."""
    changed, at = bytearray(wav), wav.index(b"data") + 4
    changed[4:8] = struct.pack("<I", riff)
    changed[at : at + 4] = struct.pack("<I", samples)
    return bytes(changed)


@pytest.mark.parametrize(
    ("riff", "samples"), [(2**32 - 1, 2**32 - 1), (0, 0), (36, 0), (2**31, 0), (2**31, 2**31)]
)
def test_wav_that_was_written_to_a_pipe_is_read_to_its_end(riff: int, samples: int) -> None:
    wav = sound(tone(), subtype="PCM_16")
    np.testing.assert_array_equal(read(_of_sizes(wav, riff, samples)), read(wav))


def test_wav_without_samples_has_none_whatever_is_behind_them() -> None:
    wav = sound(np.zeros((0, 1), np.float32), subtype="PCM_16")
    more = b"LIST" + struct.pack("<I", 8) + b"INFOdata"
    for empty in (wav, _of_sizes(wav + more, len(wav + more) - 8, 0)):
        with pytest.raises(InvalidInput, match="the sound has no samples"):
            read(empty)


def test_ogg_files_one_after_the_other_are_refused() -> None:
    one = sound(tone(), kind="OGG")
    assert read(one).size
    with pytest.raises(InvalidInput, match=r"several, one after the other.*send each by itself"):
        read(one + one)


def test_a_file_that_lies_about_its_length_is_read_as_far_as_it_goes() -> None:
    lying = bytearray(sound(tone(seconds=0.01), subtype="PCM_16"))
    at = lying.index(b"data") + 4
    lying[at : at + 4] = struct.pack("<I", 2**31)
    assert read(bytes(lying)).size == 160


def _of_ogg() -> bytes:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (48_000, 1))
    return sound(noise, kind="OGG")


@pytest.mark.parametrize("kind", ["WAV", "RF64", "AIFF", "OGG"])
@pytest.mark.parametrize("part", [0.5, 0.9, 0.999])
def test_a_sound_of_which_the_end_is_missing_is_broken(kind: str, part: float) -> None:
    whole = _of_ogg() if kind == "OGG" else sound(tone(), kind=kind)
    assert read(whole).size
    with pytest.raises(InvalidInput, match="input 'x': the sound is broken: "):
        read(whole[: int(len(whole) * part)])


@pytest.mark.parametrize(
    ("kind", "subtype"),
    [
        ("WAV", "PCM_U8"),
        ("WAV", "PCM_16"),
        ("WAV", "PCM_24"),
        ("RF64", "PCM_16"),
        ("AIFF", "PCM_16"),
    ],
)
def test_one_byte_of_the_samples_that_is_missing_is_enough(kind: str, subtype: str) -> None:
    whole = sound(tone(seconds=0.01), kind=kind, subtype=subtype)
    assert read(whole).size == 160
    with pytest.raises(InvalidInput, match=r"says that its samples are \d+ bytes, and ends after"):
        read(whole[:-1])


def test_ogg_of_which_pages_are_missing_or_damaged_is_broken() -> None:
    whole = _of_ogg()
    pages = [b"OggS" + page for page in whole.split(b"OggS")[1:]]
    assert len(pages) >= 5
    assert read(b"".join(pages[:-1])).size, "what is recorded live may end with any page"
    with pytest.raises(InvalidInput, match="pages are missing before byte"):
        read(b"".join([*pages[:3], *pages[4:]]))
    damaged = bytearray(whole)
    damaged[-100] ^= 1
    with pytest.raises(InvalidInput, match=r"its page at byte .* is damaged"):
        read(bytes(damaged))


@pytest.mark.parametrize(
    ("kind", "behind"),
    [("WAV", b"LIST\x04\0\0\0INFO"), ("AIFF", b"ANNO\0\0\0\4note"), ("OGG", b"TAG" + bytes(125))],
)
def test_what_is_behind_the_samples_is_left_out(kind: str, behind: bytes) -> None:
    whole = sound(tone(), kind=kind)
    np.testing.assert_array_equal(read(whole + behind), read(whole))


@pytest.mark.parametrize("size_bytes", [0x7F000008, 0x7FFFF000, 2**32 - 1])
def test_aiff_that_was_written_to_a_pipe_is_read_to_its_end(size_bytes: int) -> None:
    whole = sound(tone(), kind="AIFF")
    at = whole.index(b"SSND") + 4
    piped = whole[:at] + struct.pack(">I", size_bytes) + whole[at + 4 :]
    assert read(piped).size


@pytest.mark.parametrize("pad", [b"", b"\0"])
def test_the_byte_that_makes_the_size_even_may_be_missing(pad: bytes) -> None:
    whole = sound(tone(seconds=0.0100625), subtype="PCM_U8")
    at = whole.index(b"data") + 8
    assert read(whole[: at + 161] + pad).size == 161


def _wav(mp3: bytes, fmt: bytes, *, kind: bytes = b"RIFF", front: bytes = b"") -> bytes:
    """MP3 within WAV."""
    parts = [(b"fmt ", fmt), (b"fact", struct.pack("<I", 16000)), (b"data", mp3)]
    chunks = b"".join(name + struct.pack("<I", len(data)) + data for name, data in parts)
    return kind + struct.pack("<I", 4 + len(front + chunks)) + b"WAVE" + front + chunks


_MP3 = struct.pack("<HHIIHHHHIHHH", 0x55, 1, 16000, 2000, 1, 0, 12, 1, 2, 417, 1, 1393)
_MP2 = struct.pack("<HHIIHHHHIHHHHI", 0x50, 1, 16000, 2000, 1, 0, 22, 2, 64000, 1, 0, 0, 0, 0)
_WITHIN = struct.pack("<HHIIHHHHI", 0xFFFE, 1, 16000, 2000, 1, 16, 22, 16, 4)
_LIST = b"LIST" + struct.pack("<I", 2**18) + bytes(2**18)  # across two windows


@pytest.mark.parametrize(
    "options",
    [
        {"fmt": _MP3},
        {"fmt": _MP2},
        {"fmt": _WITHIN + b"\x55\0\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71"},
        {"fmt": _MP3, "kind": b"RF64"},
        *({"fmt": _MP3, "front": _LIST[: len(_LIST) - cut]} for cut in range(8, 52, 11)),
    ],
)
def test_mp3_within_wav_is_not_read_and_writes_nothing(
    options: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    damaged = bytearray(sound(tone(), kind="MP3"))
    damaged[200::40] = bytes(len(damaged[200::40]))
    with pytest.raises(InvalidInput, match="is MP3 within WAV, which is not read; send samples"):
        read(_wav(bytes(damaged), **options))
    assert capfd.readouterr() == ("", "")


_SUBTYPES = ("PCM_U8", "PCM_24", "DOUBLE", "ALAW", "ULAW", "IMA_ADPCM", "MS_ADPCM", "GSM610")


@pytest.mark.parametrize(
    ("kind", "subtype"),
    [
        (kind, subtype)
        for kind in ("WAV", "WAVEX", "RF64")
        for subtype in _SUBTYPES
        if soundfile.check_format(kind, subtype)
    ],
)
def test_other_kinds_of_wav_are_read(kind: str, subtype: str) -> None:
    assert abs(read(sound(tone(8000), 8000, kind, subtype), rate_hz=8000).size - 4000) < 600


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "this is no sound that can be read; send WAV, FLAC, Ogg or AIFF"),
        (b"hello", "this is no sound"),
        (sound(tone(), kind="MP3"), "this is no sound"),
        (b"RIFF", "the sound is broken"),
        (sound(tone())[:20], "the sound is broken"),
        (b"fLaC" + b"\0" * 100, "the sound is broken"),
        (sound(np.zeros((0, 1), np.float32)), "the sound has no samples"),
        (sound(tone(100), 100), "a sample rate of 100 Hz is not read"),
        (sound(np.zeros((9, 17), np.float32)), "17 channels are too many"),
    ],
)
def test_what_cannot_be_read_says_so(data: bytes, says: str) -> None:
    with pytest.raises(InvalidInput, match=f"input 'x': {says}"):
        read(data)


@pytest.mark.parametrize(
    ("shape", "dtype", "keys", "says"),
    [
        ((None, 4), DType.INT64, {}, "samples are floating-point numbers or INT16"),
        ((None,), DType.FP32, {}, "it needs samples, or channels of samples"),
        ((None, 8), DType.FP32, {"samples": 9}, "`samples` says 9 where the signature has 8"),
        ((None, 2, 8), DType.FP32, {}, "the input has 2 channels; set `mono: false`"),
    ],
)
def test_an_entry_that_does_not_fit_names_its_key(
    shape: tuple[Any, ...], dtype: DType, keys: dict[str, Any], says: str
) -> None:
    with pytest.raises(ModelLoadError, match=f"^accepts: audio of input 'x': .*{says}"):
        make(shape, dtype, **keys)


_PLAN = make((None, None))
_FILES = [sound(tone(seconds=0.02), kind=kind) for kind in ("WAV", "FLAC", "OGG", "AIFF")]


@settings(deadline=None)
@given(st.sampled_from(_FILES), st.data())
def test_a_damaged_file_gives_samples_or_a_typed_error(file: bytes, data: st.DataObject) -> None:
    damaged = bytearray(file)
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(0, len(file) - 1))] = data.draw(st.integers(0, 255))
    kept = bytes(damaged[: data.draw(st.integers(0, len(damaged)))])
    try:
        assert audio.read(soundfile, kept, _PLAN).ndim == 1
    except HeadraceError as error:
        assert error.http_status in {400, 413}  # noqa: PT017
