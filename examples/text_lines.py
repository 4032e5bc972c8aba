"""Text to images and back: what surrounds the text recogniser."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

HEIGHT = 48
"""The height of a line of text in pixels, which the model was trained at."""

_FONT_SIZE = 30
_MARGIN = 8
_BLANK = 0

Pixels = NDArray[np.float32]


def draw(text: str) -> Pixels:
    """Write a line black on white and return it as the model takes it: (1,3,48,W), -1 to 1."""
    # The TrueType font inside Pillow: the same on every machine.
    font = ImageFont.load_default(_FONT_SIZE)
    width = round(font.getlength(text)) + 2 * _MARGIN
    image = Image.new("RGB", (width, HEIGHT), "white")
    ImageDraw.Draw(image).text((_MARGIN, HEIGHT / 2), text, "black", font, anchor="lm")
    colours = np.asarray(image)[:, :, ::-1]  # BGR, as it was trained
    values = colours.astype(np.float32) / np.float32(127.5) - np.float32(1)
    return np.ascontiguousarray(values.transpose(2, 0, 1)[None])


def alphabet(model: Path) -> list[str]:
    """Read what each class stands for, from the file beside the model."""
    return (model / "alphabet.txt").read_text(encoding="utf-8").split("\n")


def spell(classes: Sequence[int] | NDArray[Any], characters: Sequence[str]) -> str:
    """Turn the classes of a line's steps into its text.

    The model looks at 8 pixels at a time and names a character or nothing. A character that spans
    several steps is named several times; nothing stands between two that are really there.
    """
    steps = np.asarray(classes).astype(int).tolist()
    kept = [
        now
        for before, now in zip([_BLANK, *steps], steps, strict=False)
        if now not in {before, _BLANK}
    ]
    return "".join(characters[number] for number in kept)


def same_letters(read: str, truth: str) -> bool:
    """Whether the same was read, spaces aside: this model was made for Chinese and loses some."""
    return "".join(read.split()) == "".join(truth.split())
