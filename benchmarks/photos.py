"""Photos as clients would send them: parts of real ones, each as often as the others."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from PIL import Image

from headrace.values import Array
from zoo.download import Shelf, home
from zoo.sources import PHOTOS

_SIDE = 224  # of what the networks take
# Of the shorter side: what was photographed stays in the picture.
_LEAST = 0.6


def fetched() -> list[Image.Image]:
    """Return the photos, fetched if they are not there yet."""
    shelf = Shelf(home(os.environ))
    return [Image.open(shelf.take(source)).convert("RGB") for source in PHOTOS]


def parts(photos: Sequence[Image.Image], count: int, random: np.random.Generator) -> Array:
    """Return so many parts, from one photo after the other, half of them seen in a mirror."""
    seen = (photos[number % len(photos)] for number in range(count))
    return np.ascontiguousarray(np.stack([_part(photo, random) for photo in seen]))


def _part(photo: Image.Image, random: np.random.Generator) -> Array:
    short = min(photo.size)
    side = int(random.integers(int(_LEAST * short), short + 1))
    x, y = (int(random.integers(0, size - side + 1)) for size in photo.size)
    part = photo.crop((x, y, x + side, y + side)).resize((_SIDE, _SIDE))
    if random.integers(2):
        part = part.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return (np.asarray(part, np.float32).transpose(2, 0, 1) - 127) / 128
