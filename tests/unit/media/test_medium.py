"""A card's entries against a signature: names, rows, and libraries that are not there."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from PIL import Image

from headrace.accepts import AcceptedAudio, AcceptedImage, AcceptedText
from headrace.errors import InvalidInput, ModelLoadError
from headrace.media import build
from headrace.values import DType, Signature, TensorSpec
from tests.unit.media.files import encode, flag

PHOTO = TensorSpec("photo", DType.UINT8, (None, None, None, 3))
SOUND = TensorSpec("sound", DType.FP32, (None, None))
NAME = TensorSpec("name", DType.BYTES, (None,))
ALL = Signature((PHOTO, SOUND, NAME), (), batched=True)
ACCEPTS: tuple[Any, ...] = (
    AcceptedImage(kind="image", input="photo"),
    AcceptedAudio(kind="audio", input="sound", rate_hz=8000),
    AcceptedText(kind="text", input="name"),
)


def test_each_entry_becomes_a_medium() -> None:
    media = build(ALL, ACCEPTS)
    assert [(one.name, one.kind, one.feeds) for one in media] == [
        ("photo", "image", ("photo",)),
        ("sound", "audio", ("sound",)),
        ("name", "text", ("name",)),
    ]
    assert build(ALL, ()) == ()


def test_several_files_are_rows() -> None:
    photo = build(ALL, ACCEPTS)[0]
    item = photo.read(flag())
    assert photo.gather([item, item, item])["photo"].shape == (3, 4, 8, 3)


def test_rows_of_different_shapes_are_refused() -> None:
    photo = build(ALL, ACCEPTS)[0]
    items = [photo.read(flag()), photo.read(encode(Image.new("RGB", (2, 2))))]
    with pytest.raises(InvalidInput, match=r"different shapes \(\[2, 2, 3\] and \[4, 8, 3\]\)"):
        photo.gather(items)


def test_a_model_without_rows_takes_one_file() -> None:
    spec = TensorSpec("photo", DType.UINT8, (4, 8, 3))
    photo = build(Signature((spec,), (), batched=False), ACCEPTS[:1])[0]
    item = photo.read(flag())
    assert np.array_equal(photo.gather([item])["photo"], item)
    with pytest.raises(InvalidInput, match="takes one file a request, not 2"):
        photo.gather([item, item])


@pytest.mark.parametrize(
    ("accepts", "says"),
    [
        ((ACCEPTS[0], ACCEPTS[0]), "'photo' is given twice; keep one entry"),
        ((AcceptedImage(kind="image", input="x"),), "there is no input 'x'; inputs: photo, sound"),
    ],
)
def test_names_must_be_there_and_differ(accepts: Any, says: str) -> None:
    with pytest.raises(ModelLoadError, match=says):
        build(ALL, accepts)


@pytest.mark.parametrize(
    ("module", "number", "extra"),
    [("PIL", 0, "image"), ("soundfile", 1, "audio"), ("tokenizers", 2, "text")],
)
def test_a_missing_library_is_told_with_its_extra(module: str, number: int, extra: str) -> None:
    program = f"""
import sys
sys.modules[{module!r}] = None
from headrace.errors import BackendMissing
from headrace.media import build
from headrace.values import *
from headrace.accepts import *
specs = (TensorSpec("photo", DType.UINT8, (None, None, None, 3)),
         TensorSpec("sound", DType.FP32, (None, None)),
         TensorSpec("input_ids", DType.INT64, (None, None)))
accepts = (AcceptedImage(kind="image", input="photo"),
           AcceptedAudio(kind="audio", input="sound", rate_hz=8000),
           AcceptedText(kind="text", tokenizer="t.json"))
try:
    build(Signature(specs, (), batched=True), accepts[{number}:{number + 1}])
except BackendMissing as error:
    print(error.message)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert f"pip install 'headrace[{extra}]'" in done.stdout
