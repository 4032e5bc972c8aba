"""Parts of photos: of each as many, no two alike, the same each time."""

from __future__ import annotations

import numpy as np
from PIL import Image

from benchmarks.photos import parts
from headrace.values import Array

RANDOM = np.random.default_rng(1)
DARK = Image.fromarray(RANDOM.integers(0, 100, (300, 400, 3), np.uint8))
LIGHT = Image.fromarray(RANDOM.integers(150, 256, (500, 260, 3), np.uint8))


def made(seed: int) -> Array:
    return parts([DARK, LIGHT], 6, np.random.default_rng(seed))


def test_parts_come_from_every_photo_in_turn_and_are_all_different() -> None:
    found = made(7)
    assert found.shape == (6, 3, 224, 224)
    assert found.dtype == np.float32
    assert (found.mean(axis=(1, 2, 3)) > 0).tolist() == [False, True] * 3
    assert len({one.tobytes() for one in found}) == 6


def test_the_same_seed_makes_the_same_parts() -> None:
    np.testing.assert_array_equal(made(7), made(7))
    assert (made(7) != made(8)).any()
