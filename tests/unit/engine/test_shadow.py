"""A version that is to take over is asked what another has answered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headrace.engine.backends.fake import FakeModel, load
from headrace.engine.samples import Sample, write
from headrace.engine.shadow import Verdict, verify
from headrace.errors import ModelDiffers, ModelLoadError
from headrace.settings import ModelSettings
from headrace.verify import Verify

X = np.arange(4, dtype=np.float32).reshape(1, 4)
SHADOW = Verify(mode="shadow")


def _model(folder: Path, **card: Any) -> FakeModel:
    path = folder / "new.fake"
    path.write_text(json.dumps(card))
    return load(path, ModelSettings())


def _verify(folder: Path, sample: Sample, wanted: Verify = SHADOW, **card: Any) -> Verdict:
    write(folder / "samples", 7, [sample] * 3)
    model = _model(folder, **card)
    return verify(folder / "samples", wanted, model.signature, model.instance())


def test_one_that_answers_the_same_agrees(tmp_path: Path) -> None:
    verdict = _verify(tmp_path, Sample({"x": X}, {"y": X * 1.01}))
    assert verdict == Verdict(version=7, requests=3, differences={"y": "0.99 % of its size"})


def test_one_that_answers_otherwise_is_refused_with_how_far_it_is_off(tmp_path: Path) -> None:
    with pytest.raises(ModelDiffers) as caught:
        _verify(tmp_path, Sample({"x": X}, {"y": X}), scale=1.5)
    assert caught.value.code == "model_differs"
    assert caught.value.message == (
        "it does not answer as version 7, which serves: output 'y' differs by 50 % of its size, in "
        "3 of 3 requests (allowed: 5 % of the size of floats, 1 % of other elements: "
        "verify.difference, verify.equal)"
    )


def test_how_far_it_may_be_off_can_be_set(tmp_path: Path) -> None:
    wanted = Verify(mode="shadow", difference=0.6)
    verdict = _verify(tmp_path, Sample({"x": X}, {"y": X}), wanted, scale=1.5)
    assert verdict.differences == {"y": "50 % of its size"}


@pytest.mark.parametrize(
    ("sample", "reason"),
    [
        (Sample({"z": X}, {"y": X}), "it has no input 'z'"),
        (Sample({"x": X[:, :3]}, {"y": X}), r"its input 'x' is FP32 \[-1, 4\]"),
        (Sample({"x": X}, {"other": X}), "it has no output 'other'"),
        (Sample({"x": X + 10}, {"y": X}), "a request fails: .*13"),
    ],
)
def test_one_that_cannot_answer_at_all_is_refused(
    tmp_path: Path, sample: Sample, reason: str
) -> None:
    with pytest.raises(ModelDiffers, match=f"cannot answer as version 7, .*: {reason}"):
        _verify(tmp_path, sample, fail_at=13)


def test_a_file_that_cannot_be_read_is_no_agreement(tmp_path: Path) -> None:
    model = _model(tmp_path)
    (tmp_path / "broken").write_bytes(b"12345678900000")
    for name in ("absent", "broken"):
        with pytest.raises(ModelLoadError, match="cannot be read"):
            verify(tmp_path / name, SHADOW, model.signature, model.instance())
