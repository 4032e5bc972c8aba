"""An image file to numbers: decode, turn, flatten, resize, scale.

Everything a file may do to its reader is bounded before it is unpacked: the formats, the pixels,
and the size in between when it is resized.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from headrace.accepts import AcceptedImage
from headrace.errors import BodyTooLarge, HeadraceError, InvalidInput, ModelLoadError
from headrace.media import envelope
from headrace.values import Array, DType, TensorSpec

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
"""What is read; Pillow knows more, of which some run other programs."""

_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
# What a camera says (Exif's orientation), and what makes it upright.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Grey of 2 and 4 bits, and what makes it 8 bits.
_WIDENED = {"L;2": 0x55, "L;4": 0x11}
# Of colours of 16 bits Pillow keeps the upper byte; read as if that were the other, it is this one.
_LOWER_BYTES = "RGB;16L"
_STRIP_ROWS = 256
# Pillow's pieces of an image: glibc gives back at once what is above 32 MiB, and may keep what is
# below for each thread.
_BLOCK_BYTES = 64 * 2**20
_AXES = 3
# As JPEG has it. Pillow keeps an address for each row, and goes through them with Python's lock.
_LONGEST_SIDE = 65_535
# What one image may become where it decides its size itself: as much as a body may be.
_MOST_BYTES = 64 * 2**20
_WHITE = (255, 255, 255, 255)
_FLOATS = frozenset({DType.FP16, DType.BF16, DType.FP32, DType.FP64})
_NOT_NUMBERS = frozenset({DType.BOOL, DType.BYTES})


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done to every image of one input.

    ``height`` and ``width`` are None where the image decides; a value becomes
    ``value * factor + offset``.
    """

    accepted: AcceptedImage
    name: str
    dtype: DType
    height: int | None
    width: int | None
    channels_first: bool
    factor: Array
    offset: Array

    @property
    def plain(self) -> bool:
        """Whether values stay as they are in the file; one of 255 does not fit INT8."""
        as_they_are = self.dtype is not DType.INT8
        return as_they_are and bool((self.factor == 1).all() and (self.offset == 0).all())


def reader(spec: TensorSpec, accepted: AcceptedImage) -> Callable[[bytes], Array]:
    """Return what makes an item (no batch axis) of a file.

    Raises:
        ModelLoadError: the entry does not fit the input; the message names the key.
    """
    Image.init()  # every format is registered before there are threads
    core = Image.core  # type: ignore[attr-defined]
    core.set_block_size(max(_BLOCK_BYTES, core.get_block_size()))
    # Anybody could fill the log, and Python's memory of what it warned of, with odd files.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    made = plan(spec, accepted)
    return lambda data: read(data, made)


def plan(spec: TensorSpec, accepted: AcceptedImage) -> Plan:
    """Settle an entry against the input it feeds.

    Raises:
        ModelLoadError: it does not fit; the message names the key.
    """
    here = f"accepts: image of input {spec.name!r}"
    if spec.dtype in _NOT_NUMBERS:
        raise ModelLoadError(f"{here}: the input is {spec.dtype.value}, an image needs numbers")
    item = spec.shape[-_AXES:]
    if len(spec.shape) not in {_AXES, _AXES + 1}:
        raise ModelLoadError(
            f"{here}: the input has shape {list(spec.wire_shape)}; an image needs height, width "
            "and channels, behind a batch axis or alone"
        )
    channels = 1 if accepted.color == "gray" else 3
    first = _channels_first(here, item, channels, accepted)
    if (item[0] if first else item[2]) not in {channels, None} and isinstance(
        item[0] if first else item[2], int
    ):
        raise ModelLoadError(
            f"{here}: shape {list(spec.wire_shape)} has no axis of {channels} channels there; "
            "change `color` or `layout`"
        )
    fixed = item[1:] if first else item[:2]
    height, width = (
        _side(here, wanted, dim)
        for wanted, dim in zip(accepted.size or (None, None), fixed, strict=True)
    )
    _check_short_side(here, accepted, height, width)
    factor, offset = _linear(here, accepted, channels)
    return Plan(accepted, spec.name, spec.dtype, height, width, first, factor, offset)


def _channels_first(
    here: str, item: tuple[Any, ...], channels: int, accepted: AcceptedImage
) -> bool:
    if accepted.layout is not None:
        return accepted.layout == "nchw"
    first, last = item[0] == channels, item[2] == channels
    if first == last:
        raise ModelLoadError(
            f"{here}: the signature does not tell where the {channels} channels are; set `layout`"
        )
    return bool(first)


def _side(here: str, wanted: int | None, dim: Any) -> int | None:
    if not isinstance(dim, int):
        return wanted
    if wanted not in {None, dim}:
        raise ModelLoadError(f"{here}: `size` says {wanted} where the signature has {dim}")
    return dim


def _check_short_side(
    here: str, accepted: AcceptedImage, height: int | None, width: int | None
) -> None:
    if accepted.short_side is None:
        return
    if accepted.resize != "crop" or height is None or width is None:
        raise ModelLoadError(f"{here}: `short_side` is for `resize: crop` to a given `size`")
    if accepted.short_side < max(height, width):
        raise ModelLoadError(
            f"{here}: `short_side` {accepted.short_side} is less than the size, {height} x {width}"
        )


def _linear(here: str, accepted: AcceptedImage, channels: int) -> tuple[Array, Array]:
    mean, std = np.array(accepted.mean), np.array(accepted.std)
    for name, values in (("mean", mean), ("std", std)):
        if len(values) not in {1, channels}:
            raise ModelLoadError(
                f"{here}: `{name}` has {len(values)} numbers; give one, or {channels}"
            )
    factor = np.broadcast_to(accepted.scale / std, channels)
    offset = np.broadcast_to(-mean / std, channels)
    return factor.astype(np.float32), offset.astype(np.float32)


def read(data: bytes, made: Plan) -> Array:
    """Decode a file and make an item of it.

    Raises:
        InvalidInput: it is broken, of a format that is not read, or cannot be given the size.
        BodyTooLarge: it has too many pixels, or would become too large a tensor.
    """
    complaint = envelope.complaint(data)
    if complaint:
        raise InvalidInput(f"input {made.name!r}: the image {complaint}")
    try:
        image = resize(_decode(data, made), made)
        _check_bytes(made, *image.size)
    except HeadraceError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_many(made) from error
    except UnidentifiedImageError as error:
        raise InvalidInput(
            f"input {made.name!r}: this is no image that can be read; send "
            f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
        ) from error
    except Exception as error:
        raise InvalidInput(
            f"input {made.name!r}: the image is broken: {str(error) or type(error).__name__}"
        ) from error
    return numbers(np.asarray(image), made)


def _decode(data: bytes, made: Plan) -> Image.Image:
    """Unpack, flatten and turn; what is no longer needed goes at once, for images are large."""
    with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
        _check_pixels(made, *opened.size)
        raw = opened.tile[0].args if opened.format == "PNG" and opened.tile else None
        opened.load()
        turn = _TURNS.get(_orientation(opened))
    vars(opened).pop("_decoder", None)  # WebP's holds the image once more
    whole = _keyed(opened, raw, data) if "transparency" in opened.info else opened
    del opened
    image = flatten(whole, gray=made.accepted.color == "gray")
    del whole
    return image if turn is None else image.transpose(turn)


def _keyed(opened: Image.Image, raw: object, data: bytes) -> Image.Image:
    """Have the one transparent colour of a PNG be so where a sample is not of 8 bits.

    Pillow gives it as it is in the file, and pixels made 8 bits wide. ``raw`` is its name for how
    they are in the file.
    """
    key = opened.info["transparency"]
    if isinstance(raw, str) and raw in _WIDENED:
        opened.info["transparency"] = key * _WIDENED[raw]
    elif raw == "I;16B":
        return Image.merge("LA", (_eight_bits(opened), _opaque(np.asarray(opened) != key)))
    elif raw == "RGB;16B":
        differs = (np.asarray(opened) != np.array(key) >> 8).any(-1)
        with Image.open(io.BytesIO(data), formats=("PNG",)) as again:
            again.tile = [part._replace(args=_LOWER_BYTES) for part in again.tile]
            differs |= (np.asarray(again) != np.array(key) & 0xFF).any(-1)
        del opened.info["transparency"]
        opened.putalpha(_opaque(differs))
    return opened


def _opaque(where: Array) -> Image.Image:
    return Image.fromarray(where.astype(np.uint8) * np.uint8(255))


def _orientation(opened: Image.Image) -> Any:
    try:
        return opened.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # noqa: BLE001 - a good photo with broken notes is a good photo
        return None


def flatten(image: Image.Image, *, gray: bool) -> Image.Image:
    """Make 8-bit RGB, or grey, of an image of any mode; what is transparent becomes white."""
    if image.mode.startswith("I") or image.mode == "F":
        image = _eight_bits(image)
    if image.has_transparency_data:
        return _on_white(image, "L" if gray else "RGB")
    if gray and image.mode in {"P", "CMYK", "YCbCr", "LAB", "HSV"}:
        image = image.convert("RGB")  # not every mode has a way to grey
    return image.convert("L" if gray else "RGB")


def _on_white(image: Image.Image, mode: str) -> Image.Image:
    """Strip by strip: a large image need not be in memory four times."""
    made = Image.new(mode, image.size)
    for top in range(0, image.height, _STRIP_ROWS):
        strip = image.crop((0, top, image.width, min(image.height, top + _STRIP_ROWS)))
        strip = strip.convert("RGBA")
        white = Image.new("RGBA", strip.size, _WHITE)
        made.paste(Image.alpha_composite(white, strip).convert(mode), (0, top))
    return made


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 bits keeps its eight upper ones; other wide values are cut to 0 to 255."""
    values = np.asarray(image)
    if image.mode.startswith("I;16"):
        return Image.fromarray((values >> 8).astype(np.uint8))
    values = np.nan_to_num(values)  # a copy: from here on in place, for an image may be large
    if image.mode == "I" and values.max(initial=0) > 255:  # noqa: PLR2004
        values.clip(0, 65535, out=values)
        values >>= 8
    return Image.fromarray(values.clip(0, 255, out=values).astype(np.uint8))


def resize(image: Image.Image, made: Plan) -> Image.Image:
    """Give an image the size of the plan.

    Raises:
        BodyTooLarge: it is so long and thin that it would become huge in between.
    """
    how, (width, height) = _FILTERS[made.accepted.filter], image.size
    if made.height is None and made.width is None:
        return image
    if made.height is None or made.width is None:
        scale = made.height / height if made.height else (made.width or 0) / width
        return image.resize(_scaled(made, image, scale, made.width, made.height), how)
    target = (made.width, made.height)
    match made.accepted.resize:
        case "exact":
            return image if image.size == target else image.resize(target, how)
        case "fit":
            scale = min(made.width / width, made.height / height)
            inner = image.resize(_scaled(made, image, scale), how)
            canvas = Image.new(image.mode, target, _tone(image.mode, made.accepted.pad))
            canvas.paste(inner, ((target[0] - inner.width) // 2, (target[1] - inner.height) // 2))
            return canvas
        case "crop":
            scale = (
                max(made.width / width, made.height / height)
                if made.accepted.short_side is None
                else made.accepted.short_side / min(width, height)
            )
            inner = image.resize(_scaled(made, image, scale), how)
            left, top = max(0, inner.width - target[0]) // 2, max(0, inner.height - target[1]) // 2
            return inner.crop((left, top, left + target[0], top + target[1]))


def _tone(mode: str, value: int) -> int | tuple[int, int, int]:
    return value if mode == "L" else (value, value, value)


def _scaled(
    made: Plan,
    image: Image.Image,
    scale: float,
    width: int | None = None,
    height: int | None = None,
) -> tuple[int, int]:
    size = (
        width or max(1, round(image.width * scale)),
        height or max(1, round(image.height * scale)),
    )
    _check_pixels(made, *size)
    return size


def numbers(pixels: Array, made: Plan) -> Array:
    """Make of pixels (H,W,3) or (H,W) what the model takes."""
    if pixels.ndim < _AXES:
        pixels = pixels[..., None]
    if made.accepted.color == "bgr":
        pixels = pixels[..., ::-1]
    if made.channels_first:
        pixels = pixels.transpose(2, 0, 1)
        factor, offset = made.factor[:, None, None], made.offset[:, None, None]
    else:
        factor, offset = made.factor, made.offset
    if made.plain:
        return np.ascontiguousarray(pixels.astype(made.dtype.numpy))
    values = pixels.astype(np.float32)
    values *= factor  # in place: large images need not be in memory four times
    values += offset
    if made.dtype not in _FLOATS:
        limits = np.iinfo(made.dtype.numpy)
        if made.dtype.numpy.itemsize > 2:  # noqa: PLR2004 - whose limits are no FP32
            values = values.astype(np.float64)
        np.rint(values, out=values).clip(limits.min, limits.max, out=values)
    return np.ascontiguousarray(values.astype(made.dtype.numpy))


def _check_pixels(made: Plan, width: int, height: int) -> None:
    if width * height > made.accepted.max_mpixels * 1e6:
        raise _too_many(made)
    if max(width, height) > _LONGEST_SIDE:
        raise BodyTooLarge(
            f"input {made.name!r}: the image has, or would become on the way to its size, sides of "
            f"{width} x {height}, at most {_LONGEST_SIDE} are read; make it smaller, or cut it"
        )
    if not width or not height:
        raise InvalidInput(f"input {made.name!r}: the image has no pixels")


def _check_bytes(made: Plan, width: int, height: int) -> None:
    if made.height is not None and made.width is not None:
        return  # the card said so
    if width * height * len(made.factor) * made.dtype.numpy.itemsize > _MOST_BYTES:
        raise BodyTooLarge(
            f"input {made.name!r}: an image of {width} x {height} would become a tensor of more "
            f"than {_MOST_BYTES >> 20} MiB; make it smaller, or set `size` of `accepts` in the "
            "model's card"
        )


def _too_many(made: Plan) -> BodyTooLarge:
    return BodyTooLarge(
        f"input {made.name!r}: the image has, or would become, more than "
        f"{made.accepted.max_mpixels:g} million pixels; make it smaller, or raise `max_mpixels` of "
        "`accepts` in the model's card"
    )
