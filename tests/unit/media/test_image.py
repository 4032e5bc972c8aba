"""An image file becomes what its card says, or a message that names the fix."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from headrace.accepts import AcceptedImage
from headrace.errors import BodyTooLarge, HeadraceError, InvalidInput, ModelLoadError
from headrace.media import image
from headrace.values import Array, DType, TensorSpec
from tests.unit.media.files import FLAG, bomb, encode, flag, png


def make(shape: tuple[Any, ...], dtype: DType = DType.UINT8, **keys: Any) -> image.Plan:
    return image.plan(TensorSpec("x", dtype, shape), AcceptedImage(kind="image", input="x", **keys))


def read(
    data: bytes,
    shape: tuple[Any, ...] = (None, None, None, 3),
    dtype: DType = DType.UINT8,
    **keys: Any,
) -> Array:
    return image.read(data, make(shape, dtype, **keys))


# -- what is decoded -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "TIFF", "WEBP"])
def test_every_format_without_loss_gives_the_same_pixels(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    assert np.array_equal(read(flag(kind, **options)), FLAG)


def test_a_jpeg_gives_nearly_the_same_pixels() -> None:
    pixels = read(flag("JPEG", quality=95, subsampling=0)).astype(int)
    assert np.abs(pixels - FLAG).max() < 40


def test_the_camera_s_orientation_is_applied() -> None:
    turned = Image.fromarray(FLAG)
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn clockwise is needed
    pixels = read(encode(turned, "PNG", exif=exif))
    assert np.array_equal(pixels, np.rot90(FLAG, -1))


@pytest.mark.parametrize("turn", range(1, 9))
def test_every_orientation_is_that_of_pillow(turn: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn
    want = ImageOps.exif_transpose(Image.open(io.BytesIO(flag("PNG", exif=exif))))
    assert np.array_equal(read(flag("PNG", exif=exif)), np.asarray(want))


def _short(kind: int, count: int, value: int) -> bytes:
    return struct.pack("<HHII", 0x0112, kind, count, value)


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0hello hello hello",
        b"Exif\0\0II*\0\x08\0\0\0\x01\0" + _short(3, 9, 6),
        b"Exif\0\0II*\0\x08\0\0\0\x01\0" + _short(3, 1, 99),
        b"Exif\0\0II*\0\x08\0\0\0\x09\0" + _short(3, 1, 1),
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\0\0\x02a\0\0\0",
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_good_photo_with_broken_exif_is_read(kind: str, exif: bytes) -> None:
    """And nothing is written to the log: here a warning is an error."""
    spec = TensorSpec("x", DType.UINT8, (None, None, None, 3))
    one = image.reader(spec, AcceptedImage(kind="image", input="x"))
    assert one(flag(kind, exif=exif)).shape == FLAG.shape


def test_of_an_animation_the_first_frame_counts() -> None:
    frames = [Image.fromarray(FLAG), Image.fromarray(255 - FLAG)]
    data = encode(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    assert np.array_equal(read(data), FLAG)


def test_what_is_transparent_becomes_white() -> None:
    clear = np.dstack([FLAG, np.zeros(FLAG.shape[:2], np.uint8)])
    assert (read(encode(Image.fromarray(clear))) == 255).all()
    half = Image.new("LA", (2, 2), (0, 0))
    assert (read(encode(half)) == 255).all()
    palette = Image.new("P", (2, 2), 0)
    assert (read(encode(palette, "PNG", transparency=0)) == 255).all()


@pytest.mark.parametrize(
    ("bits", "kind", "row", "key", "other"),
    [
        (1, 0, b"\x80", b"\0\1", 0),
        (2, 0, b"\x60", b"\0\1", 2 * 0x55),
        (4, 0, b"\x57", b"\0\5", 7 * 0x11),
        (8, 0, b"\x12\x13", b"\0\x12", 0x13),
        (16, 0, b"\x12\x34\x12\x35", b"\x12\x34", 0x12),
        (8, 2, b"\x12" * 3 + b"\x13" * 3, b"\0\x12" * 3, 0x13),
        (16, 2, b"\x12\x34" * 3 + b"\x12\x35" * 3, b"\x12\x34" * 3, 0x12),
    ],
)
def test_the_transparent_colour_of_a_png_is_white_and_no_other(
    bits: int, kind: int, row: bytes, key: bytes, other: int
) -> None:
    pixels = read(png((2, 1), bits, kind, b"\0" + row, key))
    assert pixels.reshape(2, 3).tolist() == [[255] * 3, [other] * 3]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
@pytest.mark.parametrize("color", ["rgb", "gray"])
def test_large_transparent_images_are_flattened_as_small_ones_are(mode: str, color: str) -> None:
    values = np.random.default_rng(0).integers(0, 256, (700, 90, 4), np.uint8)
    some = Image.fromarray(values).convert(mode)
    data = encode(some, "PNG", **({"transparency": bytes(range(256))} if mode == "P" else {}))
    with Image.open(io.BytesIO(data)) as opened:
        white = Image.new("RGBA", opened.size, (255, 255, 255, 255))
        whole = Image.alpha_composite(white, opened.convert("RGBA"))
    want = np.asarray(whole.convert("L" if color == "gray" else "RGB"))
    shape = (None, None, None, 1 if color == "gray" else 3)
    assert np.array_equal(read(data, shape, color=color).squeeze(), want)


def test_16_bits_keep_their_upper_eight() -> None:
    grey = Image.fromarray(np.full((2, 3), 0x8040, np.uint16))
    assert (read(encode(grey)) == 0x80).all()


def test_a_small_webp_does_not_take_a_gigabyte() -> None:
    """Unpacking it takes Pillow four times its pixels; nothing is added, and all given back."""
    code = """if True:
        import io, sys
        from concurrent.futures import ThreadPoolExecutor
        from pathlib import Path
        from PIL import Image
        from headrace.accepts import AcceptedImage
        from headrace.media import image
        from headrace.values import DType, TensorSpec
        spec = TensorSpec("x", DType.UINT8, (None, 3, 224, 224))
        read = image.reader(spec, AcceptedImage(kind="image", input="x"))
        data = sys.stdin.buffer.read()
        def has(what):
            return int(Path("/proc/self/status").read_text().split(what)[1].split()[0])
        most, now = has("VmHWM:"), has("VmRSS:")
        with ThreadPoolExecutor(1) as pool:
            for _ in range(2):
                pool.submit(read, data).result()
            print(has("VmHWM:") - most, has("VmRSS:") - now)
    """
    side = 4000
    data = encode(Image.new("RGBA", (side, side)), "WEBP", lossless=True)
    ran = subprocess.run([sys.executable, "-c", code], input=data, check=True, capture_output=True)
    most_kib, kept_kib = map(int, ran.stdout.split())
    assert most_kib * 1024 < 18 * side**2
    assert kept_kib * 1024 < 4 * side**2


@pytest.mark.parametrize(("mode", "most"), [("I;16", 7), ("I", 10)])
def test_wide_grey_takes_a_few_bytes_a_pixel(mode: str, most: int) -> None:
    side = 1000
    wide = Image.new(mode, (side, side))
    tracemalloc.start()
    try:
        image.flatten(wide, gray=True)
        taken_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert taken_bytes < most * side**2


def test_wide_grey_is_cut_to_what_there_is() -> None:
    numbers = np.array([[-5, 0x1234, 70_000]], np.int32)
    assert np.asarray(image.flatten(Image.fromarray(numbers), gray=True)).tolist() == [
        [0, 0x12, 0xFF]
    ]
    some = np.array([[-5, 7, 255]], np.int32)
    assert np.asarray(image.flatten(Image.fromarray(some), gray=True)).tolist() == [[0, 7, 255]]
    big = Image.frombytes("I;16B", (2, 1), b"\x12\x34\xff\xff")
    assert np.asarray(image.flatten(big, gray=True)).tolist() == [[0x12, 0xFF]]
    floats = np.array([[np.nan, -1, 300.5]], np.float32)
    assert np.asarray(image.flatten(Image.fromarray(floats), gray=True)).tolist() == [[0, 0, 255]]


@pytest.mark.parametrize("mode", ["CMYK", "L", "1", "P", "LAB", "YCbCr"])
@pytest.mark.parametrize("color", ["rgb", "gray"])
def test_every_mode_becomes_colour_or_grey(mode: str, color: str) -> None:
    white = Image.new("RGB", (3, 2), "white")
    if mode == "LAB":
        white = Image.merge("LAB", [Image.new("L", (3, 2), v) for v in (255, 128, 128)])
    else:
        white = white.convert(mode)
    channels = 1 if color == "gray" else 3
    kind = "JPEG" if mode == "YCbCr" else "TIFF"
    pixels = read(encode(white, kind), (None, None, None, channels), color=color)
    assert pixels.shape == (2, 3, channels)
    assert (pixels >= 253).all()


def test_floats_and_wide_integers_are_cut_to_a_byte() -> None:
    floats = Image.fromarray(np.array([[-5, 100.4, 300, np.nan]], np.float32))
    assert read(encode(floats, "TIFF"))[0, :, 0].tolist() == [0, 100, 255, 0]
    wide = Image.fromarray(np.array([[0x4000, 0x10, 70000]], np.int32))
    assert read(encode(wide, "TIFF"))[0, :, 0].tolist() == [0x40, 0, 255]
    narrow = Image.fromarray(np.array([[7, 9]], np.int32))
    assert read(encode(narrow, "TIFF"))[0, :, 0].tolist() == [7, 9]


# -- what is made of it ----------------------------------------------------------------------------


def test_colours_layout_scale_mean_and_std() -> None:
    values = read(
        flag(),
        (None, 3, 4, 8),
        DType.FP32,
        color="bgr",
        scale=1 / 255,
        mean=(0.5, 0.25, 0),
        std=(0.5, 1, 2),
    )
    bgr = FLAG[..., ::-1].astype(np.float32) / 255
    wanted = ((bgr - np.array([0.5, 0.25, 0])) / np.array([0.5, 1, 2])).transpose(2, 0, 1)
    assert values.dtype == np.float32
    assert values.flags.c_contiguous
    np.testing.assert_allclose(values, wanted, atol=1e-6)


@pytest.mark.parametrize("dtype", [DType.FP16, DType.BF16, DType.FP64, DType.INT8, DType.INT32])
def test_numbers_have_the_dtype_of_the_signature(dtype: DType) -> None:
    values = read(flag(), dtype=dtype, mean=(128,))
    assert values.dtype == dtype.numpy
    assert (values[0, 0, 0], values[0, 0, 1]) == (127, -128)


def test_whole_numbers_are_rounded_and_kept_within_their_range() -> None:
    assert read(flag(), dtype=DType.UINT8, scale=2.0).max() == 255
    assert read(flag(), dtype=DType.INT8)[0, 0, 0] == 127  # 255 does not fit


def test_fit_keeps_all_of_it_and_pads() -> None:
    pixels = read(flag(), (None, 8, 8, 3), resize="fit", pad=7, filter="nearest")
    assert np.array_equal(pixels[2:6], FLAG)
    assert (pixels[:2] == 7).all()
    assert (pixels[6:] == 7).all()


def test_crop_keeps_the_middle() -> None:
    pixels = read(flag(), (None, 2, 2, 3), resize="crop", filter="nearest")
    assert np.array_equal(pixels, FLAG[:2, 3:5])
    larger = read(flag(), (None, 2, 2, 3), resize="crop", short_side=4, filter="nearest")
    assert np.array_equal(larger, FLAG[1:3, 3:5])


def test_exact_stretches_and_leaves_alone_what_fits() -> None:
    assert read(flag(), (None, 6, 6, 3)).shape == (6, 6, 3)
    assert np.array_equal(read(flag(), (None, 4, 8, 3)), FLAG)


def test_one_free_side_follows_from_the_other() -> None:
    assert read(flag(), (None, 8, None, 3)).shape == (8, 16, 3)
    assert read(flag(), (None, None, None, 3), size=(None, 4)).shape == (2, 4, 3)


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [8000, 10_000, 60_000])  # ours, Pillow's warning, Pillow's error
def test_a_bomb_is_refused_before_it_is_unpacked(side: int) -> None:
    with pytest.raises(
        BodyTooLarge, match="million pixels; make it smaller, or raise `max_mpixels`"
    ):
        read(bomb(side))


def test_long_and_thin_is_refused_when_it_would_become_huge() -> None:
    data = encode(Image.new("RGB", (20_000, 1)))
    for keys in ({"size": (224, None)}, {"size": (224, 224), "resize": "crop"}):
        with pytest.raises(BodyTooLarge, match="would become"):
            read(data, **keys)


def test_an_image_that_decides_its_size_becomes_no_huge_tensor() -> None:
    data = encode(Image.new("L", (60_000, 480)))
    for shape in ((None, None, None, 3), (None, 480, None, 3), (None, None, 60_000, 3)):
        with pytest.raises(BodyTooLarge, match=r"60000 x 480 would become .* than 64 MiB; .*size"):
            read(data, shape, DType.FP32)
    assert read(data, (None, 4, 4, 3), DType.FP32).shape == (4, 4, 3)


@pytest.mark.parametrize("size", [(1, 65_536), (65_536, 1)])
def test_a_long_thin_image_is_refused_before_it_is_unpacked(size: tuple[int, int]) -> None:
    with pytest.raises(BodyTooLarge, match=r"sides of \d+ x \d+, at most 65535 are read; .*cut it"):
        read(encode(Image.new("L", size)), (None, 4, 4, 3))
    fits = encode(Image.new("L", (min(size[0], 65_535), min(size[1], 65_535))))
    assert read(fits, (None, 4, 4, 3)).shape == (4, 4, 3)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "this is no image that can be read; send PNG, JPEG, WEBP, GIF, BMP or TIFF"),
        (b"hello", "this is no image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "this is no image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "this is no image"),
        (flag()[:45], "the image is broken"),
        (flag("JPEG")[:300], "broken"),
        (flag("TIFF")[:40], "broken|no image"),
        (bomb(100), "the image is broken"),
    ],
)
def test_what_cannot_be_read_says_so(data: bytes, says: str) -> None:
    with pytest.raises(InvalidInput, match=f"input 'x': .*({says})"):
        read(data)


@pytest.mark.parametrize(
    ("shape", "dtype", "keys", "says"),
    [
        ((None, 4), DType.FP32, {}, "needs height, width and channels"),
        ((None, 3, 4, 4), DType.BYTES, {}, "an image needs numbers"),
        ((None, None, None, None), DType.FP32, {}, "does not tell where the 3 channels are"),
        ((None, 3, 8, 3), DType.FP32, {}, "set `layout`"),
        ((None, 1, 8, 8), DType.FP32, {"layout": "nchw"}, "change `color` or `layout`"),
        ((None, 3, 8, 8), DType.FP32, {"size": (9, 8)}, "`size` says 9 where the signature has 8"),
        ((None, 3, 8, 8), DType.FP32, {"mean": (1, 2)}, "`mean` has 2 numbers; give one, or 3"),
        ((None, 3, 8, 8), DType.FP32, {"std": ()}, "`std` has 0 numbers"),
        ((None, 3, 8, 8), DType.FP32, {"short_side": 9}, "is for `resize: crop`"),
        (
            (None, 3, 8, 8),
            DType.FP32,
            {"short_side": 7, "resize": "crop"},
            "`short_side` 7 is less than the size, 8 x 8",
        ),
    ],
)
def test_an_entry_that_does_not_fit_names_its_key(
    shape: tuple[Any, ...], dtype: DType, keys: dict[str, Any], says: str
) -> None:
    with pytest.raises(ModelLoadError, match=f"^accepts: image of input 'x': .*{says}"):
        make(shape, dtype, **keys)


_PLAN = make((None, 3, 8, 8), DType.FP32)
_FILES = [flag(kind) for kind in image.FORMATS]


@settings(deadline=None)
@given(st.sampled_from(_FILES), st.data())
def test_a_damaged_file_gives_pixels_or_a_typed_error(file: bytes, data: st.DataObject) -> None:
    damaged = bytearray(file)
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(0, len(file) - 1))] = data.draw(st.integers(0, 255))
    kept = bytes(damaged[: data.draw(st.integers(0, len(damaged)))])
    try:
        assert image.read(kept, _PLAN).shape == (3, 8, 8)
    except HeadraceError as error:
        assert error.http_status in {400, 413}  # noqa: PT017


@settings(deadline=None)
@given(st.binary(max_size=200))
@example(b"\x89PNG\r\n\x1a\n")
@example(b"GIF89a" + b"\0" * 7)
def test_any_bytes_give_pixels_or_a_typed_error(file: bytes) -> None:
    try:
        assert image.read(file, _PLAN).shape == (3, 8, 8)
    except HeadraceError as error:
        assert error.http_status in {400, 413}  # noqa: PT017
